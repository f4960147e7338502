"""`tensortap`: the command line."""

from __future__ import annotations

import importlib
import sys
from typing import Annotated, Any, NoReturn

import typer
import typer.main
from typer.core import TyperGroup

from tensortap import __version__
from tensortap.cli.console import (
    EXIT_BROKEN_PIPE,
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    Debug,
    is_structured,
    print_error,
    print_traceback,
    set_up_logging,
)
from tensortap.cli.several import SeveralValuesCommand
from tensortap.errors import TensortapError, UsageError

_COMMANDS = {
    "run": "tensortap.cli.run:run",
    "record": "tensortap.cli.record:record",
    "demo": "tensortap.cli.demo:demo",
    "eval": "tensortap.cli.evaluate:evaluate",
    "bench": "tensortap.cli.bench:bench",
    "inspect": "tensortap.cli.inspect:inspect",
    "models": "tensortap.cli.models:models",
    "nvinfer-config": "tensortap.cli.nvinfer:nvinfer_config",
    "quantize": "tensortap.cli.quantize:quantize",
    "scene": "tensortap.cli.scene:scene",
    "tune": "tensortap.cli.tune:tune",
    "doctor": "tensortap.cli.doctor:doctor",
    "deepstream-check": "tensortap.cli.deepstream:deepstream_check",
}
_TAKE_SEVERAL_VALUES = {"run", "record", "quantize", "tune"}
"""`-i a.mp4 b.mp4`."""


class _Commands(TyperGroup):
    """Imports a command when it is asked for: each brings packages that the others do without."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _COMMANDS:
            return None
        module, _, function = _COMMANDS[cmd_name].partition(":")
        one = typer.Typer(pretty_exceptions_enable=False, context_settings=_CONTEXT, add_completion=False)
        register = (
            one.command(cmd_name, cls=SeveralValuesCommand) if cmd_name in _TAKE_SEVERAL_VALUES else one.command(cmd_name)
        )
        register(getattr(importlib.import_module(module), function))
        return typer.main.get_command(one)


_CONTEXT = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    cls=_Commands,
    name="tensortap",
    help="From videos and images to people's poses, through a model's raw output tensors.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=_CONTEXT,
)


def _print_version(value: bool) -> None:
    if value:
        print(f"tensortap {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point: runs a command and turns what went wrong into a message and an exit code."""
    set_up_logging()
    try:
        app()
    except TensortapError as exc:
        if Debug.enabled:
            print_traceback(exc)
        if isinstance(exc.__cause__, BrokenPipeError):
            sys.exit(EXIT_BROKEN_PIPE)
        print_error(exc)
        sys.exit(EXIT_USAGE if isinstance(exc, UsageError) else EXIT_FAILURE)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        sys.exit(EXIT_BROKEN_PIPE)
    except ImportError as exc:
        _give_up(f"{exc}. Something that tensortap needs is missing or broken: tensortap doctor says what.", exc)
    except OSError as exc:
        _give_up(str(exc), exc)
    except Exception as exc:
        _give_up(
            f"{type(exc).__name__}: {exc}\nThis is a fault of tensortap. Please report it with the output of --debug.", exc
        )
    finally:
        _flush_stdout()


def _give_up(message: str, exc: Exception) -> NoReturn:
    if Debug.enabled:
        if not is_structured():
            raise exc
        print_traceback(exc)
    print_error(message)
    sys.exit(EXIT_FAILURE)


def _flush_stdout() -> None:
    """Flush now, and keep the interpreter from complaining later that the reader has gone."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        sys.stdout = None  # closed, full or gone: nothing more can be said there
