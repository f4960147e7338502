"""Many RTSP cameras for a long time on one machine: does everybody get a turn, does nothing grow?

Two servers on loopback show drawn people; one of them is killed and started again all the time. The run begins with one
camera; after a while the others are added to it: what memory grows by then is theirs. Every second, memory, open files and
threads of the process are written down with the frames, the rate and the latency of every stream, as CSV; in the end there is a
verdict and, where matplotlib is installed, a picture. The servers use the same cores, as cameras do not.

    python benchmarks/soak.py --minutes 30
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from common import machine
from loopback import RtspServer, hurt, pose_model, write_clip

from tensortap.metrics import Numbers
from tensortap.pipeline import Pipeline
from tensortap.types import StreamState

_COLUMNS = ("seconds", "rss_mb", "fds", "threads", "frame_rate", "slowest", "fastest", "p50_ms", "p95_ms", "p99_ms", "online")
_MB = 1 << 20
_HURT_EVERY = 4
"""One of so many streams is on the server that is killed."""
_MOST_MB_A_STREAM, _MOST_MB_A_MINUTE, _MOST_UNFAIR = 40.0, 0.2, 1.2


class Soak:
    """One run and what was seen of it.

    Args:
        pipeline: with the first stream; the others are added by `add`.
        out: folder of `soak.csv`.
        names: of all streams.
    """

    def __init__(self, pipeline: Pipeline, out: Path, names: list[str]) -> None:
        self.pipeline = pipeline
        self._process = psutil.Process()
        self._path = out / "soak.csv"
        self._file = self._path.open("w", newline="")
        self._writer = csv.DictWriter(self._file, [*_COLUMNS, *names], restval=0)
        self._writer.writeheader()
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    def watch(self, seconds: float) -> None:
        """Write a row every second for so long. None of them is kept: it is memory that is measured."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(1.0, left))
            self._writer.writerow(self._row(self.pipeline.numbers()))
            self._file.flush()

    def close(self) -> list[dict[str, float]]:
        """Complete the file. All of its rows."""
        self._file.close()
        with self._path.open(newline="") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]

    def _row(self, numbers: Numbers) -> dict[str, float]:
        rates = [stream.frame_rate for stream in numbers.streams if stream.status.state is StreamState.ONLINE]
        latencies = [stream.latency for stream in numbers.streams if stream.latency.p50 is not None]

        def worst(name: str) -> float:
            return max((getattr(latency, name) for latency in latencies), default=0.0) * 1e3

        return {
            "seconds": round(self.seconds, 1),
            "rss_mb": round(self._process.memory_info().rss / _MB, 1),
            "fds": self._process.num_fds(),
            "threads": self._process.num_threads(),
            "frame_rate": round(numbers.frame_rate, 2),
            "slowest": round(min(rates, default=0.0), 2),
            "fastest": round(max(rates, default=0.0), 2),
            "p50_ms": round(statistics.median([latency.p50 for latency in latencies]) * 1e3, 1) if latencies else 0.0,
            "p95_ms": round(worst("p95"), 1),
            "p99_ms": round(worst("p99"), 1),
            "online": len(rates),
            **{stream.status.name: stream.frames for stream in numbers.streams},
        }


def slope_a_minute(rows: list[dict[str, float]], name: str) -> float:
    """How fast something grows, least squares."""
    if len(rows) < 3:
        return 0.0
    return statistics.linear_regression([each["seconds"] / 60 for each in rows], [each[name] for each in rows]).slope


def plot(rows: list[dict[str, float]], names: list[str], path: Path) -> bool:
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
        ("latency, ms: median of all streams, worst stream's p95 and p99", ("p50_ms", "p95_ms", "p99_ms")),
        ("frames/s: all streams", ("frame_rate",)),
        ("frames/s: slowest and fastest stream", ("slowest", "fastest")),
        ("streams online", ("online",)),
        ("frames of each stream so far", tuple(names)),
    )
    figure, axes = plt.subplots(len(panels), 1, figsize=(10, 2.0 * len(panels)), sharex=True)
    for axis, (title, columns) in zip(axes, panels, strict=True):
        for name in columns:
            axis.plot(minutes, [each.get(name, 0) for each in rows], label=name, linewidth=1)
        axis.set_title(title, fontsize=9, loc="left")
        axis.set_ylim(0, 1.15 * max(1.0, *(each.get(name, 0) for name in columns for each in rows)))
        axis.grid(alpha=0.3)
        if 1 < len(columns) < 4:
            axis.legend(fontsize=7, loc="upper right")
    axes[-1].set_xlabel("minutes")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True


