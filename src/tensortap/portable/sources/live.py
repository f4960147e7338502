"""Cameras: opened again and again, watched for silence, never waited for."""

from __future__ import annotations

import logging
import random
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from tensortap.errors import SourceError
from tensortap.portable.pixels import quarter_turns_of, wrap
from tensortap.portable.sources.clock import LiveClock
from tensortap.portable.sources.connection import (
    Connection,
    FfmpegConnection,
    LiveSettings,
    Picture,
    RefusedError,
    Seen,
    check_location,
)
from tensortap.portable.sources.ffmpeg import upright_size
from tensortap.text import redact
from tensortap.types import Frame, FrameInfo, StreamEvent, StreamInfo, StreamState

_log = logging.getLogger(__name__)
_SECOND_NS = 1_000_000_000
_STEADY_SECONDS = 5.0
"""A camera that was online for so long begins anew with short pauses."""
_SHORT_SECONDS = 1.0
"""No pause is longer than this, or than a tenth of the outage."""
_MOST_HANGING = 3
"""Attempts that were given up and do not return; no more are begun before one of them does."""
_REFUSED_SECONDS = 30.0
"""Pause after a wrong password, at least: many cameras lock out who tries too often."""
_LEAVE_SECONDS = 0.5


class LiveSource:
    """The frames of a camera, for ever.

    Each connection lives on a thread of its own. Where one breaks, ends, stays silent or hangs in a call that does not return,
    it is left alone and the next one is begun, after pauses that double up to a limit and are spread at random. The camera may
    be down at first and come back with another shape. Its state is told to a listener whenever it or its reason changes.

    `close()` may be called by any thread and ends a `read()` that waits.

    Args:
        source_id: number of the stream.
        name: name of the stream and its frames; must hold no credentials.
        location: a URL, or `webcam:NUMBER`.
        settings: time-outs, pauses, transport.
        connect: opens a connection; raises SourceError with the reason.

    Raises:
        UsageError: the location asks for something that there is not.
    """

    def __init__(
        self,
        source_id: int,
        name: str,
        location: str,
        *,
        settings: LiveSettings | None = None,
        connect: Callable[[], Connection] | None = None,
    ) -> None:
        self.stream = StreamInfo(source_id, name, is_live=True)
        """What is known of the stream; replaced with every connection."""
        self.reconnects = 0
        """How often it has come back."""
        self.settings = settings or LiveSettings()
        check_location(location)
        seen = Seen()
        self._connect = connect or (lambda: FfmpegConnection(location, self.settings, seen))
        self._listener: Callable[[StreamEvent], object] = lambda event: None
        self._location = location
        self._latest_fault = ""
        self._changed = threading.Condition()
        self._closed = False
        self._attempt: _Attempt | None = None
        self._given_up: list[_Attempt] = []
        self._damaged = 0
        self._failed_in_a_row = 0
        self._pause_seconds = 0.0
        self._online_since = 0.0
        self._down_since = time.monotonic()
        """Since when it has not been online for longer than a moment."""
        self._clock = LiveClock()
        self._index = 0
        self._state: StreamState | None = None
        self._reason = ""
        self._times: dict[StreamState, int] = {}
        self._since_ns = 0

    @property
    def damaged(self) -> int:
        """How many packets could not be decoded so far."""
        attempt = self._attempt
        return self._damaged + (attempt.damaged if attempt else 0)

    def watch(self, listener: Callable[[StreamEvent], object]) -> None:
        """Tell of every change of state from now on, in the thread that reads."""
        self._listener = listener

    def read(self) -> Frame | None:
        """The next frame, however long that takes; `None` once closed.

        Raises:
            SourceError: the camera was given up after `retries` attempts.
        """
        while not self._closed:
            attempt = self._attempt or self._begin()
            if attempt is None:
                continue
            picture = attempt.take(self._deadline)
            if picture is not None:
                return self._frame(picture, attempt)
            if not self._closed:
                self._fail(attempt)
        self._leave()
        return None

    def close(self) -> None:
        """End it; `read()` gives `None` from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _begin(self) -> _Attempt | None:
        """Start the next connection, or wait a little where too many hang."""
        if self._state is None:
            self._tell(StreamState.CONNECTING, "")
        self._given_up = [attempt for attempt in self._given_up if attempt.is_alive()]
        if len(self._given_up) < _MOST_HANGING:
            self._attempt = _Attempt(self._connect, self._changed, lambda: self._closed, f"tensortap-{self.stream.name}")
            return self._attempt
        self._tell(StreamState.OFFLINE, f"{len(self._given_up)} earlier attempts still hang")
        self._sleep(1.0)
        return None

    def _deadline(self, attempt: _Attempt) -> float:
        """When to lose patience, on the clock of `time.monotonic()`."""
        if attempt.latest is not None:
            return attempt.latest + self.settings.stall_timeout_seconds
        # A little more than FFmpeg's own time-out, which leaves nothing hanging.
        return (attempt.opened or attempt.began + 0.5) + self.settings.open_timeout_seconds

    def _frame(self, picture: Picture, attempt: _Attempt) -> Frame:
        size_wh = upright_size(picture.frame)
        if attempt.latest is None or size_wh != self.stream.size_wh:
            self.stream = replace(self.stream, size_wh=size_wh, frame_rate=attempt.frame_rate)
        now = time.monotonic()
        if attempt.latest is None:
            self._clock.reconnect()
            self._failed_in_a_row = 0
            self._online_since = now
            self.reconnects += StreamState.ONLINE in self._times
            self._tell(StreamState.ONLINE, f"{size_wh[0]}x{size_wh[1]}")
        attempt.latest = now
        pts_ns, late_ns = self._clock.time(picture.own_ns, picture.arrival_ns)
        # From the steady clock to the one on the wall, as it is set now.
        arrival_ns = time.time_ns() - (time.monotonic_ns() - picture.arrival_ns)
        rate = self.stream.frame_rate
        info = FrameInfo(
            source_id=self.stream.source_id,
            source=self.stream.name,
            index=self._index,
            pts_ns=pts_ns,
            size_wh=size_wh,
            duration_ns=round(_SECOND_NS / rate) if rate else 0,
            arrival_ns=arrival_ns,
            is_live=True,
            capture_ns=arrival_ns - late_ns,
        )
        self._index += 1
        return Frame(info, wrap(picture.frame, quarter_turns_of(picture.frame)))

    def _fail(self, attempt: _Attempt) -> None:
        """A connection is over, or given up: say so, and pause before the next."""
        self._attempt = None
        now = time.monotonic()
        reason = attempt.give_up()
        if attempt.fault:
            reason = self._told(attempt.fault, reason or "")
        self._damaged += attempt.damaged
        if attempt.is_alive():
            self._given_up.append(attempt)
        if reason is None and attempt.latest is not None:
            self._tell(StreamState.STALLED, f"no frame for {self.settings.stall_timeout_seconds:g} s")
        else:
            self._tell(StreamState.OFFLINE, reason or self._silence(attempt))
        if attempt.latest is None:
            self._failed_in_a_row += 1
            if self.settings.retries is not None and self._failed_in_a_row > self.settings.retries:
                raise SourceError(f"{self.stream.name} was given up after {self._failed_in_a_row} attempts: {self._reason}.")
        elif now - self._online_since >= _STEADY_SECONDS:
            self._pause_seconds, self._down_since = 0.0, now
        shortest, longest = self.settings.retry_min_seconds, self.settings.retry_max_seconds
        # After a short outage it should be back at once; who has waited long can wait a little longer.
        longest = min(longest, max(_SHORT_SECONDS, (now - self._down_since) / 10))
        self._pause_seconds = min(longest, max(shortest, 2 * self._pause_seconds))
        pause = max(self._pause_seconds, _REFUSED_SECONDS) if attempt.refused else self._pause_seconds
        # Spread, so that cameras that went down together are not all asked again at once.
        self._sleep(pause * random.uniform(0.5, 1.0))

    def _told(self, fault: str, reason: str) -> str:
        """Log a fault that nobody expected, once as long as it stays the same. Returns the reason as it may be shown."""
        fault, reason = (redact(text.replace(self._location, redact(self._location))) for text in (fault, reason))
        level = logging.DEBUG if reason == self._latest_fault else logging.ERROR
        self._latest_fault = reason
        name = self.stream.name
        _log.log(level, "%s failed in a way that nobody expected; please report it:\n%s", name, fault, extra={"stream": name})
        return reason

    def _silence(self, attempt: _Attempt) -> str:
        if attempt.opened is None:
            return f"it gave no answer within {self.settings.open_timeout_seconds:g} s"
        return f"it is there, but showed no picture within {self.settings.open_timeout_seconds:g} s"

    def _sleep(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed, seconds)

    def _leave(self) -> None:
        """Let the connection's thread say goodbye to the camera, if that does not take long."""
        if self._attempt is not None:
            self._damaged += self._attempt.damaged
            self._attempt.join(_LEAVE_SECONDS)
            self._attempt = None

    def _tell(self, state: StreamState, reason: str) -> None:
        if (state, reason) == (self._state, self._reason):
            return
        if state != self._state:
            self._times[state] = self._times.get(state, 0) + 1
            self._since_ns = time.time_ns()
        self._state, self._reason = state, reason
        self._listener(StreamEvent(self.stream.source_id, self.stream.name, state, reason, self._since_ns, self._times[state]))


