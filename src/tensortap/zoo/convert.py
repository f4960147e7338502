"""From what is downloaded to a model: out of an archive, or exported by Ultralytics."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tensortap.errors import DownloadError, ModelError
from tensortap.zoo.download import write_error

# Its Python interface, because it is the same in all versions; the checkpoint is the argument.
_EXPORT = "import sys; from ultralytics import YOLO; print(YOLO(sys.argv[1]).export(format='onnx', dynamic=True))"


def unpack(archive: Path, member: str, target: Path) -> None:
    """The one file called `member` in a zip, as `target`. The archive is deleted afterwards, and if it is damaged.

    Raises:
        DownloadError: it is damaged, holds no such file, or there is no space.
    """
    unpacked = target.with_name(target.name + ".part")
    size_bytes = None
    try:
        with zipfile.ZipFile(archive) as files:
            found = [info for info in files.infolist() if PurePosixPath(info.filename).name == member]
            if len(found) != 1:
                names = ", ".join(info.filename for info in files.infolist()[:10]) or "nothing"
                raise DownloadError(
                    f"{archive} should hold one {member}; it holds {names}. Put the model there by hand: {target}"
                )
            size_bytes = found[0].file_size
            with files.open(found[0]) as packed, unpacked.open("wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
        os.replace(unpacked, target)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as exc:
        archive.unlink(missing_ok=True)
        raise DownloadError(f"{archive} is no zip archive or is damaged ({exc}). It has been deleted; try again.") from exc
    except OSError as exc:
        raise write_error(target, exc, size_bytes) from exc
    finally:
        unpacked.unlink(missing_ok=True)
    archive.unlink(missing_ok=True)


def can_export() -> bool:
    """Whether Ultralytics is installed."""
    return importlib.util.find_spec("ultralytics") is not None


def export(checkpoint: Path, target: Path) -> None:
    """Have Ultralytics, in a process of its own, write a checkpoint as ONNX with dynamic axes.

    Raises:
        ModelError: Ultralytics is not installed or fails; says what to do by hand.
    """
    by_hand = f"yolo export {shlex.quote(f'model={checkpoint}')} format=onnx dynamic=True"
    if not can_export():
        raise ModelError(
            f"{checkpoint} is there, but it is a PyTorch checkpoint, which has to be exported to ONNX, "
            "and Ultralytics is not installed. Either of these helps:\n"
            "  pip install ultralytics onnxslim    and the same command again, which exports it;\n"
            f"  {by_hand}    where Ultralytics is installed, so that the result is {target}"
        )
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
            copied = Path(folder, checkpoint.name)  # the export is written beside it
            shutil.copyfile(checkpoint, copied)
            run = subprocess.run(
                [sys.executable, "-c", _EXPORT, str(copied)],
                cwd=folder,
                # It would install packages by itself; what is missing is for the user to decide.
                env=os.environ | {"YOLO_AUTOINSTALL": "false"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            exported = copied.with_suffix(".onnx")
            if run.returncode or not exported.is_file() or not exported.stat().st_size:
                said = run.stdout.decode("utf-8", "replace").strip().splitlines()[-5:]
                raise ModelError(
                    f"Ultralytics could not export {checkpoint} (exit code {run.returncode}):\n"
                    + "".join(f"  {line}\n" for line in said)
                    + f"Try by hand, so that the result is {target}:\n  {by_hand}"
                )
            os.replace(exported, target)
    except OSError as exc:
        raise write_error(target, exc, None) from exc
