"""The data that travels along the path of a frame. Needs NumPy and the standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from tensortap.geometry import Letterbox
    from tensortap.skeletons import Skeleton


@dataclass(frozen=True)
class StreamInfo:
    """One input, as far as it is known before its first frame."""

    source_id: int
    """0, 1, 2 ... in the order in which the inputs were named."""
    name: str
    """Short name for people and files, e.g. `people.mp4`; never holds a password."""
    size_wh: tuple[int, int] | None = None
    """Width and height in pixels as displayed, rotation applied; `None` where it is not known yet."""
    frame_rate: float | None = None
    """Nominal frames a second; `None` for still images and where the container does not say."""
    num_frames: int | None = None
    """How many frames the container announces, an estimate; `None` where it does not say."""
    is_still: bool = False
    """Unrelated still images rather than a video: nobody can be tracked from one to the next."""
    is_live: bool = False
    """A camera that does not wait: frames that nobody takes in time are dropped, and the connection is opened again."""


class StreamState(str, Enum):
    """How a stream is. Its value is the word that logs, sinks and pages show."""

    CONNECTING = "connecting"
    """Not seen yet; the first attempt goes on."""
    ONLINE = "online"
    """Frames come."""
    STALLED = "stalled"
    """Connected, but no frame has come for too long; it is being opened again."""
    OFFLINE = "offline"
    """The last attempt failed or the connection broke; it is tried again and again."""
    ENDED = "ended"
    """No more frames will come: a file is over, or the stream was removed."""


@dataclass(frozen=True)
class StreamEvent:
    """A stream's state changed, or the reason for it did."""

    source_id: int
    """Number of the stream."""
    source: str
    """Name of the stream."""
    state: StreamState
    """How it is now."""
    reason: str
    """Why, for people, without credentials; may be empty."""
    since_ns: int
    """Wall-clock time at which the stream came into this state, nanoseconds since 1970."""
    times: int
    """How often it has come into this state, this time included."""


@dataclass(frozen=True)
class FrameInfo:
    """Which frame this is and when it was taken."""

    source_id: int
    """Number of the stream that the frame belongs to."""
    source: str
    """Name of the file, camera or image that the frame came from."""
    index: int
    """0, 1, 2 ... within the stream. A frame that could not be decoded has no index."""
    pts_ns: int
    """Presentation time in nanoseconds from the start of the stream."""
    size_wh: tuple[int, int]
    """Width and height of the original frame in pixels, rotation applied."""
    duration_ns: int = 0
    """How long the frame is shown, in nanoseconds; 0 where it is not known."""
    is_still: bool = False
    """A still image rather than a frame of a video."""
    arrival_ns: int = 0
    """Wall-clock time at which the frame came to this machine, nanoseconds since 1970; 0 where nobody looked."""
    is_live: bool = False
    """From a live stream: whoever is too slow for it drops it rather than keep the others waiting."""
    capture_ns: int = 0
    """Live streams: wall-clock time at which the frame was taken, as far as its arrival and its pts tell, nanoseconds since
    1970. 0 for files."""


class Pixels(Protocol):
    """Decoded pixels in whatever layout the decoder left them."""

    def bgr(self) -> np.ndarray | None:
        """uint8 (H, W, 3) BGR, rotation applied; `None` where they are gone (a surface of DeepStream's after its probe)."""
        ...


@dataclass(frozen=True, eq=False)
class Frame:
    """One decoded frame of one stream."""

    info: FrameInfo
    pixels: Pixels | None
    """The decoder's own pixels; `None` where they stay on the device."""
    # Sinks ask for the image in threads of their own, and FFmpeg's converter of a frame crashes when two use it at once.
    _converting: Lock = field(default_factory=Lock, init=False, repr=False)

    @property
    def image(self) -> np.ndarray | None:
        """uint8 (H, W, 3) BGR, read-only, converted when first asked for; `None` where the pixels stay on the device."""
        with self._converting:
            return self._image

    @cached_property
    def _image(self) -> np.ndarray | None:
        pixels = None if self.pixels is None else self.pixels.bgr()
        if pixels is None:
            return None
        image: np.ndarray = pixels.view()
        image.flags.writeable = False
        return image


