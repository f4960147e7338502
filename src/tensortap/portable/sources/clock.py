"""From the timestamps that decoders give to times that start at 0 and always rise. Pure."""

from __future__ import annotations

_SECOND_NS = 1_000_000_000
_FARTHEST_NS = 10 * _SECOND_NS
"""Own timestamps that stray farther from the time of arrival have been set anew."""
_WINDOW_NS = 5 * _SECOND_NS
_SLEW = 1000
"""A camera's clock that runs fast or slow is followed by at most one part in so many: nobody sees that."""


class FileClock:
    """Times of a recording, as they are in it; where it jumps back (files joined end to end), time goes on."""

    def __init__(self) -> None:
        self._shift_ns: int | None = None
        self._last_ns = -1
        self._last_duration_ns = 0

    def time(self, own_ns: int | None, duration_ns: int) -> int:
        """pts of the next frame.

        Args:
            own_ns: what the recording says; `None` where it says nothing.
            duration_ns: how long the frame is shown, 0 where it is not known.
        """
        expected_ns = 0 if self._last_ns < 0 else self._last_ns + max(self._last_duration_ns, 1)
        pts_ns = expected_ns
        if own_ns is not None:
            if self._shift_ns is None:
                self._shift_ns = -own_ns
            pts_ns = own_ns + self._shift_ns
            if pts_ns < self._last_ns - _SECOND_NS:  # another recording begins
                self._shift_ns = expected_ns - own_ns
                pts_ns = expected_ns
            elif pts_ns <= self._last_ns:  # a time given twice: those that follow are right again
                pts_ns = self._last_ns + 1
        self._last_ns, self._last_duration_ns = pts_ns, duration_ns
        return pts_ns


class LiveClock:
    """Times of a camera: even as it gives them, anchored in the time of arrival, going on through reconnects.

    A camera's timestamps are smooth but start anywhere and may be set at any moment; arrivals are true but jitter. So the
    camera's are taken, moved to where its first frame arrived, and moved again after a reconnect or a jump. A clock that runs
    fast or slow is followed unnoticeably.

    How late a frame is, compared with the fastest tenth lately, shows what a network or a server held back; the delay of those
    counts as none. A constant delay cannot be seen from here, and one that has come to stay is forgotten after 5 to 10 s.
    """

    def __init__(self) -> None:
        self._start_ns: int | None = None
        self._shift_ns: int | None = None
        self._last_ns = -1
        self._last_arrival_ns = 0
        self._delays: list[int] = []
        """Arrival minus own time of the frames in this window."""
        self._window_began_ns = 0
        self._usual_delay_ns: int | None = None
        """Of the window before."""

    def reconnect(self) -> None:
        """A new connection: its timestamps have nothing to do with those before."""
        self._shift_ns = None

    def time(self, own_ns: int | None, arrival_ns: int) -> tuple[int, int]:
        """pts of the next frame, and how late it came, both in nanoseconds.

        Args:
            own_ns: what the camera says; `None` where it says nothing.
            arrival_ns: when the frame came, by a clock that is never set.
        """
        if self._start_ns is None:
            self._start_ns = self._last_arrival_ns = arrival_ns
        since_start_ns = arrival_ns - self._start_ns
        late_ns = 0
        if own_ns is None:
            pts_ns = since_start_ns
        else:
            if self._shift_ns is None or abs(own_ns + self._shift_ns - since_start_ns) > _FARTHEST_NS:
                self._shift_ns = since_start_ns - own_ns
                self._delays, self._window_began_ns, self._usual_delay_ns = [], arrival_ns, None
            late_ns = self._lateness(arrival_ns - own_ns, arrival_ns)
            astray_ns = since_start_ns - late_ns - (own_ns + self._shift_ns)
            step_ns = (arrival_ns - self._last_arrival_ns) // _SLEW
            self._shift_ns += max(-step_ns, min(step_ns, astray_ns))
            pts_ns = own_ns + self._shift_ns
        self._last_arrival_ns = arrival_ns
        pts_ns = max(pts_ns, self._last_ns + 1)
        self._last_ns = pts_ns
        return pts_ns, late_ns

    def _lateness(self, delay_ns: int, arrival_ns: int) -> int:
        if arrival_ns - self._window_began_ns > _WINDOW_NS and self._delays:
            # Not the least: a camera that stamps one frame too late would make all others look late.
            self._usual_delay_ns = sorted(self._delays)[len(self._delays) // 10]
            self._delays, self._window_began_ns = [], arrival_ns
        self._delays.append(delay_ns)
        usual_ns = min(self._delays) if self._usual_delay_ns is None else self._usual_delay_ns
        return max(0, delay_ns - usual_ns)
