"""Which files a run writes, and that none of them is written twice or read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tensortap.errors import UsageError
from tensortap.portable.sources.inputs import Input, is_url
from tensortap.sinks.names import OutputName


def output_paths(
    names: Sequence[OutputName], inputs: Sequence[Input], model_path: Path | None, *, tiled: bool = False
) -> list[tuple[OutputName, Path, int | None]]:
    """Every file to be written, and the one stream that goes there, if it is only one.

    Args:
        tiled: a video shows all streams side by side.

    Raises:
        UsageError: two outputs share a file, or an output is an input or the model.
    """
    paths: list[tuple[OutputName, Path, int | None]] = []
    for name in names:
        if tiled or not name.per_stream:
            paths.append((name, name.path, None))
        elif len(inputs) == 1:
            # A recording may hold several streams; all of them go there.
            paths.append((name, name.path, None if inputs[0].kind == "recording" else 0))
        else:
            paths += [(name, name.for_stream(source_id), source_id) for source_id in range(len(inputs))]
    refuse_clashes(paths, inputs, model_path, [])
    return paths


def refuse_clashes(
    paths: Sequence[tuple[OutputName, Path, int | None]],
    inputs: Sequence[Input],
    model_path: Path | None,
    outputs: Sequence[str],
) -> None:
    """Raises UsageError where one of the paths is an input, the model, or written to already."""
    taken: dict[object, str] = {_identity(Path(output)): f"two outputs would write {output}" for output in outputs}
    for location in (path for found in inputs for path in (found.paths or (found.location,))):
        if not is_url(str(location)):
            taken[_identity(Path(location))] = "it is an input; it would be overwritten"
    for part in (model_path, model_path.with_suffix(".bin")) if model_path else ():
        taken[_identity(part)] = "it is the model; it would be overwritten"
    for name, path, _ in paths:
        if not name.is_file:
            continue
        clash = taken.get(_identity(path))
        if clash:
            raise UsageError(f"-o {name.text}: {clash}. Choose another name.")
        taken[_identity(path)] = f"two outputs would write {path}"


def _identity(path: Path) -> object:
    """What two names of one file have in common, links included."""
    try:
        found = path.stat()
    except OSError:
        return path.resolve()
    return found.st_dev, found.st_ino
