"""nvinfer's files: INI and YAML with their quirks, as settings; checks; and files that we write."""

from __future__ import annotations

import runpy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tensortap
from models import pose_model
from tensortap.cli.main import app
from tensortap.config import Settings
from tensortap.errors import UsageError
from tensortap.nvinfer.check import check
from tensortap.nvinfer.config import read_nvinfer
from tensortap.nvinfer.keys import BOOLEANS_THAT_ONLY_SET, DEEPSTREAM_ONLY, HONOURED
from tensortap.nvinfer.writer import Wanted, as_ini

INI = """
# a comment, and an empty line

[property]
gpu-id=0
onnx-file=models/pose.onnx
model-engine-file=models/pose.onnx_b4_gpu0_fp16.engine
batch-size=4
net-scale-factor=0.0039215697906911373
offsets=1;2;3;
model-color-format=1
infer-dims=3;384;640
maintain-aspect-ratio=1
symmetric-padding=1
scaling-filter=1
interval=2
network-mode=2
network-type=100
gie-unique-id=7
output-tensor-meta=1

[class-attrs-all]
pre-cluster-threshold=0.4
nms-iou-threshold=0.6
topk=20
"""
YAML = """
property:
  gpu-id: 0
  onnx-file: models/pose.onnx
  model-engine-file: models/pose.onnx_b4_gpu0_fp16.engine
  batch-size: 4
  net-scale-factor: 0.0039215697906911373
  offsets: 1;2;3
  model-color-format: 1
  infer-dims: 3;384;640
  maintain-aspect-ratio: 1
  symmetric-padding: 1
  scaling-filter: 1
  interval: 2
  network-mode: 2
  network-type: 100
  gie-unique-id: 7
  output-tensor-meta: 1
class-attrs-all:
  pre-cluster-threshold: 0.4
  nms-iou-threshold: 0.6
  topk: 20
"""


def ini(folder: Path, *lines: str) -> Path:
    path = folder / "config.txt"
    path.write_text("[property]\n" + "\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(("name", "text"), [("pose.txt", INI), ("pose.yml", YAML), ("pose.yaml", YAML)])
def test_both_kinds_of_file_say_the_same(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    config = read_nvinfer(tmp_path / name)
    assert config.settings() == {
        "model": str(tmp_path / "models/pose.onnx"),
        "batch_size": 4,
        "letterbox": "nvinfer-symmetric-bilinear",
        "color": "bgr",
        "scale": 0.0039215697906911373,
        "mean": (1.0, 2.0, 3.0),
        "imgsz": (384, 640),
        "interval": 2,
        "precision": "auto",
        "conf_thres": 0.4,
        "iou_thres": 0.6,
        "max_det": 20,
    }
    assert config.unique_id == 7
    assert config.engine_file == tmp_path / "models/pose.onnx_b4_gpu0_fp16.engine"
    assert config.ignored == ["gpu-id", "model-engine-file"]
    assert config.warnings == []


def test_what_a_file_leaves_out_is_nvinfers_default(tmp_path: Path) -> None:
    settings = read_nvinfer(ini(tmp_path, "gpu-id=0")).settings()
    assert settings == {
        "batch_size": 1,
        "letterbox": "nvinfer-stretch",
        "color": "rgb",
        "scale": 1.0,
        "mean": (0.0, 0.0, 0.0),
        "interval": 0,
    }


@pytest.mark.parametrize(
    ("lines", "policy"),
    [
        (["maintain-aspect-ratio=1"], "nvinfer"),
        (["maintain-aspect-ratio=1", "scaling-filter=6"], "nvinfer"),
        (["maintain-aspect-ratio=1", "scaling-filter=0"], "nvinfer"),
        (["maintain-aspect-ratio=1", "scaling-filter=1"], "nvinfer-bilinear"),
        (["maintain-aspect-ratio=1", "symmetric-padding=1"], "nvinfer-symmetric"),
        (["symmetric-padding=1"], "nvinfer-stretch"),
        (["scaling-filter=1"], "nvinfer-stretch-bilinear"),
        (["scaling-filter=4"], "nvinfer-stretch-bilinear"),
    ],
)
def test_letterboxes(lines: list[str], policy: str, tmp_path: Path) -> None:
    assert read_nvinfer(ini(tmp_path, *lines)).letterbox == policy


@pytest.mark.parametrize("key", sorted(BOOLEANS_THAT_ONLY_SET & HONOURED))
def test_booleans_that_an_ini_file_only_turns_on(key: str, tmp_path: Path) -> None:
    [sentence] = read_nvinfer(ini(tmp_path, f"{key}=0")).warnings
    assert f"line 2: {key}=0 does nothing" in sentence
    yaml = tmp_path / "config.yml"
    yaml.write_text(f"property:\n  {key}: 0\n")
    assert read_nvinfer(yaml).warnings == []


def test_the_last_of_two_counts_and_is_told(tmp_path: Path) -> None:
    config = read_nvinfer(ini(tmp_path, "model-color-format=0", "batch-size=2", "model-color-format=1"))
    assert config.color == "bgr"
    assert "line 4: model-color-format came before, in line 2" in config.warnings[0]


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("symetric-padding", "did you mean symmetric-padding?"),
        ("unique-id", "in the file it is called gie-unique-id"),
        ("infer-on-gie-id", "in the file it is called operate-on-gie-id"),
        ("xyzzy", "is no key of nvinfer's"),
    ],
)
def test_names_that_are_none(key: str, hint: str, tmp_path: Path) -> None:
    [sentence] = read_nvinfer(ini(tmp_path, f"{key}=1")).warnings
    assert "line 2" in sentence
    assert hint in sentence


