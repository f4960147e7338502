"""A camera that is hurt beside one that is not: how soon it is back once it can be, and what the other one lost.

Time is counted from the moment at which the server listens again, is thawed, or the network is whole, to the first new picture;
half a second of it at most is the wait for a keyframe. With the settings that everybody has, so that pauses between attempts
grow with the outage.

    python benchmarks/recovery.py --outage 3 20
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import machine
from loopback import RtspServer, pose_model

from liverun import LOOP, LiveRun, lost, never_twice
from rtsp.clips import write_clip
from rtsp.proxy import FAULTS, Proxy
from tensortap.pipeline import Pipeline

_RATE = 10


class Case:
    """A camera `a` behind a network of its own, and a camera `b`, both watched.

    Args:
        model: for both.
        clip: what they show.
        other: another shape.
    """

    def __init__(self, model: Path, clip: Path, other: Path) -> None:
        self.other = other
        self.clip = clip
        self.server = RtspServer({"/a": {"clip": clip}})
        self.neighbour = RtspServer({"/b": {"clip": clip}})
        self.network = Proxy(self.server.port)
        locations = [f"a=rtsp://127.0.0.1:{self.network.port}/a", f"b={self.neighbour.url('/b')}"]
        self.run = LiveRun(Pipeline(locations, model))
        for name in "ab":
            self.run.until_frames(name, 5)

    def close(self) -> None:
        """End everything."""
        self.run.close()
        self.network.close()
        self.server.kill()
        self.neighbour.kill()

    def restart(self, clip: Path) -> None:
        """The server once more, at the same port."""
        self.server = RtspServer({"/a": {"clip": clip}}, port=self.server.port)


def faults() -> dict[str, tuple[Callable[[Case], object], Callable[[Case], object]]]:
    """What is done, and how it is undone."""
    found: dict[str, tuple[Callable[[Case], object], Callable[[Case], object]]] = {
        "server killed": (lambda case: case.server.kill(), lambda case: case.restart(case.clip)),
        "killed, another resolution": (lambda case: case.server.kill(), lambda case: case.restart(case.other)),
        "server frozen": (lambda case: case.server.freeze(), lambda case: case.server.thaw()),
    }
    for fault in FAULTS:
        found[f"network: {fault}"] = (lambda case, fault=fault: case.network.hurt(fault), lambda case: case.network.heal())
    return found


def main() -> int:
    """A line for each fault and outage; 1 where the neighbour lost a picture or one came twice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--outage", type=float, nargs="+", default=[3.0], help="seconds")
    arguments = parser.parse_args()
    print(f"{machine()}; cameras of {_RATE} frames/s, two keyframes a second")
    met = True
    with tempfile.TemporaryDirectory() as folder:
        model = pose_model(Path(folder) / "tiny.onnx")
        clip = write_clip(Path(folder) / "small.clip", LOOP, rate=_RATE)
        other = write_clip(Path(folder) / "large.clip", LOOP, size_wh=(320, 240), rate=_RATE)
        for outage in arguments.outage:
            for name, (hurt, heal) in faults().items():
                case = Case(model, clip, other)
                hurt(case)
                time.sleep(outage)
                heal(case)
                count, healed = case.run.count("a"), time.monotonic()
                case.run.until("a new picture", lambda case=case, count=count: case.run.count("a") > count)
                seconds = time.monotonic() - healed
                case.run.until_frames("b", _RATE)
                neighbour, whole = lost(case.run, "b"), never_twice(case.run.numbers["b"])
                case.close()
                met &= neighbour <= 0 and whole
                print(
                    f"{outage:g} s, {name}: back after {seconds:.1f} s; the other lost {max(0, neighbour)} pictures", flush=True
                )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
