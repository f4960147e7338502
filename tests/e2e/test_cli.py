"""The command line as people use it: in a process of its own, with good input and bad."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import pytest

from media import write_audio, write_image, write_video
from models import detection_model, pose_model, two_inputs
from scene import write_scene

OK, FAILURE, USAGE, INTERRUPTED = 0, 1, 2, 130


def tensortap(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. A terminal as wide as a wall, so that messages come on one line."""
    command = [sys.executable, "-m", "tensortap", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=120, env=os.environ | {"COLUMNS": "400"}, check=False
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, videos and images, good and bad."""
    folder = tmp_path_factory.mktemp("place")
    pose_model(folder / "pose.onnx")
    detection_model(folder / "detect.onnx")
    detection_model(folder / "told.onnx", {"task": "detect", "names": "{0: 'person'}"})
    two_inputs(folder / "two.onnx")
    (folder / "text.onnx").write_text("no model\n" * 100)
    (folder / "weights.pt").write_bytes(b"PK")
    write_scene(folder / "a.mp4")
    write_scene(folder / "b.mkv", 9)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video\n" * 100)
    write_audio(folder / "sound.mp4")
    whole = (folder / "a.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "nothing").mkdir()
    (folder / "photos").mkdir()
    for number in range(3):
        write_image(folder / "photos" / f"{number}.jpg")
    (folder / "unwritable").write_text("a file, no folder")
    return folder


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_video_to_data_and_video(place: Path, tmp_path: Path) -> None:
    video, data, coco = tmp_path / "out.mp4", tmp_path / "out.jsonl", tmp_path / "out.coco.json"
    run = tensortap("run", "-i", "a.mp4", "--model", "pose.onnx", "-o", video, data, "-o", coco, cwd=place)
    assert run.returncode == OK, run.stderr
    assert run.stdout == ""
    assert "20 frames" in run.stderr
    assert "Traceback" not in run.stderr
    assert [line["index"] for line in lines(data)] == list(range(20))
    assert all(line["people"][0]["track_id"] == 1 for line in lines(data))
    assert len(json.loads(coco.read_text())) == 20
    with av.open(str(video)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 20


def test_several_inputs_each_its_own_stream(place: Path, tmp_path: Path) -> None:
    data = tmp_path / "out.jsonl"
    run = tensortap("run", "-i", "a.mp4", "b.mkv", "photos/", "-m", "pose.onnx", "-o", data, "--json", cwd=place)
    assert run.returncode == OK, run.stderr
    outcome = json.loads(run.stdout)
    assert [(each["name"], each["frames"]) for each in outcome["streams"]] == [("a.mp4", 20), ("b.mkv", 9), ("photos", 3)]
    assert outcome["frames"] == 32 == len(lines(data))
    assert outcome["errors"] == []
    assert {"decode", "preprocess", "engine wait", "sinks"} <= set(outcome["milliseconds_per_frame"])


def test_jsonl_on_the_standard_output(place: Path) -> None:
    run = tensortap("run", "-q", "-i", "a.mp4", "-m", "pose.onnx", "-o", "-", "--no-track", "--max-frames", 4, cwd=place)
    people = [json.loads(line)["people"] for line in run.stdout.splitlines()]
    assert len(people) == 4
    assert people[0][0]["track_id"] is None


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_engines_by_name(place: Path, engine: str) -> None:
    pytest.importorskip(engine)
    run = tensortap("run", "-i", "a.mp4", "-m", "pose.onnx", "--engine", engine, "--json", "-q", cwd=place)
    assert json.loads(run.stdout)["engine"] == engine


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        # Inputs
        (["-i", "missing.mp4"], FAILURE, "There is no input file 'missing.mp4'"),
        (["-i", "empty.mp4"], FAILURE, "empty.mp4 is empty"),
        (["-i", "text.mp4"], FAILURE, "text.mp4 is not a video"),
        (["-i", "sound.mp4"], FAILURE, "has no video in it, only audio"),
        (["-i", "cut.mp4"], FAILURE, "cut off before its index"),
        (["-i", "nothing"], FAILURE, "holds no images"),
        (["-i", "http://127.0.0.1:9/x.mp4"], FAILURE, "cannot be opened: Connection refused. Check the address"),
        ([], USAGE, "Say what to look at: -i"),
        # Models
        (["-i", "a.mp4", "--model", "missing.onnx"], FAILURE, "There is no model 'missing.onnx'"),
        (["-i", "a.mp4", "--model", "text.onnx"], FAILURE, "is not an ONNX model"),
        (["-i", "a.mp4", "--model", "weights.pt"], FAILURE, "yolo export model=weights.pt"),
        (["-i", "a.mp4", "--model", "detect.onnx"], FAILURE, "This looks like a detection export: re-export the -pose weights"),
        (["-i", "a.mp4", "--model", "told.onnx"], FAILURE, "is a detect model"),
        (["-i", "a.mp4", "--model", "two.onnx"], FAILURE, "has 2 inputs (images float32"),
        # Outputs
        (["-i", "a.mp4", "-o", "missing/out.jsonl"], FAILURE, "No such file or directory. Create its folder first"),
        (["-i", "a.mp4", "-o", "unwritable/out.mp4"], FAILURE, "cannot be written: Not a directory"),
        (["-i", "a.mp4", "-o", "out.xyz"], USAGE, "cannot tell what to write"),
        (["-i", "a.mp4", "-o", "same.jsonl", "-o", "./same.jsonl"], USAGE, "two outputs would write same.jsonl"),
        (["-i", "a.mp4", "-o", "a.mp4"], USAGE, "it is an input"),
        # Flags
        (["-i", "a.mp4", "--conf-thres", "7"], USAGE, "--conf-thres 7.0: should be less than or equal to 1"),
        (["-i", "a.mp4", "--iou-thres", "-0.1"], USAGE, "--iou-thres -0.1: should be greater than or equal to 0"),
        (["-i", "a.mp4", "--max-det", "0"], USAGE, "--max-det 0"),
        (["-i", "a.mp4", "--conf-thres", "much"], USAGE, "--conf-thres"),
        (["-i", "a.mp4", "--engine", "tensorflow"], USAGE, "choose one of auto, onnxruntime"),
        (["-i", "a.mp4", "--imgsz", "640"], USAGE, "is fixed at 64x64"),
        (["-i", "a.mp4", "--rect"], USAGE, "--rect: the input of"),
        (["-i", "a.mp4", "--rect", "--tune"], USAGE, "rather than --rect"),
        (["-i", "a.mp4", "--colour", "red"], USAGE, "--colour"),
        (["-i", "a.mp4", "-o"], USAGE, "needs a value"),
        (["-i", "-o", "x.jsonl"], USAGE, "needs a value"),
        (["-i", "a.mp4", "--json", "-o", "jsonl:-"], USAGE, "both write to the standard output"),
        (["-i", "a.mp4", "-o", "coco:-"], USAGE, "only jsonl can be written to the standard output"),
        (["-i", "a.mp4", "--no-track", "--tracker", "pose"], USAGE, "contradict each other"),
    ],
)
def test_bad_input_gets_a_clear_answer(place: Path, arguments: list[str], exit_code: int, message: str) -> None:
    model = [] if "--model" in arguments else ["--model", "pose.onnx"]
    run = tensortap("run", *arguments, *model, cwd=place)
    assert run.returncode == exit_code, run.stderr
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    assert (place / "a.mp4").stat().st_size > 0


def test_no_model(place: Path) -> None:
    run = tensortap("run", "-i", "a.mp4", cwd=place)
    assert run.returncode == USAGE
    assert "Say which model: --model" in run.stderr


def test_debug_shows_where_an_error_comes_from(place: Path) -> None:
    run = tensortap("run", "-i", "empty.mp4", "-m", "pose.onnx", "--debug", cwd=place)
    assert run.returncode == FAILURE
    assert "Traceback" in run.stderr


def test_garbage_in_the_middle_costs_frames_and_is_counted(place: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", num_frames=20, codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(path.read_bytes())
    starts = [position for position in range(len(data) - 3) if data[position : position + 3] == b"\xff\xd8\xff"]
    end = data.index(b"00dc", starts[7])
    data[starts[7] : end] = bytes(end - starts[7])
    path.write_bytes(data)
    run = tensortap("run", "-i", path, "-m", place / "pose.onnx", "-o", "out.jsonl", "--json", cwd=tmp_path)
    assert run.returncode == OK, run.stderr
    assert "a.avi is damaged near frame 7" in run.stderr
    assert json.loads(run.stdout)["streams"][0] == {"source_id": 0, "name": "a.avi", "frames": 19, "damaged": 1, "rejected": {}}
    assert len(lines(tmp_path / "out.jsonl")) == 19


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_stops_one_output_only(place: Path, tmp_path: Path) -> None:
    run = tensortap("run", "-i", "a.mp4", "-m", "pose.onnx", "-o", "jsonl:/dev/full", tmp_path / "a.jsonl", "--json", cwd=place)
    assert run.returncode == FAILURE
    assert "/dev/full cannot be written: No space left on device. Free some space" in run.stderr
    assert "The other outputs go on." in run.stderr
    assert len(lines(tmp_path / "a.jsonl")) == 20
    assert [bool(each["error"]) for each in json.loads(run.stdout)["outputs"]] == [True, False]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_the_only_output_is_a_failure(place: Path) -> None:
    run = tensortap("run", "-i", "a.mp4", "-m", "pose.onnx", "-o", "jsonl:/dev/full", cwd=place)
    assert run.returncode == FAILURE
    assert run.stderr.count("No space left on device") == 1
    assert "failed: 1 frames" in run.stderr
    full = subprocess.run(
        f"{sys.executable} -m tensortap doctor --json > /dev/full",
        shell=True,
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
    assert full.returncode == FAILURE
    assert "No space left" in full.stderr
    assert "Traceback" not in full.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
def test_a_reader_that_has_enough_is_no_error(place: Path) -> None:
    command = f"{sys.executable} -m tensortap run -i a.mp4 a.mp4 a.mp4 -m pose.onnx -o - -q | head -n 2"
    run = subprocess.run(command, shell=True, cwd=place, capture_output=True, text=True, check=False)
    assert len(run.stdout.splitlines()) == 2
    assert run.stderr == ""


def test_names_that_look_like_markup(place: Path, tmp_path: Path) -> None:
    name = tmp_path / "a [bold] [" / "b].jsonl"
    name.parent.mkdir()
    run = tensortap("run", "-i", "a.mp4", "-m", "pose.onnx", f"--output={name}", "--max-frames", 2, cwd=place)
    assert run.returncode == OK, run.stderr
    assert f"wrote {name}" in run.stderr
    assert len(lines(name)) == 2


def test_a_run_without_outputs_says_so(place: Path) -> None:
    run = tensortap("run", "-i", "a.mp4", "-m", "pose.onnx", "--max-frames", 1, cwd=place)
    assert run.returncode == OK
    assert "no output: what is found is only counted" in run.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_leaves_everything_whole(place: Path, tmp_path: Path, number: signal.Signals) -> None:
    long = write_video(tmp_path / "long.mp4", size_wh=(640, 480), num_frames=400)
    command = [
        sys.executable,
        "-m",
        "tensortap",
        "run",
        "-i",
        long,
        "-m",
        place / "pose.onnx",
        "-o",
        "o.mp4",
        "o.jsonl",
        "o.coco.json",
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not ((tmp_path / "o.jsonl").exists() and len(lines(tmp_path / "o.jsonl")) > 10) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    stopped = time.monotonic()
    _, stderr = process.communicate(timeout=30)
    assert time.monotonic() - stopped < 5
    assert process.returncode == INTERRUPTED
    assert "Traceback" not in stderr
    assert "stopped:" in stderr
    count = len(lines(tmp_path / "o.jsonl"))
    assert 10 <= count < 400  # a line that was being written is taken back
    json.loads((tmp_path / "o.coco.json").read_text())
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert abs(sum(1 for _ in container.decode(video=0)) - count) <= 1


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_run_loses_the_frame_in_flight_at_most(place: Path, tmp_path: Path) -> None:
    long = write_video(tmp_path / "long.mp4", size_wh=(640, 480), num_frames=400)
    command = [
        sys.executable,
        "-m",
        "tensortap",
        "run",
        "-q",
        "-i",
        long,
        "-m",
        place / "pose.onnx",
        "-o",
        "o.jsonl",
        "o.coco.json",
    ]
    process = subprocess.Popen(command, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not ((tmp_path / "o.jsonl").exists() and len(lines(tmp_path / "o.jsonl")) > 20) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    indices = [line["index"] for line in lines(tmp_path / "o.jsonl")]
    assert indices == list(range(len(indices)))
    json.loads((tmp_path / "o.coco.json").read_text())


def test_inspect(place: Path) -> None:
    run = tensortap("inspect", "pose.onnx", cwd=place)
    assert run.returncode == OK
    assert "? x 3 x 64 x 64" in run.stdout
    assert "head: yolo-pose, because output0 (56, 64) has 56 = 4 box + 1 class + 17 x 3 keypoint values" in run.stdout
    report = json.loads(tensortap("inspect", "pose.onnx", "--json", cwd=place).stdout)
    assert report["head"]["decoder"] == "yolo-pose"
    assert report["metadata"]["kpt_shape"] == [17, 3]


def test_inspect_other_models(place: Path) -> None:
    assert "head: not recognised. Model output 'output0' is (84, 64)" in tensortap("inspect", "detect.onnx", cwd=place).stdout
    assert "has 2 inputs" in tensortap("inspect", "two.onnx", cwd=place).stdout
    assert tensortap("inspect", "text.onnx", cwd=place).returncode == FAILURE


def test_doctor(place: Path) -> None:
    run = tensortap("doctor", cwd=place)
    assert run.returncode == OK
    assert "FFmpeg in av" in run.stdout
    report = json.loads(tensortap("doctor", "--json", cwd=place).stdout)
    assert report["engines"]["onnxruntime"]["available"]
    assert report["auto_engine"] in ("openvino", "onnxruntime")


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_debugging_tells_no_password(place: Path, scheme: str) -> None:
    url = f"{scheme}://nutzer:geheim@127.0.0.1:9/x.mp4?token=geheim"
    run = tensortap("run", "-i", url, "-m", "pose.onnx", "--retries", 0, "--debug", cwd=place)
    assert run.returncode == FAILURE
    assert "Connection refused" in run.stderr
    assert "geheim" not in run.stderr
    assert "nutzer" not in run.stderr


def test_help_and_version(place: Path) -> None:
    assert tensortap("--version", cwd=place).stdout.startswith("tensortap ")
    for command in ((), ("run",), ("inspect",), ("doctor",)):
        run = tensortap(*command, "--help", cwd=place)
        assert run.returncode == OK
        assert "Usage" in run.stdout
