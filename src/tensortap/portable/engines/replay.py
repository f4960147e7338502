"""An engine that answers with recorded tensors: for tests of everything behind it, and for measuring everything but it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tensortap.errors import EngineError
from tensortap.portable.engines.base import read_only


class ReplayRequest:
    """One batch of a `ReplayEngine`."""

    def __init__(self, engine: ReplayEngine, images: np.ndarray) -> None:
        self.images = images
        self._engine = engine
        self._answers: list[Mapping[str, np.ndarray]] = []

    def start(self, num_frames: int) -> None:
        """Take the next recorded answers."""
        self._answers = [self._engine.next_answer() for _ in range(num_frames)]

    def done(self) -> bool:
        """The answers are always there."""
        return True

    def wait(self) -> Mapping[str, np.ndarray]:
        """The recorded tensors, stacked into a batch where it holds more than one."""
        if not self._answers:
            raise EngineError("wait() without start()")
        if len(self._answers) == 1:
            return {name: read_only(array[None]) for name, array in self._answers[0].items()}
        return {name: read_only(np.stack([answer[name] for answer in self._answers])) for name in self._engine.outputs}


class ReplayEngine:
    """Gives recorded tensors in turn, over and over, whatever the pictures show.

    Args:
        answers: tensors of one frame, or of several that follow each other; name -> array without batch axis.
        network_wh: width and height of the network input.
        batch_size: frames a request.
        num_requests: requests in flight.
    """

    name = "replay"
    precision = "f32"
    device = "memory"
    streams = 1
    threads = 0

    def __init__(
        self,
        answers: Mapping[str, np.ndarray] | Sequence[Mapping[str, np.ndarray]],
        *,
        network_wh: tuple[int, int],
        batch_size: int = 1,
        num_requests: int = 2,
    ) -> None:
        self._answers = [answers] if isinstance(answers, Mapping) else list(answers)
        self._next = 0
        self.batch_size = batch_size
        self.outputs = {name: array.shape for name, array in self._answers[0].items()}
        shape = (batch_size, network_wh[1], network_wh[0], 3)
        self.requests = [ReplayRequest(self, np.zeros(shape, np.uint8)) for _ in range(num_requests)]

    def next_answer(self) -> Mapping[str, np.ndarray]:
        """The tensors of the next frame."""
        answer = self._answers[self._next % len(self._answers)]
        self._next += 1
        return answer

    def close(self) -> None:
        """Nothing to release."""
