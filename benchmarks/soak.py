"""Many RTSP cameras for a long time on one machine: does everybody get a turn, does nothing grow?

Two servers on loopback show drawn people; one of them is killed and started again all the time. Every second the process's
memory, open files and threads are written down, with the rate and the latency of every stream, as CSV; in the end there is a
verdict and, where matplotlib is installed, a picture. The servers use the same cores, as cameras do not: their share is told.

    python benchmarks/soak.py --seconds 1800 --model yolov8n-pose.onnx
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import psutil
from common import machine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from models import pose_model
from rtsp.server import RtspServer
from tensortap.metrics import Numbers
from tensortap.pipeline import Pipeline
from tensortap.scenes import Scene

_COLUMNS = ("seconds", "rss_mb", "fds", "threads", "frame_rate", "slowest", "fastest", "p50_ms", "p95_ms", "p99_ms", "online")
_MB = 1 << 20


def write_clip(path: Path, size_wh: tuple[int, int], rate: int, seconds: int, seed: int) -> Path:
    """People in a street as a clip for the RTSP server; see tests/rtsp/serve.py."""
    scene = Scene("street", people=4, seed=seed, size_wh=size_wh, frame_rate=float(rate))
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height = size_wh
    context.pix_fmt, context.time_base, context.framerate = "yuv420p", Fraction(1, rate), Fraction(rate)
    context.options = {
        "preset": "veryfast",
        "tune": "zerolatency",
        "g": str(2 * rate),
        "x264-params": "repeat-headers=1:sliced-threads=0",
    }
    with path.open("wb") as file:
        file.write(struct.pack("<d", rate))
        for number in range(rate * seconds):
            frame = av.VideoFrame.from_ndarray(scene.frame(number).image, format="bgr24").reformat(format="yuv420p")
            frame.pts = number
            for packet in context.encode(frame):
                data = bytes(packet)
                file.write(struct.pack("<I", len(data)) + data)
    return path


@contextmanager
def hurt(mounts: dict[str, Any], every_seconds: float) -> Iterator[RtspServer]:
    """A server that is killed every so often and comes back two seconds later, at the same port."""
    server = RtspServer(mounts)
    over = threading.Event()
    running = [server]

    def hit() -> None:
        while not over.wait(every_seconds):
            running[0].kill()
            if not over.wait(2.0):
                running[0] = RtspServer(mounts, server.port)

    thread = threading.Thread(target=hit, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        over.set()
        thread.join()
        running[0].kill()


def row(began: float, process: psutil.Process, numbers: Numbers) -> dict[str, float]:
    """The numbers of this second."""
    rates = [stream.frame_rate for stream in numbers.streams if stream.status.state.value == "online"]
    latencies = [stream.latency for stream in numbers.streams if stream.latency.p50 is not None]

    def worst(name: str) -> float:
        return max((getattr(latency, name) for latency in latencies), default=0.0) * 1e3

    return {
        "seconds": round(time.monotonic() - began, 1),
        "rss_mb": round(process.memory_info().rss / _MB, 1),
        "fds": process.num_fds(),
        "threads": process.num_threads(),
        "frame_rate": round(numbers.frame_rate, 2),
        "slowest": round(min(rates, default=0.0), 2),
        "fastest": round(max(rates, default=0.0), 2),
        "p50_ms": round(statistics.median([latency.p50 for latency in latencies]) * 1e3, 1) if latencies else 0.0,
        "p95_ms": round(worst("p95"), 1),
        "p99_ms": round(worst("p99"), 1),
        "online": len(rates),
    }


def slope_mb_per_minute(rows: list[dict[str, float]]) -> float:
    """How fast memory grows, least squares over the second half: start-up is over by then."""
    half = rows[len(rows) // 2 :]
    if len(half) < 3:
        return 0.0
    return statistics.linear_regression([each["seconds"] / 60 for each in half], [each["rss_mb"] for each in half]).slope


def plot(rows: list[dict[str, float]], path: Path) -> bool:
    """A picture of everything over time; False where matplotlib is missing."""
    try:
        import matplotlib as mpl
    except ImportError:
        return False
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    minutes = [each["seconds"] / 60 for each in rows]
    panels = (
        ("memory, MB", ("rss_mb",)),
        ("open files, threads", ("fds", "threads")),
        ("frames/s of all streams", ("frame_rate",)),
        ("latency, ms: median, worst stream's p95 and p99", ("p50_ms", "p95_ms", "p99_ms")),
        ("streams online", ("online",)),
    )
    figure, axes = plt.subplots(len(panels), 1, figsize=(10, 2.2 * len(panels)), sharex=True)
    for axis, (title, names) in zip(axes, panels, strict=True):
        for name in names:
            axis.plot(minutes, [each[name] for each in rows], label=name, linewidth=1)
        axis.set_title(title, fontsize=9, loc="left")
        axis.set_ylim(0, 1.15 * max(1.0, *(each[name] for name in names for each in rows)))
        axis.grid(alpha=0.3)
        if len(names) > 1:
            axis.legend(fontsize=7, loc="upper right")
    axes[-1].set_xlabel("minutes")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    return True


def alone(model: Path, clip: Path, settings: dict[str, Any]) -> float:
    """Frames a second of one stream that is always ahead: the clip as a file, at full speed."""
    folder = clip.parent
    data, position, packets = clip.read_bytes(), 8, []
    while position < len(data):
        (size,) = struct.unpack_from("<I", data, position)
        packets.append(data[position + 4 : position + 4 + size])
        position += 4 + size
    (folder / "alone.h264").write_bytes(b"".join(packets))
    pipeline = Pipeline(folder / "alone.h264", model, **settings)
    started = time.perf_counter()
    frames = pipeline.run().frames
    return frames / (time.perf_counter() - started)


def main() -> None:
    """Run, write down, judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=15, help="frames a second of every camera")
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--model", type=Path, help="a real one; by default a tiny one, which shows everything but the engine")
    parser.add_argument("--imgsz", default=None)
    parser.add_argument("--hurt", type=float, default=20.0, help="seconds between two kills of one server; 0 never")
    parser.add_argument("--out", type=Path, default=Path("out-soak"), help="folder of soak.csv and soak.png")
    arguments = parser.parse_args()
    arguments.out.mkdir(exist_ok=True)
    width, height = map(int, arguments.size.split("x"))
    settings: dict[str, Any] = {"imgsz": arguments.imgsz, "stall_timeout": 3.0, "retry_max": 2.0}
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or pose_model(Path(folder) / "tiny.onnx")
        clips = [write_clip(Path(folder) / f"{n}.clip", (width, height), arguments.rate, 20, seed=n) for n in range(4)]
        mounts = [{"clip": str(clips[number % len(clips)])} for number in range(arguments.streams)]
        steady = {f"/{n}": mount for n, mount in enumerate(mounts) if n % 4}
        fragile = {f"/{n}": mount for n, mount in enumerate(mounts) if not n % 4}
        print(f"{machine()}\n{arguments.streams} cameras of {arguments.size} at {arguments.rate} frames/s, model {model.name}")
        one = alone(model, clips[0], settings)
        every = arguments.hurt or 1e9
        with RtspServer(steady) as good, hurt(fragile, every) as bad:
            inputs = [f"cam{n:02d}={(good if n % 4 else bad).url(f'/{n}')}" for n in range(arguments.streams)]
            rows = soak(inputs, model, settings, arguments.seconds, arguments.out)
        one = (one + alone(model, clips[0], settings)) / 2  # a shared machine is not as fast at all times
    report(rows, one, arguments)


