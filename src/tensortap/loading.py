"""People's own functions, named on the command line: `my.py:decode`, `package.module:decode`."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from tensortap.errors import UsageError


def load_callable(text: str, flag: str, offered: Mapping[str, Any] | None = None) -> Callable[..., Any]:
    """The function behind `file.py:name` or `package.module:name`; of a class, an object made of it.

    A file is imported once, under a name of its own, and can import what lies beside it. Its code runs.

    Args:
        text: what was typed.
        flag: where it was typed, for messages, e.g. `--tap`.
        offered: arguments for a class, which gets those that it takes.

    Raises:
        UsageError: it is not there, or cannot be imported; names file, line and the functions that there are.
    """
    place, colon, name = text.rpartition(":")
    if text.endswith(".py") or not colon or not place or not name:
        raise UsageError(f"{flag} {text}: say which function, as in my.py:look or package.module:look.{_offers(text)}")
    module = _load_file(place, flag) if place.endswith(".py") or os.sep in place or "/" in place else _load_module(place, flag)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            names = functions_of(module)
            close = difflib.get_close_matches(part, names, n=1)
            meant = f" Did you mean {close[0]!r}?" if close else ""
            raise UsageError(
                f"{flag} {text}: {place} has no {name!r}. It has {', '.join(names) if names else 'no functions'}.{meant}"
            )
        found = getattr(found, part)
    if isinstance(found, type):
        arguments = taken_by(found, offered or {})
        try:
            found = found(**arguments)
        except Exception as exc:
            told = f"with {', '.join(arguments)}" if arguments else "without arguments"
            raise UsageError(
                f"{flag} {text}: {name} is a class; it is made {told}, which failed{_where(exc, module)}: "
                f"{type(exc).__name__}: {exc}"
            ) from exc
    if not callable(found):
        raise UsageError(f"{flag} {text}: {name} is {type(found).__name__}, not a function.")
    return found  # type: ignore[no-any-return]


def import_meanwhile(module: str) -> None:
    """Import a module in a thread of its own, while something else waits. Who needs it earlier waits for it; who never does
    is not told if it cannot be had."""

    def load() -> None:
        with contextlib.suppress(Exception):
            importlib.import_module(module)

    threading.Thread(target=load, name="tensortap-import").start()


def names_parameter(function: Callable[..., Any], name: str) -> bool:
    """Whether a function or a class takes an argument by this very name, not among any others."""
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # written in C
        return False


def taken_by(function: Callable[..., Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the offered arguments that a function or a class takes by name."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # written in C
        return {}
    by_name = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    takes_all = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    return {
        name: value for name, value in offered.items() if takes_all or (name in parameters and parameters[name].kind in by_name)
    }


def functions_of(module: ModuleType) -> list[str]:
    """Names of the functions and classes that a module defines itself, in their order."""
    return [
        name
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]


def _load_file(place: str, flag: str) -> ModuleType:
    path = Path(place)
    if not path.is_file():
        raise UsageError(f"{flag} {place}: there is no such file.")
    path = path.resolve()
    status = path.stat()
    # The time in the name: a file edited since, in a notebook, is another module.
    key = hashlib.sha256(f"{path}:{status.st_mtime_ns}:{status.st_size}".encode(errors="surrogateescape")).hexdigest()[:12]
    name = f"tensortap_file_{''.join(each if each.isalnum() else '_' for each in path.stem)}_{key}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{flag} {place}: it is no Python file; its name should end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses look their module up
    try:
        with _importable(path.parent):
            spec.loader.exec_module(module)
    except SyntaxError as exc:
        del sys.modules[name]
        raise UsageError(f"{flag} {place}: line {exc.lineno} of {exc.filename or place} is not Python: {exc.msg}.") from exc
    except Exception as exc:
        del sys.modules[name]
        raise UsageError(f"{flag} {place}: it cannot be imported{_where(exc, module)}: {type(exc).__name__}: {exc}") from exc
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _load_module(place: str, flag: str) -> ModuleType:
    try:
        with _importable(Path.cwd()):
            return importlib.import_module(place)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{place}.".startswith(f"{exc.name}."):
            raise UsageError(f"{flag} {place}: it cannot be imported: {exc}.") from exc
        raise UsageError(
            f"{flag} {place}: there is no module {exc.name!r}, neither installed nor here. Is it a file? my.py:look"
        ) from exc
    except Exception as exc:
        raise UsageError(f"{flag} {place}: it cannot be imported: {type(exc).__name__}: {exc}") from exc


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """First on the path meanwhile, as for `python my.py`; last from then on, for imports inside functions."""
    entry = str(folder)
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(entry)
        if entry not in sys.path:
            sys.path.append(entry)


def _where(exc: BaseException, module: ModuleType) -> str:
    """` in line 12`: the last line of the module that was on its way."""
    lines = [each.lineno for each in traceback.extract_tb(exc.__traceback__) if each.filename == module.__file__]
    return f" in line {lines[-1]}" if lines else ""


def _offers(text: str) -> str:
    """The functions at the top of a file that was named without one of them; nothing is run."""
    import ast

    try:
        tree = ast.parse(Path(text).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return ""
    names = [
        node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    ]
    return f" {text} has {', '.join(names)}." if names else f" {text} has no functions."
