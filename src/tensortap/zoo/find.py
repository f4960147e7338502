"""From what `--model` was given to a file."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tensortap.errors import DownloadError, ModelError
from tensortap.zoo.cache import models_folder, only_one
from tensortap.zoo.table import ZOO, ZooModel

if TYPE_CHECKING:
    from tensortap.zoo.download import Progress

_log = logging.getLogger(__name__)

State = Literal["bundled", "missing", "ready", "not converted", "partly downloaded", "not downloaded"]


def resolve(
    name_or_path: str | os.PathLike[str],
    *,
    on_progress: Progress | None = None,
    on_notice: Callable[[str], object] | None = None,
) -> Path:
    """The file or folder of a model.

    A bare word that is a name of the zoo is that model, even if a file or folder here is called the same: write `./NAME` for
    that one, or give a `Path`. Everything else is a path and comes back as it is, whether it exists or not.

    Args:
        name_or_path: `yolov8n-pose`, or a path.
        on_progress: called with bytes done and bytes in all (`None` where unknown) while something is downloaded.
        on_notice: called with what people should be told: licence, address, waiting. By default it is logged.

    Raises:
        ModelError: a bare word is neither a name nor here, or the model cannot be made of what was downloaded.
        DownloadError: it cannot be downloaded; says where to put it by hand.
    """
    notice = on_notice or (lambda text: _log.info("%s", text))
    if isinstance(name_or_path, os.PathLike) or not _is_bare(name_or_path):
        return Path(name_or_path)
    model = ZOO.get(name_or_path)
    if model:
        if Path(name_or_path).exists():
            notice(f"{name_or_path} is the zoo's model. For the one of that name here, write .{os.sep}{name_or_path}")
        return _bundled(model) if model.kind == "bundled" else _cached(model, on_progress, notice)
    path = Path(name_or_path)
    if path.exists():
        return path
    if path.suffix:
        if path.stem in ZOO:
            notice(f"{name_or_path} is not here. Without its suffix, {path.stem} is a model that tensortap fetches.")
        return path
    raise ModelError(_unknown(name_or_path))


def state_of(model: ZooModel) -> tuple[State, Path]:
    """What there is of a model on this machine, and where it is or would be. No network."""
    if model.kind == "bundled":
        path = Path(__file__).with_name(model.file_name)
        return ("bundled" if path.is_file() else "missing"), path
    target = models_folder() / model.file_name
    fetched = target.with_name(model.download_name)
    if target.is_file():
        return "ready", target
    if fetched.is_file():
        return "not converted", target
    return ("partly downloaded" if fetched.with_name(fetched.name + ".part").is_file() else "not downloaded"), target


def _is_bare(text: str) -> bool:
    return bool(text) and not any(separator in text for separator in ("/", os.sep, os.altsep or "/"))


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), ZOO, n=3, cutoff=0.5)
    meant = f" Did you mean {' or '.join(close)}?" if close else ""
    return (
        f"There is no model {name!r}: no file or folder here, and no name of the zoo.{meant} tensortap models lists the names."
    )


def _bundled(model: ZooModel) -> Path:
    path = Path(__file__).with_name(model.file_name)
    if not path.is_file():
        raise ModelError(f"The model {model.name} is part of tensortap, but {path} is missing. The installation is incomplete.")
    return path


def _cached(model: ZooModel, on_progress: Progress | None, notice: Callable[[str], object]) -> Path:
    """The model in the cache; brought there on first use, by one process at a time."""
    target = models_folder() / model.file_name
    if target.is_file():
        return target
    return _fetch(model, target, on_progress, notice)


def _fetch(model: ZooModel, target: Path, on_progress: Progress | None, notice: Callable[[str], object]) -> Path:
    """Download it and make a model of it."""
    # Here, because whoever has the model does without HTTP, TLS and archives.
    from tensortap.zoo.convert import can_export, export, unpack
    from tensortap.zoo.download import download, megabytes

    fetched = target.with_name(model.download_name)
    with only_one(
        target.with_name(f".{model.name}.lock"), lambda: notice(f"Waiting for another process that fetches {model.name}.")
    ):
        if target.is_file():
            return target
        if fetched.is_file():
            _check(fetched, model)
        else:
            notice(_licence(model))
            notice(f"Downloading {model.name} ({megabytes(model.size_bytes)}) from {model.url}")
            try:
                download(model.url, fetched, size_bytes=model.size_bytes, sha256=model.sha256, on_progress=on_progress)
            except DownloadError as exc:
                raise DownloadError(f"{exc}\n{_by_hand(model, target)}") from exc
        if model.kind == "zip":
            unpack(fetched, model.member, target)
        elif model.kind == "checkpoint":
            if can_export():
                notice(f"Ultralytics exports {fetched.name} to ONNX; this takes a minute.")
            export(fetched, target)
    return target


def _check(path: Path, model: ZooModel) -> None:
    """A download that is there already: put there by hand, or left by an export that failed."""
    from tensortap.zoo.download import sha256_of

    if model.sha256 and (found := sha256_of(path)) != model.sha256:
        raise DownloadError(
            f"{path} is not the file that {model.url} gives: its SHA-256 is {found} instead of {model.sha256}. "
            "Delete it and try again."
        )


def _licence(model: ZooModel) -> str:
    if model.licence == "AGPL-3.0":
        return (
            f"{model.name}: weights by Ultralytics under AGPL-3.0, which has conditions for whoever distributes a program with "
            "them or offers it over a network; Ultralytics sells an Enterprise licence instead. "
            "Read https://www.ultralytics.com/license first."
        )
    return f"{model.name}: weights under {model.licence}, see {model.homepage}"


def _by_hand(model: ZooModel, target: Path) -> str:
    """How to get the model onto a machine without a network."""
    fetched = target.with_name(model.download_name)
    there = {
        "onnx": "",
        "zip": f", or the {model.member} in it as {target}",
        "checkpoint": f", or export it there (yolo export model={model.download_name} format=onnx dynamic=True) "
        f"and save the result as {target}",
    }
    return f"Without a network: download {model.url} elsewhere and save it as {fetched}{there[model.kind]}"