def soak(inputs: list[str], model: Path, settings: dict[str, Any], seconds: float, out: Path) -> list[dict[str, float]]:
    """Run for so long; one row a second."""
    process = psutil.Process()
    rows: list[dict[str, float]] = []
    pipeline = Pipeline(inputs, model, outputs=[out / "soak.jsonl"], **settings)
    thread = threading.Thread(target=pipeline.run)
    thread.start()
    began, cpu = time.monotonic(), process.cpu_times()
    with (out / "soak.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        while time.monotonic() < began + seconds:
            time.sleep(1.0)
            rows.append(row(began, process, pipeline.numbers()))
            writer.writerow(rows[-1])
            file.flush()
    used = process.cpu_times()
    numbers = pipeline.numbers()
    pipeline.close()
    thread.join()
    (out / "soak.jsonl").unlink()
    cores = (used.user + used.system - cpu.user - cpu.system) / (time.monotonic() - began)
    machine_cores = os.cpu_count() or 1
    print(f"our share of the machine: {cores:.2f} of {machine_cores} cores")
    for stream in numbers.streams:
        status, latency = stream.status, stream.latency
        p50, p95, p99 = (1e3 * (value or 0.0) for value in (latency.p50, latency.p95, latency.p99))
        print(
            f"  {status.name}: {stream.frames} frames, {status.dropped_behind} dropped, {status.reconnects} reconnects, "
            f"latency p50 {p50:.0f}, p95 {p95:.0f}, p99 {p99:.0f} ms"
        )
    steady = [stream.frames for number, stream in enumerate(numbers.streams) if number % 4]
    print(f"fairness among those never hurt, most/fewest frames: {max(steady) / max(1, min(steady)):.3f}; asked for: 1.2")
    return rows


def report(rows: list[dict[str, float]], one: float, arguments: argparse.Namespace) -> None:
    """What it comes to."""
    late = rows[len(rows) // 2 :]
    rate = statistics.median(each["frame_rate"] for each in late)
    cameras = arguments.streams * arguments.rate
    print(f"frames/s of all: {rate:.1f}; one stream at full speed gives {one:.1f}, the cameras {cameras}")
    print(f"that is {rate / min(one, cameras):.2f} of what is possible beside the servers; asked for: 0.90")
    first, last = rows[min(10, len(rows) - 1)], rows[-1]
    for name in ("rss_mb", "fds", "threads"):
        print(
            f"{name}: {first[name]:.0f} after 10 s, {last[name]:.0f} at the end, at most {max(each[name] for each in rows):.0f}"
        )
    print(f"memory grows by {slope_mb_per_minute(rows):+.2f} MB a minute in the second half")
    drawn = plot(rows, arguments.out / "soak.png")
    picture = "soak.png" if drawn else "no picture: pip install matplotlib"
    print(f"in {arguments.out}: soak.csv, {picture}")


if __name__ == "__main__":
    main()
