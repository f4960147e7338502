"""`tensortap.toml`: what it may say, and how faults are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tensortap.config import Settings
from tensortap.config_file import ConfigFile, ServiceOptions, read_config
from tensortap.errors import UsageError

SECRET = {
    "CAMERA_PASSWORD": "ge-heim%40",
    "CAMERA_USER": "nutzer",
    "URL": "rtsp://nutzer:ge-heim%40@10.0.0.7/1",
    "BAD": "ge-heim%40",
}


def read(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> ConfigFile:
    path = tmp_path / "tensortap.toml"
    path.write_text(text)
    return read_config(path, environ or {})


def test_streams_settings_and_options(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """
        model = "pose.onnx"
        outputs = ["out.jsonl", "rtsp://:8554/ds-test"]
        inputs = "extra.mp4"
        conf-thres = 0.4
        imgsz = [480, 640]
        bitrate = "2M"
        stats = 5
        web = ":8080"
        log_format = "json"

        [streams]
        door = "rtsp://10.0.0.7/stream1"
        "back yard" = "/dev/video0"
        """,
    )
    assert found.options == {"stats": 5, "web": ":8080", "log_format": "json"}
    settings = Settings.checked(**found.settings)
    assert settings.inputs == ["door=rtsp://10.0.0.7/stream1", "back yard=/dev/video0", "extra.mp4"]
    assert (settings.model, settings.conf_thres, settings.imgsz) == ("pose.onnx", 0.4, (480, 640))
    assert settings.bitrate == 2_000_000
    assert settings.outputs == ["out.jsonl", "rtsp://:8554/ds-test"]
    assert "iou_thres" not in found.settings  # what it does not say is left to others


def test_variables_of_the_environment(tmp_path: Path) -> None:
    text = """
        outputs = ["rtsp://viewer:${CAMERA_PASSWORD}@:8554/ds-test"]
        [streams]
        door = "rtsp://${CAMERA_USER}:${CAMERA_PASSWORD}@10.0.0.7/1?price=5$$"
        yard = "${URL}"
        """
    settings = read(tmp_path, text, SECRET).settings
    assert settings["inputs"] == [
        "door=rtsp://nutzer:ge-heim%40@10.0.0.7/1?price=5$",
        "yard=rtsp://nutzer:ge-heim%40@10.0.0.7/1",
    ]
    assert settings["outputs"] == ["rtsp://viewer:ge-heim%40@:8554/ds-test"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conf_tres = 0.4", "line 1: there is no key 'conf_tres'. Did you mean 'conf_thres'?"),
        ('model = "a"\n\noutput = "out.mp4"', "line 3: there is no key 'output'. Did you mean 'outputs'?"),
        ("[stream]\ndoor = 'x'", "line 1: there is no key 'stream'. Did you mean 'streams'?"),
        ("quux = 1", "there is no key 'quux'. Known: analytics_config, "),
        ("conf-thres = 0.4\nconf_thres = 0.4", "conf_thres is there twice"),
        ("conf_thres = 7", "line 1: conf_thres = 7: should be less than or equal to 1."),
        ("model = 'a'\nconf-thres = 'much'", "line 2: conf_thres = much: should be a valid number"),
        ("conf_thres = nan", "conf_thres = nan: should be"),
        ("stats = inf", "stats = inf: should be a finite number"),
        ("engine = 'warp'", "line 1: engine = warp: choose one of auto"),
        ("codec = 'av1'", "codec = av1: should be 'h264' or 'h265'"),
        ("log_format = 'xml'", "log_format = xml: should be 'text' or 'json'"),
        (
            "model = 'a'\ntracker-config = 'tracker.txt'",
            'line 2: tracker_config is for runtime = "deepstream".',
        ),
        (
            "runtime = 'deepstream'\nmode = 'latency'",
            'line 2: mode is for runtime = "portable": in DeepStream say batch_timeout and batch_size.',
        ),
        ("stats = 0", "stats = 0: should be greater than or equal to 0.1"),
        ("streams = ['rtsp://a/b']", "it is a table: [streams]"),
        ("[streams]\ndoor = 7", "line 2: a stream's address is a text"),
        ("[streams]\ndoor = ''", "line 2: a stream's address is a text"),
        ("[streams]\n'a/b' = 'rtsp://a/b'", "line 2: the name 'a/b' may hold letters"),
        ("[streams]\na = 'rtsp://a/b'\nweb = ':8080'", "line 3: web stands below [streams]"),
        ("[streams]\na = 'rtsp://a/b'\nconf-thres = 0.5", "line 3: conf-thres stands below [streams]"),
        ("model = '${MODEL}'", "line 1: the environment variable MODEL is not set"),
        ("[streams]\na = 'rtsp://${A B}/b'", "line 2: ${A B} is no name of an environment variable"),
        ("model = ", "is no TOML: "),
        ("a = 1\na = 2", "is no TOML: "),
    ],
)
def test_faults_are_told_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert str(tmp_path / "tensortap.toml") in str(caught.value)


@pytest.mark.parametrize("text", ["", "inputs = []\n", "[streams]\ndoor = 'rtsp://a/b'\n"])
def test_a_file_for_the_device(tmp_path: Path, text: str) -> None:
    """With streams, or without: they may come from the command line."""
    told = read(tmp_path, f"runtime = 'deepstream'\nnvinfer-config = 'pose.txt'\nmux-size = '1280x720'\n{text}").settings
    assert {**told, "inputs": []} == {
        "runtime": "deepstream",
        "nvinfer_config": "pose.txt",
        "mux_size": "1280x720",
        "inputs": [],
    }


def test_all_faults_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, "conf_thres = 7\niou_tres = 1\nstats = -1\n[streams]\na = 1")
    assert len(str(caught.value).splitlines()) == 4


@pytest.mark.parametrize(
    "text",
    [
        "bitrate = '${BAD}'",
        "conf_thres = '${BAD}'",
        "log_format = '${BAD}'",
        "imgsz = ['${BAD}', 4]",
        "engine = 'user:ge-heim%40@x'",
    ],
)
def test_faults_do_not_tell_what_the_environment_holds(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text, SECRET)
    assert "ge-heim" not in str(caught.value)


@pytest.mark.parametrize("location", ["missing.toml", "."])
def test_files_that_cannot_be_read(tmp_path: Path, location: str) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_config(tmp_path / location)
    (tmp_path / "latin.toml").write_bytes(b'model = "\xe4"')
    with pytest.raises(UsageError, match="is no TOML"):
        read_config(tmp_path / "latin.toml")


def test_options_of_flags_are_told_as_flags() -> None:
    with pytest.raises(UsageError, match="--log-format xml: should be 'text' or 'json'"):
        ServiceOptions.checked(log_format="xml")
    values: dict[str, Any] = {"stats": 2.0, "web": None}
    assert ServiceOptions.checked(**values).stats == 2.0
