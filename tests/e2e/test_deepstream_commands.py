"""What is typed for `--runtime deepstream`: dry runs, and what is refused in which words. Nothing of the SDK is played."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from squares import config, squares
from tensortap.cli.main import app
from tensortap.errors import UsageError


def dry_run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["run", "--runtime", "deepstream", "--dry-run", *map(str, arguments)])


def test_a_dry_run_needs_no_sdk_and_shows_no_password(tmp_path: Path) -> None:
    nvinfer = config(tmp_path)
    result = dry_run("-i", "rtsp://me:secret@10.0.0.7/door", "-config", nvinfer, "--platform", "jetson", "-o", "screen")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("gst-launch-1.0 -e")
    assert "rtsp://***@10.0.0.7/door" in result.stdout
    assert "nv3dsink" in result.stdout
    assert "secret" not in result.output


def test_two_rtsp_outputs_do_not_mix_their_packets(tmp_path: Path) -> None:
    result = dry_run(
        "-i", squares(tmp_path / "a.mp4", 2), "-config", config(tmp_path), "-o", "rtsp://:8554/a", "rtsp://:8555/b"
    )
    ports = re.findall(r"udpsink .* port=(\d+)", result.stdout)
    assert len(ports) == len(set(ports)) == 2


def test_the_batch_is_as_large_as_the_inputs_are_many_unless_the_file_says_otherwise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inputs = ["-i", *(squares(tmp_path / f"{number}.mp4", 2) for number in range(3))]
    assert " batch-size=3 interval" in dry_run(*inputs, "-config", config(tmp_path, batch_size=None)).stdout
    assert not caplog.records
    assert " batch-size=2 interval" in dry_run(*inputs, "-config", config(tmp_path)).stdout
    assert "batch-size=2 for 3 inputs" in caplog.text
    assert " batch-size=8 interval" in dry_run(*inputs, "-config", config(tmp_path), "--batch-size", "8").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-i", "a.mp4"], "needs a configuration file of nvinfer: -config FILE"),
        (["-i", "webcam:0", "-config", "pose.txt"], "is a webcam; DeepStream's graph reads video files and RTSP cameras"),
        (["-i", "scene://street", "-config", "pose.txt"], "is a drawn scene"),
        (["-i", "a.mp4", "-config", "pose.txt", "--engine", "openvino"], "--engine is for --runtime portable"),
        (["-i", "a.mp4", "-config", "pose.txt", "--letterbox", "nvinfer"], "change it there"),
        (["-i", "a.mp4", "-config", "pose.txt", "-o", "rtmp://a/b/c"], "pushes to nobody"),
        (["-i", "a.mp4", "-config", "host.txt"], "disable-output-host-copy=1"),
        (["-i", "a.mp4", "-config", "pose.txt", "--gie-config", "pose.txt"], "both have gie-unique-id=3"),
        (["-i", "a.mp4", "-config", "pose.txt", "--tracker-config", "none.txt"], "there is no such file"),
        (["-i", "a.mp4", "-config", "pose.txt", "--analytics-config", "none.txt"], "--analytics-config none.txt"),
        (["-i", "a.mp4", "-config", "pose.txt", "--mux-size", "33x20"], "--mux-size"),
        (["-i", "a.mp4", "-config", "pose.txt", "--mux-size", "640x360", "--new-mux"], "the new nvstreammux scales nothing"),
        (
            ["-i", "a.mp4", "-config", "pose.txt", "-o", "rtsp://:8554/a", "rtsp://me:secret@:8554/b"],
            "port 8554 is for another output already",
        ),
        (["-i", "a.mp4", "-config", "pose.txt", "-o", "a.mp4"], "it is an input; it would be overwritten"),
        (["-i", "a.mp4", "-config", "pose.txt", "-o", "b.mp4", "./b.mp4"], "two outputs would write b.mp4"),
        (["-i", "a.mp4", "-config", "regions.txt"], "input-tensor-from-meta=1: tensors go to the regions"),
        (["-i", "a.mp4", "-config", "crop.txt"], "nobody finds any. Name the detector's file: --gie-config"),
        (["-i", "a.mp4", "-config", "crop.txt", "--gie-config", "pose.txt"], "operate-on-gie-id=1, but gie-unique-id of"),
        (
            ["-i", "a.mp4", "-config", "crop.txt", "--gie-config", "detector.txt", "--interval", "2"],
            "--interval 2 is for whole frames",
        ),
        (["-i", "a.mp4", "-config", "pose.txt", "-g", "nvinferserver"], "nvinferserver's files are protobuf"),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    squares(tmp_path / "a.mp4", 2)
    config(tmp_path)
    config(tmp_path, "host.txt", disable_output_host_copy=1)
    config(tmp_path, "regions.txt", input_tensor_from_meta=1)
    config(tmp_path, "detector.txt", gie_unique_id=1, network_type=0)
    config(tmp_path, "crop.txt", gie_unique_id=2, process_mode=2, operate_on_gie_id=1)
    result = dry_run(*arguments)
    assert isinstance(result.exception, UsageError)  # exit code 2, without a traceback
    assert message in str(result.exception)


def test_flags_of_the_device_are_refused_elsewhere(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["run", "-i", str(squares(tmp_path / "a.mp4", 2)), "-m", "x.onnx", "--file-loop"])
    assert "--file-loop is for --runtime deepstream" in str(result.exception)
    result = CliRunner().invoke(app, ["run", "-i", str(tmp_path / "a.mp4"), "-m", "x.onnx", "-o", "screen"])
    assert result.exit_code != 0


def test_without_the_sdk_it_says_what_is_missing(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["run", "--runtime", "deepstream", "-i", str(squares(tmp_path / "a.mp4", 2)), "-config", str(config(tmp_path))]
    )
    assert "needs NVIDIA's DeepStream SDK" in str(result.exception)
    assert "pyds: No module named 'pyds'" in str(result.exception)


INFERSERVER = """
# of the SDK's samples
infer_config {
  unique_id: 5
  gpu_ids: [0]
  max_batch_size: 4
  backend { triton { model_name: "pose" version: -1 model_repo { root: "./models" strict_model_config: true } } }
  preprocess {
    network_format: IMAGE_FORMAT_RGB
    maintain_aspect_ratio: 1
    symmetric_padding: 1
    frame_scaling_filter: 1
    normalize { scale_factor: 0.0039 channel_offsets: [0, 0, 0] }
  }
  postprocess { other {} }
}
input_control { process_mode: PROCESS_MODE_FULL_FRAME interval: 2 }
output_control { output_tensor_meta: true }
"""


def test_nvinferservers_file(tmp_path: Path) -> None:
    from tensortap.nvinfer.server import read_inferserver

    path = tmp_path / "server.txt"
    path.write_text(INFERSERVER)
    read = read_inferserver(path)
    assert (read.unique_id, read.batch_size, read.interval, read.process_mode) == (5, 4, 2, 1)
    assert read.letterbox == "nvinfer-symmetric-bilinear"
    result = dry_run("-i", squares(tmp_path / "a.mp4", 2), "-config", path, "-g", "nvinferserver")
    assert result.exit_code == 0, result.exception
    assert f"nvinferserver name=gie-0 config-file-path={path} batch-size=4 interval=2" in result.stdout
    # A detector before it finds objects and need not hand out tensors.
    detector, crop = tmp_path / "detector.txt", tmp_path / "crop.txt"
    detector.write_text(INFERSERVER.replace("output_tensor_meta: true", "").replace("unique_id: 5", "unique_id: 1"))
    on_objects = "process_mode: PROCESS_MODE_CLIP_OBJECTS operate_on_gie_id: 1"
    crop.write_text(INFERSERVER.replace("process_mode: PROCESS_MODE_FULL_FRAME interval: 2", on_objects))
    result = dry_run("-i", tmp_path / "a.mp4", "-config", crop, "-g", "nvinferserver", "--gie-config", detector)
    assert result.exit_code == 0, result.exception
    assert f"! nvinferserver name=gie-1 config-file-path={crop} batch-size=4 " in result.stdout
    for text, message in (
        (INFERSERVER.replace("output_tensor_meta: true", ""), "hands out no tensors"),
        (INFERSERVER[:200], "ends in the middle"),
        (INFERSERVER.replace("unique_id: 5", "unique_id: five"), "should be a whole number"),
        ("infer_config { unique_id = 5 }", "line 1: '=' cannot be understood"),
    ):
        path.write_text(text)
        with pytest.raises(Exception, match=message):
            read_inferserver(path)