class _Attempt:
    """One connection on a thread of its own, which opens, reads and closes it; whoever gave it up need not wait for it."""

    def __init__(
        self, connect: Callable[[], Connection], changed: threading.Condition, closed: Callable[[], bool], name: str
    ) -> None:
        self.began = time.monotonic()
        self.opened: float | None = None
        """When it was open."""
        self.latest: float | None = None
        """When the last picture was taken from it."""
        self.frame_rate: float | None = None
        self.refused = False
        """Whether user name or password were wrong."""
        self.fault = ""
        """The traceback of what nobody expected."""
        self._connect = connect
        self._changed = changed
        self._closed = closed
        self._pictures: deque[Picture] = deque()
        self._connection: Connection | None = None
        self._over = self._given_up = False
        self._reason: str | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def damaged(self) -> int:
        """Packets that could not be decoded."""
        return self._connection.damaged if self._connection else 0

    def is_alive(self) -> bool:
        """Whether its thread has not returned yet."""
        return self._thread.is_alive()

    def join(self, seconds: float) -> None:
        """Wait for its thread."""
        self._thread.join(seconds)

    def take(self, deadline: Callable[[_Attempt], float]) -> Picture | None:
        """The next picture; `None` if it is over, the source was closed, or the deadline has passed."""
        with self._changed:
            while not self._pictures and not self._over and not self._closed():
                left = deadline(self) - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            if not self._pictures or self._closed():
                return None
            picture = self._pictures.popleft()
            self._changed.notify_all()
            return picture

    def give_up(self) -> str | None:
        """Want no more of it. The reason for which it ended itself, if it did."""
        with self._changed:
            self._given_up = True
            self._pictures.clear()
            self._changed.notify_all()
            return self._reason

    def _stopped(self) -> bool:
        return self._given_up or self._closed()

    def _work(self) -> None:
        reason = "the connection's thread was ended"
        try:
            self._connection = connection = self._connect()
            try:
                with self._changed:
                    self.opened = time.monotonic()
                    self.frame_rate = connection.frame_rate
                    self._changed.notify_all()
                for picture in connection.pictures():
                    if self._stopped() or (picture is not None and not self._offer(picture)):
                        break
                reason = "the connection was ended by the other side"
            finally:
                connection.close()
        except SourceError as exc:
            reason = str(exc)
            self.refused = isinstance(exc, RefusedError)
        except Exception as exc:  # of ours, or of PyAV with what nobody expected: a camera that nobody can visit is tried again
            reason = f"{type(exc).__name__}: {exc}"
            self.fault = "".join(traceback.format_exception(exc))
        finally:
            with self._changed:
                self._over = True
                self._reason = reason
                self._changed.notify_all()

    def _offer(self, picture: Picture) -> bool:
        """Hand a picture over, as soon as the one before was taken. False: nobody wants it any more."""
        with self._changed:
            while self._pictures and not self._stopped():
                self._changed.wait()
            self._pictures.append(picture)
            self._changed.notify_all()
            return not self._stopped()
