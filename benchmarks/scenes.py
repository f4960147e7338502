"""How fast scenes are drawn: frames a second on one core at 1280 x 720 with six people."""

from __future__ import annotations

import time

import cv2
from common import machine

from tensortap.scenes import SETTINGS, Scene

ASKED_FOR = 100.0


def main() -> None:
    """Print frames a second for each setting, picture alone and with its truth."""
    cv2.setNumThreads(1)
    print(machine())
    for name in sorted(SETTINGS):
        scene = Scene(name, 6, seed=3)
        rates = []
        for with_truth in (False, True):
            started = time.perf_counter()
            for index in range(200):
                frame = scene.frame(index)
                frame.image  # noqa: B018
                if with_truth:
                    frame.truth  # noqa: B018
            rates.append(200 / (time.perf_counter() - started))
        print(f"{name:7s} {rates[0]:5.0f} frames/s, with truth {rates[1]:5.0f}; asked for: {ASKED_FOR:.0f}")


if __name__ == "__main__":
    main()