def test_every_key_for_deepstream_is_ignored_by_name(tmp_path: Path) -> None:
    config = read_nvinfer(ini(tmp_path, *(f"{key}=1" for key in sorted(DEEPSTREAM_ONLY))))
    assert config.ignored == sorted(DEEPSTREAM_ONLY)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("batch-size=0", "1 to 1024"),
        ("batch-size=four", "1 to 1024"),
        ("net-scale-factor=1/255", "numbers with ;"),
        ("net-scale-factor=nan", "numbers with ;"),
        ("offsets=1;2", "3 channels"),
        ("offsets=1", "3 channels"),
        ("offsets=1,2,3", "numbers with ;"),
        ("operate-on-gie-id=person", "a whole number"),
        ("infer-dims=640;640", "3;640;640"),
        ("infer-dims=1;640;640", "3;640;640"),
        ("maintain-aspect-ratio=yes", "0 or 1"),
        ("model-color-format=2", "RGB"),
        ("network-mode=4", "0 to 3"),
    ],
)
def test_values_that_cannot_be_meant(line: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="line 2") as caught:
        read_nvinfer(ini(tmp_path, line))
    assert says in str(caught.value)


ORIGINALS = {
    "yolov8": """
# Values overridden by properties of the element.
[property]
gpu-id=0 \x20
#model-color-format=0
net-scale-factor=0.0039215697906911373

model-engine-file=/models/yolov8s-pose-dy-sim-640.engine
gie-unique-id=1
network-type=100
network-mode=2
\x20
#batch-size=1
maintain-aspect-ratio=1
symmetric-padding=1
## Bilinear Interpolation
#scaling-filter=1
scaling-compute-hw=1
output-tensor-meta=1
""",
    "yolov7": """
[property]
gpu-id=0 \x20
model-color-format=0
process-mode=1 \x20
net-scale-factor=0.0039215697906911373
model-color-format=0 \x20
model-engine-file=/models/yolov7_w6_pose_sim_b1_960-yololayer.engine
custom-lib-path=/models/libyolo.so
gie-unique-id=1
network-type=100
network-mode=2
maintain-aspect-ratio=1
symmetric-padding=1
scaling-compute-hw=1
output-tensor-meta=1
""",
}
"""Keys and values, blanks behind them included, of YunghuiHsu/deepstream-yolo-pose; the paths are shorter."""


