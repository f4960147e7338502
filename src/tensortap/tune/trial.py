"""One way to run a model, tried in a process of its own: how fast it is, and whom it finds."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tensortap.apart import answer, ask
from tensortap.errors import UsageError
from tensortap.geometry import letterbox
from tensortap.pipeline import Decoder, Pipeline
from tensortap.portable.engines.base import Request, as_batch
from tensortap.portable.preprocess import Preprocessor
from tensortap.portable.runtime import PortableRuntime
from tensortap.portable.threads import Mode
from tensortap.quantize.agreement import find
from tensortap.quantize.calibration import Picture, gather
from tensortap.skeletons import skeleton_for
from tensortap.tuned import Choice
from tensortap.types import Frame, FrameInfo, Poses, TensorFrame

_NUM_PICTURES = 24
_NUM_FRAMES = 600
"""At most so many frames of each input are decoded for them."""


@dataclass(frozen=True)
class Question:
    """What is to be tried."""

    choice: Choice
    mode: Mode
    model: str
    """Path of the model."""
    inputs: tuple[str, ...]
    """What the pictures come from, where there is no file of them yet."""
    pictures: str
    """`.npz` that the first trial writes and the others read: all see the same."""
    settings: dict[str, Any]
    """Others of the run: `imgsz`, `threads`, `conf_thres` ..."""
    seconds: float


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of it."""

    precision: str
    """What the engine really computes in."""
    batch_size: int
    streams: int
    """Batches at once, as the engine has it."""
    imgsz: tuple[int, int]
    images_per_second: float
    """Copying pictures in, engine and decoder; with one batch at a time for latency."""
    latency_ms: float
    """Median, from a picture to its people, with nothing else in flight."""
    people: Sequence[Poses]
    """Of each picture."""


def try_apart(question: Question) -> Outcome:
    """Try it in a new process.

    Raises:
        NoAnswerError: this machine or this model does not do it; the message says why.
    """
    found = ask("tensortap.tune.trial", asdict(question))
    people = [_poses(each) for each in found.pop("people")]
    found["imgsz"] = tuple(found["imgsz"])
    return Outcome(**found, people=people)


def _try(given: dict[str, Any]) -> dict[str, Any]:
    choice, mode = Choice(**given["choice"]), given["mode"]
    have_pictures = Path(given["pictures"]).exists()
    with Pipeline(
        # A run needs an input; where there are pictures already, an empty scene is the cheapest.
        ["scene://street?people=0&size=64x64&fps=1&seconds=1"] if have_pictures else given["inputs"],
        given["model"],
        engine=choice.engine,
        precision=choice.precision,
        batch_size=choice.batch_size,
        engine_streams=choice.engine_streams,
        mode=mode,
        tracker=None,
        **given["settings"],
    ) as pipeline:
        engine, decoder = pipeline.parts.engine, pipeline.parts.decoder
        pictures = _pictures(pipeline, Path(given["pictures"]))
        people = find(engine, decoder, pictures)
        requests = engine.requests[:1] if mode == "latency" else engine.requests
        latency_ms = _latency_ms(requests[0], decoder, pictures, given["seconds"] / 4)
        rate = _rate(requests, engine.batch_size, decoder, pictures, given["seconds"])
        _, height, width, _ = engine.requests[0].images.shape
        return {
            "precision": engine.precision,
            "batch_size": engine.batch_size,
            "streams": int(getattr(engine, "streams", 0)),
            "imgsz": (height, width),
            "images_per_second": rate,
            "latency_ms": latency_ms,
            "people": [_as_dict(poses) for poses in people],
        }


