"""What deploy/ names exists: commands, flags, settings, files, packages."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from rtsp.server import INSTALL
from tensortap.cli.main import app
from tensortap.config import ONLY_DEEPSTREAM, ONLY_PORTABLE, Settings
from tensortap.config_file import ServiceOptions, read_config

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
if not DEPLOY.is_dir():
    pytest.skip("deploy/ is not beside an installed package", allow_module_level=True)
UNIT = (DEPLOY / "systemd" / "tensortap.service").read_text()
DOCKERFILE = (DEPLOY / "docker" / "Dockerfile").read_text()
EXAMPLE = DEPLOY / "tensortap.toml"
SECRETS = {"CAMERA_USER": "u", "CAMERA_PASSWORD": "p"}


def values(key: str) -> list[str]:
    """What the unit says of a key, line by line."""
    return re.findall(rf"^{key}=(.*)$", UNIT, re.MULTILINE)


def check_command(words: list[str]) -> None:
    """A command line of ours: its command and every flag of it exist."""
    command = typer.main.get_command(app).get_command(None, words[0])  # type: ignore[attr-defined]
    flags = {flag for parameter in command.params for flag in parameter.opts}
    assert {word for word in words[1:] if word.startswith("-")} <= flags


def test_the_unit_starts_what_there_is() -> None:
    [start] = values("ExecStart")
    program, *words = shlex.split(start)
    assert program == "/opt/tensortap/bin/tensortap"
    check_command(words)
    assert words[words.index("--config") + 1] == "/etc/tensortap/tensortap.toml"
    assert "/etc/tensortap/environment" in values("EnvironmentFile")[0]
    assert "/etc/tensortap/environment" in EXAMPLE.read_text()


def test_the_unit_agrees_with_the_program() -> None:
    from tensortap.cli.console import EXIT_INTERRUPTED, EXIT_USAGE

    assert values("SuccessExitStatus") == [str(EXIT_INTERRUPTED)]
    assert values("RestartPreventExitStatus") == [str(EXIT_USAGE)]
    assert values("Type") == ["notify"]
    assert "TENSORTAP_CACHE=/var/cache/tensortap" in values("Environment")[0]
    assert values("CacheDirectory") == ["tensortap"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "tensortap.service"
    # It looks whether the program is there.
    unit.write_text(UNIT.replace("/opt/tensortap/bin/tensortap", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert str(unit) not in done.stderr, done.stderr  # unknown keys are warnings only


def test_the_image_copies_what_there_is() -> None:
    copies = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY ") and "--from" not in line]
    assert copies
    for name in [name for names in copies for name in names]:
        assert (ROOT / name).exists(), name
    # What the build of the package reads.
    project = (ROOT / "pyproject.toml").read_text()
    copied = " ".join(name for names in copies for name in names)
    for name in re.findall(r'^(?:readme|license-files) = \[?"([^"]+)"', project, re.MULTILINE):
        assert name in copied, name
    [extras] = re.findall(r'"/src\[([^\]]*)\]"', DOCKERFILE)
    assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras.split(","))


def test_the_image_starts_what_there_is() -> None:
    assert re.search(r'^ENTRYPOINT \["tensortap"\]$', DOCKERFILE, re.MULTILINE)
    [words] = re.findall(r"^CMD \[(.*)\]$", DOCKERFILE, re.MULTILINE)
    words = [word.strip().strip('"') for word in words.split(",")]
    check_command(words)
    assert words[words.index("--config") + 1] in DOCKERFILE.partition("COPY deploy/tensortap.toml ")[2]
    assert set(INSTALL.split()[2:]) <= set(DOCKERFILE.split())
    supported = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert set(re.findall(r"FROM python:(3\.\d+)", DOCKERFILE)) <= set(supported)


def test_the_example_names_every_setting_with_its_default(tmp_path: Path) -> None:
    settings = {name: field.default for name, field in Settings.model_fields.items()}
    known = settings | {name: field.default for name, field in ServiceOptions.model_fields.items()}
    # Uncommented, every line is a key; those that change the default stand without a comment.
    text, streams = EXAMPLE.read_text().split("[streams]")
    lines = re.findall(r"^(?:# )?([a-z_]+) = (.*)$", text, re.MULTILINE)
    assert {name for name, _ in lines} == set(known)
    told: set[str] = set()
    checked: dict[str, Any] = {}
    # One runtime refuses what only the other has; each file says all that it may.
    for runtime, others in (("portable", ONLY_DEEPSTREAM), ("deepstream", ONLY_PORTABLE)):
        shown = tmp_path / f"{runtime}.toml"
        keys = [f"{name} = {value}" for name, value in lines if name not in (*others, "runtime")]
        shown.write_text("\n".join([f'runtime = "{runtime}"', *keys]) + f"\n[streams]{streams}")
        found = read_config(shown, SECRETS)
        told |= found.settings.keys() | found.options.keys()
        checked |= vars(Settings.checked(**{**found.settings, "nvinfer_config": None}))  # whose file is not here
    assert told == set(known)
    for name in re.findall(r"^# ([a-z_]+) = ", text, re.MULTILINE):
        if name in ("inputs", "nvinfer_config", "runtime") or name not in settings or settings[name] is None:
            continue  # where the default is none, an example stands there
        assert checked[name] == settings[name], name


def test_the_guide_names_the_files() -> None:
    guide = (DEPLOY / "README.md").read_text()
    for path in ("deploy/tensortap.toml", "deploy/systemd/tensortap.service", "deploy/docker/Dockerfile"):
        assert path in guide
        assert (ROOT / path).is_file()
