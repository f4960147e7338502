"""The lines of `--stats`."""

from __future__ import annotations

import time

from tensortap.cli.progress import stats_line
from tensortap.metrics import Distribution, Numbers, OutputNumbers, StreamNumbers, StreamStatus
from tensortap.types import StreamState


def test_every_stream_is_in_the_line() -> None:
    def stream(name: str, state: StreamState, *, dropped: int = 0, **values: object) -> StreamNumbers:
        since_ns = time.time_ns() - 35_400_000_000
        reason = "refused" if state is StreamState.OFFLINE else ""
        status = StreamStatus(0, name, True, state, reason, since_ns, dropped_behind=dropped, dropped_late=dropped)
        return StreamNumbers(status, **values)  # type: ignore[arg-type]

    streams = [
        stream("door", StreamState.ONLINE, frame_rate=15.04, latency=Distribution(9, 1.0, 0.03, 0.048, 0.1)),
        stream("yard", StreamState.ONLINE, frame_rate=14.96, dropped=6),
        stream("gate", StreamState.OFFLINE),
        stream("roof", StreamState.CONNECTING),
    ]
    numbers = Numbers(12.3, True, 0.0, streams, [OutputNumbers("a", 9, 4, None)], Distribution())
    assert stats_line(numbers) == (
        "12 s: 30.0 frames/s; door 15.0 (p95 48 ms), yard 15.0 (12 dropped), gate offline 35 s: refused, "
        "roof connecting 35 s; 4 results lost by slow outputs"
    )


def test_files_have_a_rate_too() -> None:
    ended = StreamNumbers(StreamStatus(0, "a.mp4", False, StreamState.ENDED, "", 5))
    assert stats_line(Numbers(1.0, True, 0.0, [ended], [], Distribution())) == "1 s: 0.0 frames/s; a.mp4 ended"
    assert "no streams" in stats_line(Numbers(1.0, True, 0.0, [], [], Distribution()))
