"""Which ways to try, in which order, and which of them to keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tensortap.apart import NoAnswerError
from tensortap.errors import EngineError
from tensortap.portable.threads import Mode
from tensortap.quantize.agreement import agreement
from tensortap.tune.trial import Outcome
from tensortap.tuned import Choice

_WORTH = 1.03
"""So much faster a way must be to be preferred to one that was tried before it, which is the simpler one."""
_IN_REACH = 0.8
"""Ways that reach so much of the fastest are tried with other numbers of streams, too."""


@dataclass(frozen=True)
class Trial:
    """One way, and what came of it."""

    choice: Choice
    outcome: Outcome | None
    """`None` where it cannot be had."""
    lost: float = 0.0
    """Of the agreement with the reference."""
    problem: str = ""
    """Why it is not taken: it cannot be had, or lost too much."""

    @property
    def is_good(self) -> bool:
        """Whether it may be taken."""
        return self.outcome is not None and not self.problem


class Search:
    """Tries engines and precisions first, then numbers of streams for the fastest, then batch sizes.

    Args:
        measure: tries one.
        mode: what counts: images a second, or the time for one.
        tolerance: most of the agreement with the reference that may be lost, 0..1.
        on_trial: told of each.
    """

    def __init__(
        self,
        measure: Callable[[Choice], Outcome],
        *,
        mode: Mode,
        tolerance: float,
        on_trial: Callable[[Trial], object] = lambda trial: None,
    ) -> None:
        self.trials: list[Trial] = []
        self.reference: Trial | None = None
        """What the others are compared with: the first that computes in f32, else the first that could be had."""
        self._measure = measure
        self._mode = mode
        self._tolerance = tolerance
        self._on_trial = on_trial

    @property
    def can_judge(self) -> bool:
        """Whether the reference finds anybody: if not, nobody can say what another precision loses."""
        return (
            self.reference is not None and self.reference.outcome is not None and any(map(len, self.reference.outcome.people))
        )

    def run(
        self,
        engines: Sequence[str],
        precisions: Sequence[str],
        *,
        first_batch: int,
        batches: Sequence[int],
        streams: Sequence[int],
    ) -> Trial:
        """The fastest way that keeps within the tolerance.

        Args:
            engines: names, the likely ones first.
            precisions: as for `--precision`; what an engine has tried already under another name is not tried again.
            first_batch: of the first trials; the only one of models that have it fixed.
            batches: to be tried at last, for throughput.
            streams: to be tried beside each engine's own choice, for throughput.

        Raises:
            EngineError: no engine takes the model.
        """
        for engine in engines:
            for precision in precisions:
                if precision not in self._covered(engine):
                    self._try(Choice(engine, precision, first_batch))
        had = [trial for trial in self.trials if trial.outcome is not None]
        in_full = [trial for trial in had if trial.outcome is not None and trial.outcome.precision == "f32"]
        self.reference = next(iter([*in_full, *had]), None)
        self.trials = [self._judged(trial) for trial in self.trials]
        if not any(trial.is_good for trial in self.trials):
            told = "; ".join(f"{trial.choice}: {trial.problem}" for trial in self.trials)
            raise EngineError(f"No engine takes this model as it should be run: {told}")
        if self._mode == "throughput":
            best = self._speed(self._best())
            in_reach = [trial for trial in self.trials if trial.is_good and self._speed(trial) >= _IN_REACH * best]
            for trial in in_reach:
                for number in streams:
                    if trial.outcome is not None and number != trial.outcome.streams:
                        self._try(replace(trial.choice, engine_streams=number))
            fastest = self._best().choice
            for size in batches:
                if size != first_batch:
                    self._try(replace(fastest, batch_size=size))
        return self._best()

    def _try(self, choice: Choice) -> None:
        try:
            outcome = self._measure(choice)
        except NoAnswerError as exc:
            trial = Trial(choice, None, problem=str(exc))
        else:
            trial = self._judged(Trial(choice, outcome))
        self.trials.append(trial)
        self._on_trial(trial)

    def _judged(self, trial: Trial) -> Trial:
        """With what it lost, once there is something to compare with."""
        if self.reference is None or self.reference.outcome is None or trial.outcome is None:
            return trial
        if not self.can_judge:
            if trial.choice.precision in ("auto", self.reference.choice.precision):
                return trial
            return replace(trial, problem="nobody is in the pictures, so that nobody can say what this precision loses")
        lost = 1 - agreement(self.reference.outcome.people, trial.outcome.people).similarity
        problem = f"lost {lost:.3f} of the agreement, {self._tolerance:g} are allowed" if lost > self._tolerance else ""
        return replace(trial, lost=lost, problem=problem)

    def _covered(self, engine: str) -> set[str]:
        """Precisions that an engine has been tried in, by whatever name."""
        mine = [trial for trial in self.trials if trial.choice.engine == engine]
        found = {trial.choice.precision for trial in mine}
        return found | {
            trial.outcome.precision for trial in mine if trial.outcome is not None and trial.choice.precision == "auto"
        }

    def _best(self) -> Trial:
        best: Trial | None = None
        for trial in self.trials:
            if trial.is_good and (best is None or self._speed(trial) > _WORTH * self._speed(best)):
                best = trial
        assert best is not None
        return best

    def _speed(self, trial: Trial) -> float:
        """The larger the better."""
        assert trial.outcome is not None
        return 1e3 / trial.outcome.latency_ms if self._mode == "latency" else trial.outcome.images_per_second
