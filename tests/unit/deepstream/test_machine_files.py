"""What is read of the machine and of nvtracker's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tensortap.deepstream.platforms import detect
from tensortap.deepstream.rtsp import free_udp_port
from tensortap.deepstream.tracker_file import LIBRARY, read_tracker_file
from tensortap.errors import UsageError

ORIGINAL = """\
# Mandatory properties for the tracker:
[tracker]
tracker-width=640
tracker-height=384
gpu-id=0
ll-lib-file=/opt/nvidia/deepstream/deepstream/lib/libnvds_nvmultiobjecttracker.so
#ll-lib-file=/opt/nvidia/deepstream/deepstream/lib/libnvds_mot_iou.so
ll-config-file=nvdcf.yml
enable-batch-process=1
tracking-id-reset-mode=3
display-tracking-id=1
"""


def test_the_original_applications_file(tmp_path: Path) -> None:
    path = tmp_path / "config_tracker.txt"
    path.write_text(ORIGINAL)
    (tmp_path / "nvdcf.yml").touch()
    properties, optional = read_tracker_file(path)
    assert properties == {
        "tracker-width": 640,
        "tracker-height": 384,
        "gpu-id": 0,
        "ll-lib-file": LIBRARY,
        "ll-config-file": str(tmp_path / "nvdcf.yml"),
        "enable-batch-process": 1,
        "tracking-id-reset-mode": 3,
        "display-tracking-id": 1,
    }
    assert optional == {"enable-batch-process", "tracking-id-reset-mode", "display-tracking-id"}


def test_files_are_found_beside_the_configuration_or_where_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "here.yml").touch()
    (tmp_path / "there.yml").touch()
    path = tmp_path / "configs" / "tracker.txt"
    path.write_text("[tracker]\nll-config-file=here.yml;there.yml;nowhere.yml\n")
    monkeypatch.chdir(tmp_path)
    properties, _ = read_tracker_file(path)
    folder = tmp_path / "configs"
    assert properties["ll-config-file"] == f"{folder / 'here.yml'};{tmp_path / 'there.yml'};{folder / 'nowhere.yml'}"


def test_yaml_and_spellings(tmp_path: Path) -> None:
    path = tmp_path / "app.yml"
    path.write_text("tracker:\n  enable: 1\n  tracker_width: 960\n  sub-batches: 0,1;2\n  ll-lib-file: /lib/x.so\n")
    properties, optional = read_tracker_file(path)
    assert properties == {"tracker-width": 960, "sub-batches": "0,1;2", "ll-lib-file": "/lib/x.so"}
    assert optional == {"sub-batches"}


def test_the_low_level_trackers_own_file(tmp_path: Path) -> None:
    path = tmp_path / "config_tracker_NvDCF_perf.yml"
    path.write_text("%YAML:1.0\nBaseConfig:\n  minDetectorConfidence: 0.0\nTargetManagement:\n  probationAge: 4\n")
    assert read_tracker_file(path) == ({"ll-lib-file": LIBRARY, "ll-config-file": str(path)}, frozenset())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "[property]\nx=1\n", r"has no group \[tracker\]; it has property"),
        ("a.txt", "x=1\n", "is no configuration of nvtracker"),
        ("a.txt", "[tracker]\ntracker-width=wide\n", "tracker-width=wide should be a whole number"),
        ("a.txt", "[tracker]\nenable=0\n", "enable=0 switches nvtracker off"),
        ("a.yml", "tracker: [\n", "is no YAML"),
        ("a.yml", "property:\n  x: 1\n", "has no group tracker and is no file of nvtracker's library; it has property"),
    ],
)
def test_files_that_cannot_be_meant(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message):
        read_tracker_file(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        read_tracker_file(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("machine", "files", "name"),
    [
        ("x86_64", {}, "dgpu"),
        ("x86_64", {"proc/version": "Linux version 5.15.90.1-microsoft-standard-WSL2"}, "wsl"),
        ("aarch64", {"etc/nv_tegra_release": "# R36"}, "jetson"),
        ("aarch64", {"proc/device-tree/compatible": "nvidia,p3768-0000\0nvidia,tegra234\0"}, "jetson"),
        ("aarch64", {"proc/version": "Linux version 6.8"}, "sbsa"),
    ],
)
def test_platforms_are_told_apart(tmp_path: Path, machine: str, files: dict[str, str], name: str) -> None:
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert detect(tmp_path, machine).name == name


def test_a_port_that_is_taken_is_left_alone() -> None:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert free_udp_port(port) not in (0, port)
    assert free_udp_port(port) == port
    assert free_udp_port(port, [port]) not in (0, port)


@pytest.mark.parametrize("name", ["jetson", "dgpu", "sbsa", "wsl"])
def test_surfaces_are_unmapped_on_jetson_only(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    import sys
    from types import SimpleNamespace

    from fakes import pyds
    from tensortap.deepstream import machine
    from tensortap.deepstream.platforms import PLATFORMS
    from tensortap.deepstream.tap_pyds import PydsTap

    monkeypatch.setattr(machine, "GstDriver", lambda *_: SimpleNamespace(has_element=None))
    monkeypatch.setitem(sys.modules, "pyds", pyds)
    tap = machine.find_machine(PLATFORMS[name], "pyds", {}, str).tap
    assert isinstance(tap, PydsTap)
    assert (tap.unmap is not None) == (name == "jetson")


def test_the_bindings_that_are_there_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PyGObject pyds is of no use, and pyservicemaker, which needs none, is taken."""
    import sys

    from fakes import pyds, servicemaker
    from tensortap.deepstream import machine
    from tensortap.deepstream.platforms import PLATFORMS
    from tensortap.errors import MissingDependencyError

    def no_gst(*_: object) -> None:
        raise MissingDependencyError("no PyGObject")

    monkeypatch.setattr(machine, "GstDriver", no_gst)
    monkeypatch.setitem(sys.modules, "pyds", pyds)
    monkeypatch.setitem(sys.modules, "pyservicemaker", None)
    with pytest.raises(MissingDependencyError, match="pyds: no PyGObject; pyservicemaker: "):
        machine.find_machine(PLATFORMS["dgpu"], "auto", {}, str)
    monkeypatch.setitem(sys.modules, "pyservicemaker", servicemaker)
    found = machine.find_machine(PLATFORMS["dgpu"], "auto", {}, str)
    assert (found.binding, found.driver.name) == ("pyservicemaker", "pyservicemaker")
    with pytest.raises(MissingDependencyError, match="needs NVIDIA's DeepStream SDK"):
        machine.find_machine(PLATFORMS["dgpu"], "pyds", {}, str)
