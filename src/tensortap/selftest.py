"""Self-test: one picture in every slot of every batch, through every engine, must give the same tensors and people."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tensortap.assemble import first_frame
from tensortap.assemble_engine import create_engine
from tensortap.config import Settings
from tensortap.errors import EngineError, MissingDependencyError, ModelError
from tensortap.geometry import Letterbox, iou_matrix
from tensortap.pipeline import Decoder
from tensortap.portable.engines.base import Engine
from tensortap.portable.model import ModelInfo, image_input
from tensortap.portable.preprocess import Preprocessor
from tensortap.reading import create_decoder, feeding_for, network_wh_of, own_decoder, shortlist_for
from tensortap.taps import name_of
from tensortap.types import Poses, TensorFrame

TOLERANCES = {"f32": 0.001, "f16": 0.01, "bf16": 0.05, "int8": 0.1}
"""Precision -> how far tensors may lie apart, as a share of their range, and people, as a share of their size."""
_COARSEST = 0.1
_SURE = 0.5
"""Keypoints with a lower score are guesses, which move far for small reasons."""

_SAME_PERSON = 0.5
"""IoU from which two boxes are of the same person."""

Tensors = Mapping[str, np.ndarray]
OnStep = Callable[[str], object]


@dataclass(frozen=True)
class Difference:
    """How far tensors lie apart. Values are shares of the largest value in their channel."""

    output: str
    """Name of the output that differs most."""
    typical: float
    """Root of the mean square over the worst channel; infinite where shapes differ or values are no numbers."""
    largest: float
    """Of a single value."""
    where: str = ""
    """Batch and slot, for people."""


@dataclass(frozen=True)
class PeopleDifference:
    """How far people lie apart."""

    found: int
    """People here."""
    missing: int
    """People without a partner on the other side, those near the threshold aside."""
    moved: float
    """How far the sure keypoint that moved most did, as a share of the person's size."""
    moved_pixels: float
    """The same in pixels of the frame."""


@dataclass
class Trial:
    """One engine in one precision."""

    engine: str
    asked: str
    """The precision asked for."""
    precision: str = ""
    """What it computes in."""
    batch_sizes: list[int] = field(default_factory=list)
    """Those that were tried."""
    runs: int = 0
    """Inferences."""
    slots: Difference | None = None
    """The worst between its slots and batch sizes."""
    against: Difference | None = None
    """The worst output beside the reference's; `None` for the reference itself."""
    people: PeopleDifference | None = None
    """The same for people; `None` where the head is not known."""
    people_in_slots: PeopleDifference | None = None
    """The worst between its slots, where tensors differ."""
    tolerance: float = 0.0
    notes: list[str] = field(default_factory=list)
    """What it could not do."""
    faults: list[str] = field(default_factory=list)
    """What is wrong."""

    @property
    def ran(self) -> bool:
        """Whether there is anything to compare."""
        return bool(self.batch_sizes)


def difference(found: Tensors, expected: Tensors, where: str = "") -> Difference:
    """How far two frames' tensors lie apart: of the output that differs most."""
    worst = Difference("", 0.0, 0.0, where)
    for name in {**expected, **found}:
        typical, largest = (
            _distance(found[name], expected[name]) if name in found and name in expected else (math.inf, math.inf)
        )
        if not worst.output or typical > worst.typical:
            worst = Difference(name, typical, largest, where)
    return worst


