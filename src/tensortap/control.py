"""What people may see and change of a run while it goes on: for the browser page, from any thread."""

from __future__ import annotations

import math
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensortap.errors import SourceError, UsageError
from tensortap.metrics import Numbers, StreamStatus
from tensortap.pipeline import OnEvent, OnResult, OpenRuntime, Pipeline
from tensortap.skeletons import Skeleton
from tensortap.taps import name_of
from tensortap.text import redact
from tensortap.types import StreamInfo, StreamState

if TYPE_CHECKING:
    from tensortap.inspection import Inspection


_LEAST_CONF_THRES = 0.001
"""Below, whatever the network says is a person, and all time goes into comparing them."""


@dataclass(frozen=True)
class Thresholds:
    """Where the decoder draws its lines, 0..1; `None` for one that it does not have."""

    conf_thres: float | None
    """People with a score above it are kept."""
    iou_thres: float | None
    """Of boxes that overlap by more, the best one stays."""


@dataclass(frozen=True, eq=False)
class About:
    """What does not change while a run goes on."""

    model: str
    """File name of the model."""
    engine: str
    """Name and precision."""
    decoder: str
    """Name of the decoder."""
    skeleton: Skeleton
    """Of the people."""
    takes_streams: bool
    """Whether streams can be added."""
    gives_streams: bool
    """Whether streams can be removed one by one."""
    ends_with_last_stream: bool
    """Whether the run is over when the last stream is removed."""


class Control:
    """One run, as the browser page sees it. All methods may be called by any thread.

    Args:
        pipeline: the run.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        parts = pipeline.parts
        self.about = About(
            model=parts.model.path.name,
            engine=f"{parts.engine.name} ({parts.engine.precision})",
            decoder=getattr(parts.head, "decoder", None) or name_of(parts.decoder),
            skeleton=parts.nobody.skeleton,
            takes_streams=parts.add_stream is not None,
            gives_streams=isinstance(parts.runtime, OpenRuntime),
            ends_with_last_stream=not pipeline.settings.keep_running,
        )

    def numbers(self) -> Numbers:
        """How the run is at this moment."""
        return self._pipeline.numbers()

    def on_result(self, function: OnResult) -> None:
        """Call a function with every result, in the thread that runs the pipeline."""
        self._pipeline.on_result(function)

    def on_event(self, function: OnEvent) -> None:
        """Call a function whenever a live stream comes, stalls or goes, in the thread that runs the pipeline."""
        self._pipeline.on_event(function)

    @property
    def thresholds(self) -> Thresholds:
        """Those that the decoder goes by at this moment."""
        decoder = self._pipeline.parts.decoder
        suppresses = getattr(decoder, "suppress", True)
        return Thresholds(_number(decoder, "conf_thres"), _number(decoder, "iou_thres") if suppresses else None)

    def set_thresholds(self, *, conf_thres: float | None = None, iou_thres: float | None = None) -> Thresholds:
        """Change thresholds from the next frame on; `None` leaves one as it is.

        Raises:
            UsageError: one is not within 0..1, or 0.001..1 for scores, or the decoder does not have it; nothing is changed.
        """
        has = self.thresholds
        wanted = {"conf_thres": conf_thres, "iou_thres": iou_thres}
        changes = {name: value for name, value in wanted.items() if value is not None}
        for name, value in changes.items():
            if getattr(has, name) is None:
                raise UsageError(f"The decoder {self.about.decoder} has no {name} that could be changed.")
            least = _LEAST_CONF_THRES if name == "conf_thres" else 0
            if not least <= value <= 1:  # nor NaN
                raise UsageError(f"{name} {value:g}: should be within {least:g} and 1.")
        for name, value in changes.items():
            setattr(self._pipeline.parts.decoder, name, float(value))
        return self.thresholds

    def add(self, address: str, name: str | None = None) -> StreamInfo:
        """Add a stream: what `-i` takes.

        Raises:
            TensortapError: it cannot be opened or the run takes no more; the run goes on as before.
        """
        return self._pipeline.add(address, redact(name) if name else None)  # an address in the wrong field

    def remove(self, source_id: int) -> None:
        """End a stream.

        Raises:
            UsageError: there is no such stream, or it cannot be removed.
        """
        self._pipeline.remove(source_id)

    def inspect(self, source_id: int, timeout_seconds: float = 3.0) -> Inspection:
        """Look into the stream's next frame. Only copying its tensors is done in the thread that runs the pipeline.

        Raises:
            UsageError: there is no such stream.
            SourceError: no frame came in time; it says how the stream is.
            DecodeError: a tensor is missing or has another shape.
        """
        from tensortap.inspection import copied, inspect_frame  # which brings OpenCV

        self._status(source_id)
        asked = self._pipeline.peek(source_id, copied)
        try:
            frame, image = asked.result(timeout_seconds)
        except FutureTimeout:
            asked.cancel()
            raise SourceError(_silence(self._status(source_id), timeout_seconds)) from None
        except CancelledError:
            raise SourceError(f"Stream {source_id} gives no frame any more: it was removed, or the run is over.") from None
        return inspect_frame(frame, image, self._pipeline.parts.decoder)

    def _status(self, source_id: int) -> StreamStatus:
        for stream in self.numbers().streams:
            if stream.status.source_id == source_id:
                return stream.status
        raise UsageError(f"There is no stream {source_id}; it may have been removed.")


def _number(decoder: object, name: str) -> float | None:
    value = getattr(decoder, name, None)
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _silence(status: StreamStatus, seconds: float) -> str:
    """Why there is no frame."""
    reason = f": {status.reason}" if status.reason else ""
    if status.state is StreamState.ONLINE:
        return f"{status.name} gave no frame within {seconds:g} s, though it is online. Is the run stuck, or paused?"
    hint = "" if status.state is StreamState.ENDED else " Try again when it is online."
    return f"{status.name} gave no frame within {seconds:g} s: it is {status.state.value}{reason}.{hint}"
