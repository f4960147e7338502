"""What is measured, and what came of it: one case, its rows, and the machine."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

Level = Literal["engine", "poses", "end-to-end"]
LEVELS: tuple[Level, ...] = ("engine", "poses", "end-to-end")


@dataclass(frozen=True)
class Case:
    """One combination to measure, in a process of its own."""

    model: str
    """Path of the model."""
    engine: str = "auto"
    precision: str = "auto"
    batch_size: int | None = None
    imgsz: tuple[int, int] | None = None
    """Network input (height, width); `None` takes the model's."""
    letterbox: str = "auto"
    threads: int | None = None
    video: str = ""
    """What the frames come from."""
    streams: tuple[int, ...] = (1,)
    """How many copies of the video are read at once, end to end."""
    rounds: int = 3
    seconds: float = 3.0
    """How long each level is measured in each round."""


@dataclass(frozen=True)
class Spread:
    """A figure over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def overlaps(self, other: Spread) -> bool:
        """Whether the two ranges share a value: then a difference may be noise."""
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True)
class Row:
    """One level of one case."""

    model: str
    """Name of the file."""
    device: str
    engine: str
    precision: str
    imgsz: tuple[int, int]
    """Network input (height, width)."""
    batch_size: int
    level: Level
    streams: int
    images_per_second: Spread
    efficiency: Spread | None
    """Images a second over those of the engine alone, in the same round; `None` for the engine itself."""
    latency_ms_p50: float | None
    """From the first picture of a batch to its result, with nothing else in flight; `None` end to end."""
    latency_ms_p99: float | None
    cpu_ms_per_image: float
    """Time of all cores together."""
    peak_mb: float | None
    """Most memory that the process has held so far; `None` where the system does not tell."""

    @property
    def batches_per_second(self) -> float:
        """Median."""
        return self.images_per_second.median / self.batch_size

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two rows of different runs the same measurement."""
        return (self.model, self.engine, self.precision, self.imgsz, self.batch_size, self.level, self.streams)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "batches_per_second": self.batches_per_second}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Row:
        """The other way. Raises KeyError, TypeError or ValueError where something is missing."""
        values = {each.name: data[each.name] for each in fields(cls)}
        for name in ("images_per_second", "efficiency"):
            values[name] = Spread(**values[name]) if values[name] is not None else None
        height, width = values["imgsz"]
        values["imgsz"] = (int(height), int(width))
        return cls(**values)


@dataclass(frozen=True)
class Failure:
    """A case that could not be measured."""

    case: Case
    message: str


@dataclass
class Report:
    """A whole run."""

    machine: dict[str, Any]
    video: str
    rounds: int
    seconds: float
    rows: list[Row] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "machine": self.machine,
            "video": self.video,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "rows": [row.as_dict() for row in self.rows],
            "failures": [{**asdict(failure.case), "message": failure.message} for failure in self.failures],
        }