@pytest.mark.parametrize("name", ORIGINALS)
def test_the_original_applications_files(name: str, tmp_path: Path) -> None:
    path = tmp_path / "pgie_config.txt"
    path.write_text(ORIGINALS[name])
    config = read_nvinfer(path)
    assert (config.unique_id, config.process_mode, config.network_type, config.network_mode) == (1, 1, 100, 2)
    assert config.net_scale_factor == pytest.approx(1 / 255, rel=1e-6)
    assert config.letterbox == "nvinfer-symmetric"  # the nearest pixels, which nobody asked for
    assert config.engine_file is not None
    assert config.engine_file.parent == Path("/models")
    assert [sentence.partition(": ")[2] for sentence in config.warnings] == (
        ["model-color-format came before, in line 4; the last one counts"] if name == "yolov7" else []
    )
    errors, doubts = check(path)
    assert errors == []
    assert any("scaling-filter is not given" in doubt for doubt in doubts)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no group"),
        ("[tracker]\nenable=1\n", "no group"),
        ("batch-size=1\n", "before the first"),
        ("[property]\nbatch-size\n", "line 2"),
    ],
)
def test_files_that_are_none(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(UsageError, match=says):
        read_nvinfer(tmp_path / "a.txt")
    with pytest.raises(UsageError, match="cannot be read"):
        read_nvinfer(tmp_path / "missing.txt")


def test_objects_of_another_network_are_deepstreams(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mean-file is a picture that only DeepStream subtracts"):
        read_nvinfer(ini(tmp_path, "mean-file=mean.ppm")).settings()
    with pytest.raises(UsageError, match="process-mode=2"):
        read_nvinfer(ini(tmp_path, "process-mode=2")).settings()


def test_what_is_given_overrides_the_file(tmp_path: Path) -> None:
    (tmp_path / "pose.txt").write_text(INI)
    file = tmp_path / "pose.txt"
    assert Settings.checked(inputs="a.mp4", nvinfer_config=file).conf_thres == 0.4
    settings = Settings.checked(inputs="a.mp4", nvinfer_config=file, conf_thres=0.7, model="other.onnx", imgsz=None)
    assert (settings.conf_thres, settings.model, settings.imgsz) == (0.7, "other.onnx", (384, 640))


def test_a_run_with_a_file(tmp_path: Path) -> None:
    pose_model(tmp_path / "a.onnx")
    lines = ["onnx-file=a.onnx", "net-scale-factor=0.0039215697906911373", "infer-dims=3;64;64", "maintain-aspect-ratio=1"]
    file = ini(tmp_path, *lines, "interval=1", "batch-size=2")
    video = "scene://street?size=160x96&fps=10&seconds=1"
    with tensortap.Pipeline(video, nvinfer_config=file) as pipeline:
        boxes = [(frame.letterbox.resized_wh, frame.letterbox.pad_value) for frame in pipeline.tensors()]
    assert boxes == [((64, 38), 0)] * 5  # 64 * 96 / 160 = 38.4, truncated; every second frame
    run = ["run", "-i", video, "-config", str(file), "-o", str(tmp_path / "a.jsonl"), "-q"]
    result = CliRunner().invoke(app, [*run, "--interval", "0"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "a.jsonl").read_text().count('"inferred":true') == 10


def test_what_would_break_is_said(tmp_path: Path) -> None:
    errors, _ = check(ini(tmp_path, "network-type=0", "disable-output-host-copy=1", "classifier-async-mode=1"))
    told = " ".join(errors)
    for key in ("output-tensor-meta", "disable-output-host-copy", "classifier-async-mode", "network-type=0", "onnx-file"):
        assert key in told
    errors, doubts = check(ini(tmp_path, "onnx-file=a.onnx", "network-type=100", "output-tensor-meta=1"))
    assert errors == []
    told = " ".join(doubts)
    for key in ("scaling-filter", "maintain-aspect-ratio", "net-scale-factor", "infer-dims", "model-engine-file"):
        assert key in told


WANTED = Wanted("pose.onnx", (384, 640), "ultralytics", batch_size=12)


@pytest.mark.parametrize(
    "wanted",
    [
        WANTED,
        replace(WANTED, letterbox="rtmo", color="bgr", scale=1.0, mean=(1.5, 2.0, 3.0), precision="f32", interval=3),
        replace(WANTED, letterbox="nvinfer-stretch-bilinear", is_nhwc=True),
    ],
)
def test_what_we_write_comes_back_and_is_in_order(wanted: Wanted, tmp_path: Path) -> None:
    path = tmp_path / "pose.txt"
    path.write_text(as_ini(wanted))
    lines = path.read_text().splitlines()
    for above, line in pairwise(lines):
        assert "=" not in line or line.startswith("#") or above.startswith("#"), f"no word on {line}"
    errors, doubts = check(path)
    assert errors == []
    expected_doubts = []
    if wanted.letterbox.startswith("nvinfer-stretch"):
        expected_doubts = ["maintain-aspect-ratio"]
    elif wanted.color == "bgr":
        expected_doubts = ["symmetric-padding=0", "blue;green;red"]
    assert len([doubt for doubt in doubts if not any(word in doubt for word in ("=0 does nothing", *expected_doubts))]) == 0
    config = read_nvinfer(path)
    assert config.infer_dims == (3, *wanted.imgsz)
    assert config.net_scale_factor == pytest.approx(wanted.scale, rel=1e-12)
    assert (config.color, config.offsets, config.is_nhwc) == (wanted.color, wanted.mean, wanted.is_nhwc)
    assert (config.batch_size, config.interval) == (wanted.batch_size, wanted.interval)
    policies = {"ultralytics": "nvinfer-symmetric-bilinear", "rtmo": "nvinfer-bilinear"}
    assert config.letterbox == policies.get(wanted.letterbox, wanted.letterbox)


def test_the_command_writes_and_checks(tmp_path: Path) -> None:
    pose_model(tmp_path / "a.onnx")
    target = tmp_path / "configs" / "a.txt"
    target.parent.mkdir()
    written = CliRunner().invoke(app, ["nvinfer-config", str(tmp_path / "a.onnx"), "-o", str(target)])
    assert written.exit_code == 0, written.output
    assert read_nvinfer(target).onnx_file == target.parent / "../a.onnx"
    assert CliRunner().invoke(app, ["nvinfer-config", "--check", str(target)]).exit_code == 0
    broken = CliRunner().invoke(app, ["nvinfer-config", "--check", str(ini(tmp_path, "gpu-id=0"))])
    assert broken.exit_code == 1
    assert "output-tensor-meta=1" in broken.stderr


def test_the_shipped_files_are_what_we_write() -> None:
    root = Path(__file__).parents[3]
    made = runpy.run_path(str(root / "tools" / "deepstream_configs.py"))
    for name, wanted in made["CONFIGS"].items():
        path = root / "deploy" / "deepstream" / name
        assert path.read_text() == as_ini(wanted), f"run tools/deepstream_configs.py: {name} is old"
        assert check(path) == ([], [])
