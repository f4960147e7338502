"""A model by name or path, with its download on the screen."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from tensortap.cli.console import console
from tensortap.zoo import resolve

_LINE_SECONDS = 5.0


def fetch_model(name_or_path: str, *, quiet: bool = False) -> Path:
    """What `tensortap.zoo.resolve` gives, with its notices and a bar on the standard error.

    Raises:
        ModelError: as `resolve`.
    """
    with DownloadProgress(console, quiet) as progress:
        try:
            return resolve(
                name_or_path,
                on_progress=progress.update,
                # The licence is said once and is never hidden.
                on_notice=lambda text: console.print(f"[dim]{escape(text)}[/]", soft_wrap=True),
            )
        except KeyboardInterrupt:
            if progress.done_bytes:
                console.print(
                    "[yellow]stopped; what has come is kept, and the same again goes on from there[/]", soft_wrap=True
                )
            raise


class DownloadProgress:
    """A bar on a terminal, a plain line every few seconds otherwise; nothing before the first byte."""

    def __init__(self, shown_on: Console, quiet: bool) -> None:
        self.done_bytes = 0
        """What has come, to this call and earlier ones."""
        self._console = shown_on
        self._quiet = quiet
        self._bar: Progress | None = None
        self._last = time.perf_counter()

    def __enter__(self) -> DownloadProgress:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop_bar()

    def update(self, done: int, total: int | None) -> None:
        """Called with bytes done and bytes in all."""
        self.done_bytes = done
        if self._quiet:
            return
        if self._console.is_terminal:
            self._draw(done, total)
        elif time.perf_counter() - self._last >= _LINE_SECONDS or done == total:
            self._last = time.perf_counter()
            of = f" of {total / 1e6:.1f}" if total else ""
            self._console.print(f"downloaded {done / 1e6:.1f}{of} MB", soft_wrap=True)

    def _draw(self, done: int, total: int | None) -> None:
        if self._bar is None:
            self._bar = Progress(
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("download", total=total)
            self._bar.start()
        self._bar.update(self._task, completed=done, total=total)
        if done == total:  # what comes next, an export, may write lines of its own
            self._stop_bar()

    def _stop_bar(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None
