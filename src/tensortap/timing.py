"""Where the time of a run goes, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class StageClock:
    """A stopwatch that always runs: every lap belongs to the stage that just ended.

    Costs about 0.1 microseconds a lap. Belongs to one thread.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        """Stage -> wall-clock seconds spent in it so far."""
        self.on_lap: Callable[[str, float, float], None] | None = None
        """Called with stage, start and end of every lap, by `time.perf_counter()`: a trace listens here."""
        self.subject: Any = None
        """What the laps are about, for whoever listens: the frame."""
        self._last = time.perf_counter()

    def restart(self) -> None:
        """Forget the time since the last lap: it was somebody else's."""
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Book the time since the last lap on a stage."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        if self.on_lap is not None:
            self.on_lap(stage, self._last, now)
        self._last = now
