"""`--web` on the command line: what is printed, and who is let in."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")

from pages import Page, until

SCENE = "scene://street?people=2&size=320x240&fps=10&live=1"
RUN = ("run", "-i", SCENE, "-m", "demo", "--imgsz", "256x320")
TOKEN = "let-me-in-please"


@contextmanager
def started(*arguments: str, **environment: str) -> Iterator[list[str]]:
    """A command that goes on, and the lines that it has printed so far; stopped by Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tensortap", *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment},
    )
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stderr.readline, "")))
    reader.start()
    try:
        yield lines
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(30)
        reader.join()
    assert code == 130, lines


def printed(lines: list[str], pattern: str) -> re.Match[str]:
    return until(pattern, lambda: next((found for line in list(lines) if (found := re.search(pattern, line))), None))


def test_the_demo_has_a_page() -> None:
    with started("demo", "--live", "--scene", SCENE, "--web", ":0") as lines:
        page = Page(printed(lines, r"page at (http://127\.0\.0\.1:\d+)/\n")[1])
        until("people", lambda: page.streams()["scene-street"]["people"] > 0)
        assert not page.get("/api/state").json["ends_with_last_stream"]


def test_a_page_is_for_what_goes_on() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tensortap", "demo", "--web", ":0"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "add --live" in done.stderr


def test_the_token_that_was_made_up_is_printed_even_if_little_else_is() -> None:
    with started(*RUN, "--quiet", "--web", "0.0.0.0:0") as lines:
        found = printed(lines, r"page at http://[^:]+:(\d+)/\?token=(\S+)")
        page = Page(f"http://127.0.0.1:{found[1]}")
        assert page.get("/api/state").status == 401
        assert page.get("/api/state", Authorization=f"Bearer {found[2]}").status == 200


@pytest.mark.parametrize("by_flag", [True, False])
def test_a_token_that_was_set(by_flag: bool) -> None:
    flags, environment = (["--web-token", TOKEN], {}) if by_flag else ([], {"TENSORTAP_WEB_TOKEN": TOKEN})
    with started(*RUN, *flags, "--web", ":0", **environment) as lines:
        page = Page(printed(lines, r"page at (http://127\.0\.0\.1:\d+)/ with the token that was set")[1])
        assert page.get("/metrics").status == 401
        assert page.get("/metrics", Authorization=f"Bearer {TOKEN}").status == 200
        assert TOKEN not in "".join(lines)
