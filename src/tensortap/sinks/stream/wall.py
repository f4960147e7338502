"""What there is to show: the latest result and the state of every stream."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from tensortap.types import Result, StreamEvent, StreamState


@dataclass(frozen=True, eq=False)
class Slot:
    """One stream at this moment."""

    source_id: int
    name: str
    result: Result | None = None
    """The latest one."""
    frames: int = 0
    """How many results there have been."""
    event: StreamEvent | None = None
    """What happened to it last; `None` for files."""
    version: int = 0
    """Rises with every change, over all streams."""

    @property
    def is_shown(self) -> bool:
        """Whether there is a picture of now, rather than an old one or none."""
        is_up = self.event is None or self.event.state is StreamState.ONLINE
        return self.result is not None and is_up


class Wall:
    """Written by the pipeline, read by whoever draws; nobody waits for anybody."""

    def __init__(self) -> None:
        self._slots: dict[int, Slot] = {}
        self._version = 0
        self._changed = threading.Condition()

    def add(self, source_id: int, name: str) -> None:
        """Show a stream from now on, whether it has pictures or not."""
        with self._changed:
            if source_id not in self._slots:
                self._put(Slot(source_id, name))

    def put(self, result: Result) -> None:
        """A stream's latest result."""
        with self._changed:
            slot = self._slots.get(result.info.source_id) or Slot(result.info.source_id, result.info.source)
            self._put(replace(slot, result=result, frames=slot.frames + 1))

    def tell(self, event: StreamEvent) -> None:
        """A stream comes or goes; one that has ended is not shown any more."""
        with self._changed:
            if event.state is StreamState.ENDED:
                if self._slots.pop(event.source_id, None):
                    self._version += 1
                    self._changed.notify_all()
            else:
                slot = self._slots.get(event.source_id) or Slot(event.source_id, event.source)
                self._put(replace(slot, event=event))

    def slots(self) -> list[Slot]:
        """All streams in the order of their numbers."""
        with self._changed:
            return [self._slots[source_id] for source_id in sorted(self._slots)]

    def wait(self, version: int, timeout_seconds: float, source_id: int | None = None) -> int:
        """Wait until something is newer than a version, of one stream or of any, or the time is over.

        Returns:
            The version of now.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._version_of(source_id) > version, timeout_seconds)
            return self._version_of(source_id)

    def wake(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._version += 1
            self._changed.notify_all()

    def _version_of(self, source_id: int | None) -> int:
        slot = self._slots.get(source_id) if source_id is not None else None
        return slot.version if slot else self._version

    def _put(self, slot: Slot) -> None:
        self._version += 1
        self._slots[slot.source_id] = replace(slot, version=self._version)
        self._changed.notify_all()
