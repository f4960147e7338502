"""`tensortap deepstream-check`: what it says where there is no SDK, where it is played, and where the device does otherwise."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from fakes import pyds, servicemaker, simulation
from fakes.simulation import Played, machine_finder
from tensortap import deepstream_check
from tensortap.cli.main import app
from tensortap.deepstream import machine
from tensortap.deepstream.platforms import PLATFORMS
from tensortap.deepstream_check import check, look


def states(findings: Any) -> dict[str, str]:
    return {finding.step: finding.state for finding in findings}


def test_without_the_sdk_it_says_what_is_missing(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["deepstream-check"])
    assert result.exit_code == 1
    assert "FAIL  bindings: neither can be used. Install pyds" in result.stdout
    assert "skip  runs: nothing is run before the steps above pass" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("FAIL  ")


def test_what_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, text in {
        "proc/driver/nvidia/version": "NVRM version: 570.0\nGCC\n",
        "opt/nvidia/deepstream/deepstream/version": "Version: DeepStream 8.0.0\n",
        "opt/nvidia/deepstream/deepstream/lib/libnvds_nvmultiobjecttracker.so": "",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.setitem(__import__("sys").modules, "pyds", pyds)
    found = {finding.step: finding for finding in look(tmp_path)}
    assert (found["driver"].state, found["driver"].detail) == ("pass", "NVRM version: 570.0")
    assert (found["SDK"].state, found["SDK"].detail) == ("pass", "Version: DeepStream 8.0.0")
    assert found["nvtracker's library"].state == "pass"
    assert found["pyds"].state == "pass"
    monkeypatch.delattr(pyds, "get_ptr")
    again = {finding.step: finding for finding in look(tmp_path)}
    assert (again["pyds"].state, again["pyds"].detail) == ("FAIL", "version unknown lacks get_ptr")


class PlayedGst:
    """Elements, each with its properties; nobody has any other."""

    def __init__(self, *lacking: str) -> None:
        self._lacking = lacking
        self.Gst = SimpleNamespace(ElementFactory=SimpleNamespace(make=self._make))

    def _make(self, factory: str, name: object) -> Any:
        if factory in self._lacking:
            return None
        return SimpleNamespace(find_property=lambda name: None if f"{factory}.{name}" in self._lacking else name)


@pytest.mark.parametrize(
    ("lacking", "expected"),
    [
        ([], {"elements": "pass", "properties": "pass"}),
        (["x264enc"], {"element x264enc": "note", "elements": "pass", "properties": "pass"}),
        (["nvinfer"], {"elements": "FAIL", "properties": "skip"}),
        (["nvinfer.interval"], {"elements": "pass", "properties": "FAIL"}),
        (["nvurisrcbin.rtsp-reconnect-attempts"], {"elements": "pass", "properties": "pass"}),
    ],
)
def test_elements_and_properties(monkeypatch: pytest.MonkeyPatch, lacking: list[str], expected: dict[str, str]) -> None:
    monkeypatch.setattr(deepstream_check, "load_gst", lambda: PlayedGst(*lacking))
    found = {finding.step: finding for finding in deepstream_check._elements(PLATFORMS["dgpu"])}
    assert states(found.values()) == expected
    if lacking:
        assert any(lacking[0] in f"{step} {finding.detail}" for step, finding in found.items())


def test_the_fakes_have_what_is_asked_of_the_bindings() -> None:
    for name, module in (("pyds", pyds), ("pyservicemaker", servicemaker)):
        lacking = [each for each in machine.NEEDS[name] if not deepstream_check._has(module, each)]
        assert lacking == []


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A device on which all looks well, with its SDK's files."""
    monkeypatch.setattr(deepstream_check, "look", lambda root: iter(()))
    configs = tmp_path / "sdk/samples/configs/deepstream-app"
    configs.mkdir(parents=True)
    (configs / "config_tracker_IOU.yml").write_text("BaseConfig:\n  minDetectorConfidence: 0\n")
    monkeypatch.setattr(deepstream_check, "SDK", tmp_path / "sdk")


@pytest.mark.parametrize("binding", ["pyds", "pyservicemaker"])
def test_the_runs_on_a_played_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: None, binding: str) -> None:
    monkeypatch.setattr(machine, "find_machine", machine_finder(binding, Played()))
    runs = [run for run in deepstream_check._RUNS if run[0] in ("tensors", "pixels", "nvtracker")]
    monkeypatch.setattr(deepstream_check, "_RUNS", tuple(runs))
    findings = list(check(tmp_path))
    assert states(findings) == {"tensors": "pass", "pixels": "pass", "nvtracker": "pass"}, findings


def test_a_device_that_does_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: None) -> None:
    """Pixels at the wrong place, an encoder that writes nothing: both are seen, and the other steps go on."""

    class Shifted(simulation.Nvinfer):
        def _converted(self, image: Any, owner: Any) -> Any:
            return super()._converted(image, owner)[:, ::-1].copy()

    monkeypatch.setattr(simulation, "Nvinfer", Shifted)
    monkeypatch.setattr(machine, "find_machine", machine_finder("pyds", Played()))
    monkeypatch.setattr(deepstream_check, "_RUNS", deepstream_check._RUNS[:-1])
    findings = list(check(tmp_path))
    assert states(findings) == {"tensors": "FAIL", "pixels": "pass", "nvtracker": "pass", "video file": "FAIL"}
    details = {finding.step: finding.detail for finding in findings}
    assert "scaling, letterbox or colours are not what they should be" in details["tensors"]
    assert details["video file"] == "no file was written"