def _distance(found: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Typical and largest difference of the worst channel, as shares of its range; the first axis holds the channels."""
    if found.shape != expected.shape or found.dtype.kind != expected.dtype.kind:
        return math.inf, math.inf
    if not found.size:
        return 0.0, 0.0
    channels = len(found) if found.ndim > 1 else 1
    one, other = (array.astype(np.float64).reshape(channels, -1) for array in (found, expected))
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return (0.0, 0.0) if np.array_equal(one, other, equal_nan=True) else (math.inf, math.inf)
    ranges = np.abs(other).max(axis=1)
    # Channels of next to nothing, beside others, are measured by those.
    ranges = np.maximum(ranges, max(1e-3 * ranges.max(), 1e-9))
    apart = np.abs(one - other)
    shares = np.sqrt((apart**2).mean(axis=1)) / ranges
    worst = int(shares.argmax())
    return float(shares[worst]), float((apart.max(axis=1) / ranges)[worst])


def people_difference(found: Poses, expected: Poses, threshold: float, margin: float) -> PeopleDifference:
    """How far two frames' people lie apart.

    Args:
        threshold: the score above which people are found.
        margin: people with a score less than so much above it may be missing on the other side.
    """
    pairs = _partners(iou_matrix(found.boxes_xyxy, expected.boxes_xyxy))
    alone = np.concatenate(
        [
            np.delete(found.scores, [row for row, _ in pairs]),
            np.delete(expected.scores, [column for _, column in pairs]),
        ]
    )
    moved = moved_pixels = 0.0
    for row, column in pairs:
        left, top, right, bottom = expected.boxes_xyxy[column]
        one, other = found.keypoints[row], expected.keypoints[column]
        sure = np.minimum(one[:, 2], other[:, 2]) >= _SURE
        apart = float(np.hypot(*(one[sure, :2] - other[sure, :2]).T).max(initial=0.0))
        moved_pixels = max(moved_pixels, apart)
        moved = max(moved, apart / max(math.hypot(right - left, bottom - top), 1e-9))
    return PeopleDifference(len(found), int((alone > threshold + margin).sum()), moved, moved_pixels)


def _partners(overlaps: np.ndarray) -> list[tuple[int, int]]:
    """Rows and columns that belong together, those that overlap most first; each at most once."""
    pairs: list[tuple[int, int]] = []
    left = overlaps.copy()
    while left.size and left.max() >= _SAME_PERSON:
        row, column = (int(each) for each in np.unravel_index(left.argmax(), left.shape))
        pairs.append((row, column))
        left[row], left[:, column] = 0, 0
    return pairs


class SelfTest:
    """Runs a model through engines, precisions and batches, and compares.

    Args:
        settings: say which picture, engine and precision; `auto` tries them all. Of the input, the first frame is taken.
        model: the model, read.
        engines: names of the engines to try.
        max_batch_size: batches of 1, 2, ... so many frames are tried; a fixed batch is tried as it is.
        on_step: told what is being tried.

    Raises:
        SourceError: there is no picture.
    """

    def __init__(
        self,
        settings: Settings,
        model: ModelInfo,
        engines: Sequence[str],
        max_batch_size: int,
        on_step: OnStep = lambda text: None,
    ) -> None:
        self._settings = settings
        self._model = model
        self.frame = first_frame(settings.inputs[0])
        """The picture."""
        self._engines = engines
        fixed = image_input(model).batch
        self._batch_sizes = [fixed] if fixed else list(range(1, max_batch_size + 1))
        self._on_step = on_step
        self._expected: dict[int, Tensors] = {}
        self.trials: list[Trial] = []
        self.reference: Trial | None = None
        """The trial that all others are compared with: the first in f32, or the first."""
        self.head: str | None = None
        """Whose people are compared; `None` where the head is not known."""

    def run(self) -> list[Trial]:
        """Try everything. What cannot be tried says why in its notes.

        Raises:
            UsageError: the settings cannot be meant for this model.
        """
        kept: list[tuple[Trial, Tensors, Letterbox, Decoder | None]] = []
        for engine in self._engines:
            for precision in dict.fromkeys(
                ["f32", "auto"] if self._settings.precision == "auto" else [self._settings.precision]
            ):
                trial = Trial(engine, precision)
                first = self._try(trial)
                if first is None:
                    self.trials.append(trial)
                elif not any(trial.engine == other.engine and trial.precision == other.precision for other, *_ in kept):
                    self.trials.append(trial)
                    kept.append((trial, *first))
        if not kept:
            return self.trials
        kept.sort(key=lambda each: each[0].precision != "f32")
        self.reference, expected, box, decoder = kept[0]
        self.head = getattr(decoder, "name", None) or (name_of(decoder) if decoder else None)
        people = self._people(expected, box, decoder)
        for trial, tensors, *_ in kept[1:]:
            trial.tolerance = max(trial.tolerance, self.reference.tolerance)
            trial.against = difference(tensors, expected)
            if people is not None:
                found = self._people(tensors, box, decoder)
                assert found is not None
                trial.people = people_difference(found, people, self._settings.conf_thres, trial.tolerance)
            if not _agree(trial.against, trial.people, trial.tolerance):
                trial.faults.append(
                    f"differs from {self.reference.engine} in {self.reference.precision}: {_said(trial.against)}"
                )
        if people is not None:
            self.reference.people = PeopleDifference(len(people), 0, 0.0, 0.0)
        return self.trials

    def _try(self, trial: Trial) -> tuple[Tensors, Letterbox, Decoder | None] | None:
        """One engine in one precision, in all batch sizes; the tensors of its first frame."""
        expected: Tensors | None = None
        box: Letterbox | None = None
        decoder: Decoder | None = None
        for batch_size in self._batch_sizes:
            self._on_step(f"{trial.engine}, {trial.asked}, batch {batch_size}")
            settings = self._settings.model_copy(
                update={"engine": trial.engine, "precision": trial.asked, "batch_size": batch_size}
            )
            try:
                engine, _ = create_engine(settings, self._model, shortlist=shortlist_for(settings, self._model))
            except (EngineError, MissingDependencyError, ModelError) as exc:
                trial.notes.append(f"batch {batch_size}: {exc}" if trial.ran else str(exc))
                break
            try:
                trial.precision = engine.precision
                trial.tolerance = max(TOLERANCES.get(part, _COARSEST) for part in engine.precision.split("+"))
                picture, box = self._picture(engine, settings)
                decoder = decoder or self._decoder(settings, engine)
                for where, tensors in _every_slot(engine, picture):
                    trial.runs += 1
                    if expected is None:
                        expected = {name: array.copy() for name, array in tensors.items()}
                        self._look_for_numbers(trial, expected)
                        continue
                    apart = difference(tensors, expected, where)
                    if trial.slots is None or apart.typical > trial.slots.typical:
                        trial.slots = apart
                        trial.people_in_slots = self._people_apart(tensors, expected, box, decoder, trial)
                trial.batch_sizes.append(batch_size)
            except EngineError as exc:
                trial.faults.append(f"batch {batch_size}: {exc}")
                break
            finally:
                engine.close()
        if trial.slots is not None and not _agree(trial.slots, trial.people_in_slots, trial.tolerance):
            trial.faults.append(f"its slots differ: {_said(trial.slots)} in {trial.slots.where}")
        return None if expected is None or box is None else (expected, box, decoder)

    def _picture(self, engine: Engine, settings: Settings) -> tuple[np.ndarray, Letterbox]:
        """The network input, uint8 (H, W, 3), and how the frame lies in it."""
        feeding = feeding_for(settings, self._model)
        picture = np.empty(engine.requests[0].images.shape[1:], np.uint8)
        box = Preprocessor(network_wh_of(engine), feeding.letterbox, feeding.color).write(self.frame, picture)
        return picture, box

    def _decoder(self, settings: Settings, engine: Engine) -> Decoder | None:
        """Of the user's own, or for the head that is recognised; `None` without."""
        if settings.decoder == "none":
            return None
        own = own_decoder(settings)
        if own is not None:
            return own
        try:
            return create_decoder(settings, [(self._model, engine)])[1]
        except ModelError:
            if settings.decoder != "auto":
                raise
            return None

    def _people(self, tensors: Tensors, box: Letterbox, decoder: Decoder | None) -> Poses | None:
        return decoder(TensorFrame(self.frame, tensors, box)) if decoder else None

    def _people_apart(
        self, tensors: Tensors, expected: Tensors, box: Letterbox, decoder: Decoder | None, trial: Trial
    ) -> PeopleDifference | None:
        found, people = self._people(tensors, box, decoder), self._people(expected, box, decoder)
        if found is None or people is None:
            return None
        return people_difference(found, people, self._settings.conf_thres, trial.tolerance)

    def _look_for_numbers(self, trial: Trial, tensors: Tensors) -> None:
        odd = [name for name, array in tensors.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
        if odd:
            trial.faults.append(f"gives values that are no numbers in {', '.join(odd)}")


def _every_slot(engine: Engine, picture: np.ndarray) -> Iterator[tuple[str, Tensors]]:
    """The picture's tensors from each slot of a full batch, and from the last of every batch that is not full; valid until
    the next. Other slots hold noise, so that mixed-up frames show; as many requests are in flight as there are."""
    size = engine.batch_size
    noise = np.random.default_rng(0).integers(0, 256, (size, *picture.shape), np.uint8)
    jobs = [(slot, size) for slot in range(size)] + [(count - 1, count) for count in range(1, size)]
    # Every request is used, also where there are fewer jobs.
    jobs += jobs[: max(0, len(engine.requests) - len(jobs))]
    while jobs:
        group, jobs = jobs[: len(engine.requests)], jobs[len(engine.requests) :]
        for request, (slot, count) in zip(engine.requests, group, strict=False):
            request.images[...] = noise
            request.images[slot] = picture
            request.start(count)
        for request, (slot, count) in zip(engine.requests, group, strict=False):
            outputs = request.wait()
            full = "" if count == size else f" with {count} frames"
            yield f"slot {slot} of a batch of {size}{full}", {name: output[slot] for name, output in outputs.items()}


def _agree(tensors: Difference, people: PeopleDifference | None, tolerance: float) -> bool:
    """Whether tensors are the same, or the people made of them: rows of no interest may come in any order."""
    if tensors.typical <= tolerance:
        return True
    return people is not None and people.found > 0 and people.missing == 0 and people.moved <= tolerance


def _said(apart: Difference) -> str:
    if math.isinf(apart.typical):
        return f"{apart.output} has another shape, or holds what is no number"
    return f"{apart.output} by {apart.typical:.2%} of its range, a single value by {apart.largest:.2%}"