@dataclass(frozen=True, eq=False)
class TensorFrame:
    """One frame's model output before anyone has interpreted it."""

    frame: Frame
    tensors: Mapping[str, np.ndarray]
    """Output name -> array without batch axis, e.g. `{"output0": float32 (56, 8400)}`. Read-only views that are valid
    until the next frame is taken from the pipeline: `.copy()` what you keep. Empty where inference was skipped."""
    letterbox: Letterbox
    """How the frame was placed in the network input."""
    roi: tuple[float, float, float, float] | None = None
    """Left, top, right, bottom of the object that these tensors belong to; `None` for the whole frame."""
    track_id: int = -1
    """Identity that a tracker has given to that object; -1 for none."""

    @property
    def info(self) -> FrameInfo:
        """Which frame this is and when it was taken."""
        return self.frame.info

    @property
    def image(self) -> np.ndarray | None:
        """uint8 (H, W, 3) BGR, read-only, converted when first asked for."""
        return self.frame.image

    @property
    def inferred(self) -> bool:
        """Whether the model saw this frame; False for the frames that `interval` skips."""
        return bool(self.tensors)


_UNTRACKED = np.empty(0, np.int64)
"""Stands for "nobody here is tracked" until the number of people is known."""


@dataclass(frozen=True, eq=False)  # eq=False: comparing arrays with == is ambiguous
class Poses:
    """People found in one frame, in pixels of the original frame. Nobody in view is N = 0.

    Raises:
        ValueError: the arrays do not agree in N, or the keypoints do not fit the skeleton.
    """

    boxes_xyxy: np.ndarray
    """float32 (N, 4): left, top, right, bottom. May reach outside the frame."""
    scores: np.ndarray
    """float32 (N,): confidence of the person, 0..1."""
    class_ids: np.ndarray
    """int64 (N,): class index of the model, 0 for the only class of most pose models."""
    keypoints: np.ndarray
    """float32 (N, K, 3): x, y, score in 0..1 (1 where the model gives none)."""
    skeleton: Skeleton
    """Names, limbs and OKS sigmas of the K keypoints."""
    track_ids: np.ndarray = field(default_factory=lambda: _UNTRACKED)
    """int64 (N,): identity within the stream, from 1; -1 where the person is not tracked."""

    def __post_init__(self) -> None:
        num_people = len(self.boxes_xyxy)
        if self.track_ids is _UNTRACKED:
            object.__setattr__(self, "track_ids", np.full(num_people, -1, np.int64))
        if not (
            self.boxes_xyxy.shape == (num_people, 4)
            and self.scores.shape == self.class_ids.shape == self.track_ids.shape == (num_people,)
            and self.keypoints.shape == (num_people, self.skeleton.num_keypoints, 3)
        ):
            self._explain_shapes(num_people)

    def _explain_shapes(self, num_people: int) -> None:
        expected = {
            "boxes_xyxy": (num_people, 4),
            "scores": (num_people,),
            "class_ids": (num_people,),
            "keypoints": (num_people, self.skeleton.num_keypoints, 3),
            "track_ids": (num_people,),
        }
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                raise ValueError(f"{name} must be {shape}, got {found}")

    def __len__(self) -> int:
        """N, the number of people."""
        return len(self.boxes_xyxy)

    @classmethod
    def empty(cls, skeleton: Skeleton) -> Poses:
        """Nobody in view."""
        return cls(
            boxes_xyxy=np.empty((0, 4), np.float32),
            scores=np.empty(0, np.float32),
            class_ids=np.empty(0, np.int64),
            keypoints=np.empty((0, skeleton.num_keypoints, 3), np.float32),
            skeleton=skeleton,
        )

    @classmethod
    def joined(cls, parts: Sequence[Poses]) -> Poses:
        """The people of one or several poses of one skeleton, in this order."""
        if len(parts) == 1:
            return parts[0]
        names = ("boxes_xyxy", "scores", "class_ids", "keypoints", "track_ids")
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return cls(skeleton=parts[0].skeleton, **arrays)

    def take(self, rows: np.ndarray) -> Poses:
        """The people at these rows, by index or mask, in that order."""
        return Poses(
            boxes_xyxy=self.boxes_xyxy[rows],
            scores=self.scores[rows],
            class_ids=self.class_ids[rows],
            keypoints=self.keypoints[rows],
            skeleton=self.skeleton,
            track_ids=self.track_ids[rows],
        )

    def with_track_ids(self, track_ids: np.ndarray) -> Poses:
        """The same people with these identities."""
        return Poses(self.boxes_xyxy, self.scores, self.class_ids, self.keypoints, self.skeleton, track_ids)


@dataclass(frozen=True, eq=False)
class Result:
    """What the pipeline hands to sinks and to the caller for one frame. Safe to keep: nothing in it is borrowed."""

    frame: Frame
    poses: Poses
    inferred: bool = True
    """Whether the model saw this frame; if not, the poses are the tracker's prediction, or nobody."""

    @property
    def info(self) -> FrameInfo:
        """Which frame this is and when it was taken."""
        return self.frame.info

    @property
    def image(self) -> np.ndarray | None:
        """uint8 (H, W, 3) BGR, read-only, converted when first asked for."""
        return self.frame.image
