"""`tensortap`: the command line."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from tensortap import __version__
from tensortap.cli import bench, demo, doctor, evaluate, inspect, models, nvinfer, quantize, record, run, scene
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
from tensortap.errors import TensortapError, UsageError

app = typer.Typer(
    name="tensortap",
    help="From videos and images to people's poses, through a model's raw output tensors.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run", cls=run.RunCommand)(run.run)
app.command("record", cls=run.RunCommand)(record.record)
app.command("demo")(demo.demo)
app.command("eval")(evaluate.evaluate)
app.command("bench")(bench.bench)
app.command("inspect")(inspect.inspect)
app.command("models")(models.models)
app.command("nvinfer-config")(nvinfer.nvinfer_config)
app.command("quantize", cls=run.RunCommand)(quantize.quantize)
app.command("scene")(scene.scene)
app.command("doctor")(doctor.doctor)


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