def main() -> int:
    """Run, write down, judge; 1 where something asked for was not met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--minutes", type=float, default=30.0, help="with all streams; one more before that with one")
    parser.add_argument("--rate", type=int, default=15, help="frames a second of every camera")
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--model", type=Path, help="a real one; by default a tiny one, which shows everything but the engine")
    parser.add_argument("--imgsz", default=None)
    parser.add_argument("--batch-size", type=int, default=None)
    parser.add_argument("--hurt", type=float, default=60.0, help="seconds between two kills of one server; 0 never")
    parser.add_argument("--out", type=Path, default=Path("out-soak"), help="folder of soak.csv and soak.png")
    arguments = parser.parse_args()
    arguments.out.mkdir(exist_ok=True)
    width, height = map(int, arguments.size.split("x"))
    names = [f"cam{number:02d}" for number in range(arguments.streams)]
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or pose_model(Path(folder) / "tiny.onnx")
        rate = arguments.rate
        clips = [write_clip(Path(folder) / f"{seed}.clip", (width, height), rate, 20 * rate, seed) for seed in range(4)]
        mounts = [{"clip": str(clips[number % len(clips)])} for number in range(arguments.streams)]
        # The first stream is never hurt: it is there alone for a while.
        fragile = {f"/{n}": mount for n, mount in enumerate(mounts) if n % _HURT_EVERY == _HURT_EVERY - 1}
        steady = {f"/{n}": mount for n, mount in enumerate(mounts) if f"/{n}" not in fragile}
        print(
            f"{machine()}\n{arguments.streams} cameras of {arguments.size} at {rate} frames/s, model {model.name}", flush=True
        )
        with RtspServer(steady) as good, hurt(fragile, arguments.hurt or 1e9) as bad:
            inputs = [f"{name}={(bad if f'/{n}' in fragile else good).url(f'/{n}')}" for n, name in enumerate(names)]
            met = soak(inputs, names, model, arguments)
    return 0 if met else 1


def soak(inputs: list[str], names: list[str], model: Path, arguments: argparse.Namespace) -> bool:
    """Run and report; whether everything was met that is asked for."""
    settings: dict[str, Any] = {"stall_timeout": 3.0, "retry_max": 2.0}
    settings |= {"imgsz": arguments.imgsz, "batch_size": arguments.batch_size}
    pipeline = Pipeline(inputs[0], model, outputs=[arguments.out / "soak.jsonl"], **settings)
    thread = threading.Thread(target=pipeline.run)
    thread.start()
    watching = Soak(pipeline, arguments.out, names)
    watching.watch(min(60.0, 10.0 + 20.0 * arguments.minutes))
    added = watching.seconds
    for location in inputs[1:]:
        pipeline.add(location)
    watching.watch(10.0)  # until all are there
    start, process, began = pipeline.numbers(), psutil.Process(), watching.seconds
    cpu = process.cpu_times()
    watching.watch(60.0 * arguments.minutes)
    used, end, seconds = process.cpu_times(), pipeline.numbers(), watching.seconds - began
    pipeline.close()
    thread.join()
    rows = watching.close()
    (arguments.out / "soak.jsonl").unlink()
    cores = (used.user + used.system - cpu.user - cpu.system) / seconds
    print(f"our share of the machine: {cores:.2f} of {os.cpu_count() or 1} cores")
    for stream in end.streams:
        status, latency = stream.status, stream.latency
        p50, p95, p99 = (1e3 * (value or 0.0) for value in (latency.p50, latency.p95, latency.p99))
        print(
            f"  {status.name}: {stream.frames} frames, {status.dropped_behind} dropped, {status.reconnects} reconnects, "
            f"latency p50 {p50:.0f}, p95 {p95:.0f}, p99 {p99:.0f} ms"
        )
    before = {stream.status.source_id: stream for stream in start.streams}
    counts = [stream.frames - before[stream.status.source_id].frames for stream in end.streams]
    unhurt = [count for number, count in enumerate(counts) if number % _HURT_EVERY != _HURT_EVERY - 1]
    drawn = plot(rows, names, arguments.out / "soak.png")
    print(f"in {arguments.out}: soak.csv, {'soak.png' if drawn else 'no picture: pip install matplotlib'}")
    one = [row for row in rows if added / 2 < row["seconds"] < added]
    late = [row for row in rows if row["seconds"] > began]
    return report(one, late, unhurt, sum(unhurt) / seconds / (len(unhurt) * arguments.rate), arguments)


def report(
    one: list[dict[str, float]], rows: list[dict[str, float]], unhurt: list[int], share: float, arguments: argparse.Namespace
) -> bool:
    """What it comes to.

    Args:
        one: rows with one stream.
        rows: rows with all.
        unhurt: frames of the streams that were never hurt, in that time.
        share: of what their cameras showed.
        arguments: of the command line.
    """
    third = max(3, len(rows) // 3)
    memory = {"one stream": one, "all, first third": rows[:third], "all, last third": rows[-third:]}
    megabytes = {name: statistics.median(row["rss_mb"] for row in part) for name, part in memory.items()}
    for name in ("fds", "threads"):
        values = [int(row[name]) for row in rows]
        print(f"{name}: {values[0]} at first, {values[-1]} at the end, at most {max(values)}")
    print("memory, MB: " + ", ".join(f"{name} {value:.0f}" for name, value in megabytes.items()))
    a_stream = (megabytes["all, last third"] - megabytes["one stream"]) / max(1, arguments.streams - 1)
    slope = slope_a_minute(rows[len(rows) // 2 :], "rss_mb")
    fairness = max(unhurt) / max(1, min(unhurt))
    verdicts = [
        ("memory of a stream", f"{a_stream:.1f} MB", f"below {_MOST_MB_A_STREAM:.0f}", a_stream < _MOST_MB_A_STREAM),
        ("memory in the second half", f"{slope:+.2f} MB a minute", f"below {_MOST_MB_A_MINUTE}", slope < _MOST_MB_A_MINUTE),
        (
            "fairness, most/fewest frames of those never hurt",
            f"{fairness:.3f}",
            f"below {_MOST_UNFAIR}",
            fairness < _MOST_UNFAIR,
        ),
    ]
    for what, found, asked, is_met in verdicts:
        print(f"{'ok     ' if is_met else 'NOT MET'}  {what}: {found}; asked for: {asked}")
    print(f"of what the cameras that were never hurt showed, {100 * share:.1f}% has a result")
    return all(is_met for *_, is_met in verdicts)


if __name__ == "__main__":
    sys.exit(main())
