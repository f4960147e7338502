"""Outputs that are slow or hang beside an engine that has more to do than it can: does inference notice?

A camera shows more than the engine can serve. With an output that blocks for ten seconds at a time, with a pipe that nobody
reads, and with a client of the served picture that stops reading, against the same with outputs that keep up. Encoding for a
client takes CPU whether the client reads or not; so that a client that stops is compared with one that reads. The browser page
is another matter: it encodes what is asked for, so that a tab in the background and a viewer that never reads cost nothing.
Where others use the machine, too, frames a second say less than the CPU time of a frame, which is printed beside them.

    python benchmarks/slow_outputs.py --model yolov8n-pose.onnx --imgsz 320
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import av
from common import machine
from loopback import RtspServer, pose_model, write_clip

from tensortap.control import Control
from tensortap.errors import SinkError
from tensortap.outputs import Output
from tensortap.pipeline import Pipeline
from tensortap.sinks.background import BackgroundSink
from tensortap.types import Result
from tensortap.web.server import WebServer

_LEAST_SHARE = 0.95


class Blocking:
    """A sink of which every call takes ten seconds."""

    def __init__(self) -> None:
        self._over = threading.Event()

    def write(self, result: Result) -> None:
        """Take one, some time."""
        self._over.wait(10.0)

    def close(self) -> None:
        """Nothing to do."""


@contextmanager
def quick(pipeline: Pipeline, folder: Path) -> Iterator[None]:
    """Nothing beside."""
    yield


@contextmanager
def blocking(pipeline: Pipeline, folder: Path) -> Iterator[None]:
    """An output that blocks."""
    sink = BackgroundSink("blocking", Blocking(), queue_size=64)
    pipeline.parts.outputs.append(Output("blocking", sink))
    yield


@contextmanager
def reading(pipeline: Pipeline, folder: Path) -> Iterator[None]:
    """A client that takes what it is served."""
    over = threading.Event()

    def read() -> None:
        with (
            suppress(av.error.FFmpegError),
            av.open(_url(pipeline), options={"rtsp_transport": "tcp"}, timeout=10) as container,
        ):
            for _ in container.demux():
                if over.is_set():
                    return

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    yield
    over.set()


@contextmanager
def stuck(pipeline: Pipeline, folder: Path) -> Iterator[None]:
    """A client that asks for the picture and reads no more."""
    url = _url(pipeline)
    with socket.create_connection(("127.0.0.1", int(url.split(":")[2].split("/")[0]))) as client:

        def ask(request: str) -> str:
            client.sendall(f"{request}\r\n\r\n".encode())
            return client.recv(8192).decode(errors="replace")

        ask(f"DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp")
        answer = ask(f"SETUP {url}/stream=0 RTSP/1.0\r\nCSeq: 2\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1")
        session = next(line for line in answer.splitlines() if line.startswith("Session:")).partition(";")[0]
        client.sendall(f"PLAY {url} RTSP/1.0\r\nCSeq: 3\r\n{session}\r\n\r\n".encode())
        yield


@contextmanager
def page_alone(pipeline: Pipeline, folder: Path) -> Iterator[None]:
    """The browser page is served, and nobody looks."""
    with WebServer(":0", Control(pipeline)):
        yield


@contextmanager
def page_seen(pipeline: Pipeline, folder: Path) -> Iterator[None]:
    """A viewer that takes pictures as fast as they come, without drawing them."""
    over = threading.Event()
    with WebServer(":0", Control(pipeline)) as server:

        def look() -> None:
            while not over.is_set():
                with suppress(OSError), urlopen(f"{server.url}/api/frames?width=640&stream=0.0", timeout=10) as answer:
                    answer.read()
                over.wait(1 / 15)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        yield
        over.set()
        thread.join()


@contextmanager
def page_stuck(pipeline: Pipeline, folder: Path) -> Iterator[None]:
    """Eight viewers that ask for pictures over and over, and read none."""
    with WebServer(":0", Control(pipeline)) as server:
        where = urlsplit(server.url)
        request = f"GET /api/frames?width=960&stream=0.0 HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode()
        clients = [socket.socket() for _ in range(8)]
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((where.hostname, where.port))
            client.sendall(request * 100)
        yield
        for client in clients:
            client.close()


@contextmanager
def page_behind(pipeline: Pipeline, folder: Path) -> Iterator[None]:
    """A real browser whose tab is in the background. Needs selenium, Chromium and its driver."""
    from selenium import webdriver  # not for the other cases

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    with WebServer(":0", Control(pipeline)) as server:
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            driver.get(server.url)
            driver.switch_to.new_window("tab")
            yield
        finally:
            driver.quit()


def _url(pipeline: Pipeline) -> str:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for output in pipeline.parts.outputs:
            if urls := getattr(output.sink, "urls", None):
                return str(urls[0])
        time.sleep(0.05)
    raise RuntimeError("nothing is served")


CASES: list[tuple[str, str, Callable[..., Any], list[str]]] = [
    ("no output but one that discards", "", quick, ["null"]),
    ("a sink that blocks for 10 s", "no output but one that discards", blocking, ["null"]),
    ("a pipe that nobody reads", "no output but one that discards", quick, ["jsonl:PIPE"]),
    ("the page, and nobody looks", "no output but one that discards", page_alone, ["null"]),
    ("the page in a browser tab in the background", "no output but one that discards", page_behind, ["null"]),
    ("the page, eight viewers that never read", "no output but one that discards", page_stuck, ["null"]),
    ("the page, a viewer that reads", "", page_seen, ["null"]),
    ("a client that reads", "", reading, ["rtsp://:0/all"]),
    ("a client that never reads", "a client that reads", stuck, ["rtsp://:0/all"]),
]


def run(pipeline: Pipeline) -> None:
    """To its end; an output that hangs is an error then."""
    with suppress(SinkError):
        pipeline.run()


def rate(
    case: Any, outputs: list[str], camera: str, model: Path, seconds: float, settings: dict[str, Any]
) -> tuple[float, float, int]:
    """Frames a second, milliseconds of CPU a frame, and results that outputs lost."""
    with tempfile.TemporaryDirectory() as folder:
        pipe = os.path.join(folder, "pipe")
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # holds it open, reads nothing
        pipeline = Pipeline(camera, model, outputs=[text.replace("PIPE", pipe) for text in outputs], **settings)
        thread = threading.Thread(target=run, args=(pipeline,))
        with case(pipeline, Path(folder)):
            thread.start()
            time.sleep(5.0)
            before, began, used = pipeline.summary.frames, time.monotonic(), time.process_time()
            time.sleep(seconds)
            num_frames = pipeline.summary.frames - before
            found = num_frames / (time.monotonic() - began)
            cpu_ms = (time.process_time() - used) / max(num_frames, 1) * 1e3
            lost = sum(output.dropped for output in pipeline.numbers().outputs)
        pipeline.close()
        thread.join()
        os.close(reader)
    return found, cpu_ms, lost


def main() -> int:
    """A table; 1 where inference was slowed down by more than 5 %."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=int, default=240, help="frames a second of the camera")
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--model", type=Path, help="by default a tiny one, with which decoding is the limit")
    parser.add_argument("--imgsz", default=None)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="cases with this in their names")
    arguments = parser.parse_args()
    wanted = [case for case in CASES if arguments.only in case[0]]
    cases = [case for case in CASES if case in wanted or any(case[0] == against for _, against, *_ in wanted)]
    width, height = map(int, arguments.size.split("x"))
    rates: dict[str, list[float]] = {name: [] for name, *_ in cases}
    cpu_ms: dict[str, list[float]] = {name: [] for name, *_ in cases}
    lost: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or pose_model(Path(folder) / "tiny.onnx")
        clip = write_clip(Path(folder) / "one.clip", (width, height), arguments.rate, 4 * arguments.rate, seed=1)
        print(f"{machine()}\none camera of {arguments.size} at {arguments.rate} frames/s, model {model.name}", flush=True)
        with RtspServer({"/a": {"clip": str(clip)}}) as server:
            for _ in range(arguments.rounds):
                for name, _, case, outputs in cases:
                    settings = {"imgsz": arguments.imgsz}
                    found, used, lost[name] = rate(case, outputs, server.url("/a"), model, arguments.seconds, settings)
                    rates[name].append(found)
                    cpu_ms[name].append(used)
    met = True
    for name, against, *_ in cases:
        median = statistics.median(rates[name])
        verdict = ""
        if rates.get(against):
            share = statistics.median(one / other for one, other in zip(rates[name], rates[against], strict=True))
            met &= share >= _LEAST_SHARE
            verdict = f", {share:.3f} of '{against}'; asked for: {_LEAST_SHARE}{'' if share >= _LEAST_SHARE else ' NOT MET'}"
        used = statistics.median(cpu_ms[name])
        print(f"{name}: {median:.1f} frames/s, {used:.2f} ms of CPU a frame, {lost[name]} results lost{verdict}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
