"""tensortap: from many cameras to people's poses through a model's raw output tensors."""

from tensortap._version import __version__
from tensortap.errors import (
    DecodeError,
    EngineError,
    MissingDependencyError,
    ModelError,
    PluginError,
    SinkError,
    SourceError,
    TapError,
    TensortapError,
    UsageError,
)
from tensortap.geometry import Letterbox
from tensortap.pipeline import Pipeline
from tensortap.skeletons import COCO_17, Skeleton
from tensortap.types import Frame, FrameInfo, Poses, Result, StreamEvent, StreamInfo, StreamState, TensorFrame

__all__ = [
    "COCO_17",
    "DecodeError",
    "EngineError",
    "Frame",
    "FrameInfo",
    "Letterbox",
    "MissingDependencyError",
    "ModelError",
    "Pipeline",
    "PluginError",
    "Poses",
    "Result",
    "SinkError",
    "Skeleton",
    "SourceError",
    "StreamEvent",
    "StreamInfo",
    "StreamState",
    "TapError",
    "TensorFrame",
    "TensortapError",
    "UsageError",
    "__version__",
]