def _pictures(pipeline: Pipeline, path: Path) -> list[Picture]:
    """The same for every trial: gathered by the first."""
    _, height, width, _ = pipeline.parts.engine.requests[0].images.shape
    feeding, runtime = pipeline.parts.feeding, pipeline.parts.runtime
    if path.exists():
        with np.load(path) as stored:
            images, sizes = stored["images"], stored["sizes"]
        return [
            Picture(
                FrameInfo(0, "picture", number, 0, (int(size[0]), int(size[1]))),
                letterbox(feeding.letterbox, (int(size[0]), int(size[1])), (width, height)),
                image,
            )
            for number, (image, size) in enumerate(zip(images, sizes, strict=True))
        ]
    if not isinstance(runtime, PortableRuntime):
        raise UsageError("A recording has no pictures to tune with. Give videos or images.")
    sources = [_FirstFrames(source) for source in runtime.sources]
    pictures = gather(sources, Preprocessor((width, height), feeding.letterbox, feeding.color), _NUM_PICTURES)
    sizes = np.array([picture.info.size_wh for picture in pictures])
    np.savez(path, images=np.stack([picture.image for picture in pictures]), sizes=sizes)
    return pictures


class _FirstFrames:
    """A source that ends early."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.stream, self.damaged = source.stream, 0
        self._left = _NUM_PICTURES * 2 if source.stream.is_live else _NUM_FRAMES

    def read(self) -> Frame | None:
        self._left -= 1
        frame: Frame | None = self._source.read() if self._left >= 0 else None
        return frame

    def close(self) -> None:
        self._source.close()


def _rate(requests: Sequence[Request], batch_size: int, decoder: Decoder, pictures: Sequence[Picture], seconds: float) -> float:
    """Images a second with every request in flight."""
    turn = itertools.cycle(pictures)
    for request in requests:
        _start(request, [next(turn) for _ in range(batch_size)])
    in_flight = deque(requests)
    batches, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds or not batches:
        request = in_flight.popleft()
        _finish(request, batch_size, decoder, pictures)
        _start(request, [next(turn) for _ in range(batch_size)])
        in_flight.append(request)
        batches += 1
    rate = batches * batch_size / (time.perf_counter() - started)
    for request in in_flight:
        request.wait()
    return rate


def _latency_ms(request: Request, decoder: Decoder, pictures: Sequence[Picture], seconds: float) -> float:
    """Of one picture alone, after a few to warm up."""
    times: list[float] = []
    ends = time.perf_counter() + seconds
    for picture in itertools.cycle(pictures):
        before = time.perf_counter()
        if before > ends and len(times) > 3:
            break
        _start(request, [picture])
        _finish(request, 1, decoder, [picture])
        times.append((time.perf_counter() - before) * 1e3)
    return float(np.median(times[2:]))


def _start(request: Request, pictures: Sequence[Picture]) -> None:
    for slot, picture in enumerate(pictures):
        request.images[slot] = picture.image
    request.start(len(pictures))


def _finish(request: Request, num_frames: int, decoder: Decoder, pictures: Sequence[Picture]) -> None:
    outputs = as_batch(request.wait())
    for slot in range(num_frames):
        picture = pictures[slot % len(pictures)]  # whose letterbox it is makes no difference to the time
        decoder(TensorFrame(Frame(picture.info, None), outputs.frame(slot), picture.letterbox))


def _as_dict(poses: Poses) -> dict[str, Any]:
    names = ("boxes_xyxy", "scores", "class_ids", "keypoints")
    return {name: getattr(poses, name).tolist() for name in names} | {"num_keypoints": poses.skeleton.num_keypoints}


def _poses(data: dict[str, Any]) -> Poses:
    number = len(data["scores"])
    return Poses(
        boxes_xyxy=np.array(data["boxes_xyxy"], np.float32).reshape(number, 4),
        scores=np.array(data["scores"], np.float32),
        class_ids=np.array(data["class_ids"], np.int64),
        keypoints=np.array(data["keypoints"], np.float32).reshape(number, data["num_keypoints"], 3),
        skeleton=skeleton_for(data["num_keypoints"]),
    )


if __name__ == "__main__":
    answer(_try)
