"""The two probes on hand-made buffers: between the tap and nvtracker things get lost, renamed and mixed up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from fakes import sdk, servicemaker
from fakes.bindings import Binding
from people import person, poses_of
from tensortap.deepstream.graph import Graph
from tensortap.deepstream.probes import Probes, TapSettings
from tensortap.deepstream.runtime import DeepStreamRuntime, Listener, OnBuffer
from tensortap.skeletons import COCO_17
from tensortap.types import Frame, Poses, Result, StreamInfo, TensorFrame

POSES = poses_of([person(100), person(400)], [0.9, 0.8])
NOBODY = Poses.empty(COCO_17)


class Run:
    """Two probes around one stream, and what they deliver."""

    def __init__(self, binding: Binding, **settings: object) -> None:
        self.binding = binding
        self.delivered: list[Result] = []
        told = {"unique_id": 3, "letterbox": "nvinfer-stretch", "network_wh": (640, 640), "joins": True} | settings
        streams = [StreamInfo(0, "a.mp4", frame_rate=25.0)]
        self.probes = Probes(TapSettings(**told), streams, self._understand, self.delivered.append, NOBODY)  # type: ignore[arg-type]

    def _understand(self, frame: Frame, tensors: Sequence[TensorFrame]) -> Result:
        return Result(frame, POSES, inferred=all(each.inferred for each in tensors))

    def tap(self, number: int, buf_pts: int = 0) -> sdk.Buffer:
        """A buffer of one frame, behind the inference."""
        buffer = sdk.Buffer()
        frame = buffer.add_frame(frame_num=number, buf_pts=buf_pts)
        buffer.add_tensors({"out": np.zeros((1, 4), np.float32)}, [(frame, None)], unique_id=3)
        batch = self.binding.batch(buffer)
        assert batch is not None
        self.probes.on_tensors(batch)
        return buffer

    def tracked(self, buffer: sdk.Buffer) -> None:
        """The same buffer, behind nvtracker."""
        batch = self.binding.batch(buffer)
        assert batch is not None
        self.probes.on_tracked(batch)
        buffer.release()


def test_objects_of_another_inference_are_others(binding: Binding) -> None:
    """They may lie exactly where a person does, and come first."""
    run = Run(binding)
    buffer = run.tap(0)
    [frame] = buffer.batch.frames if buffer.batch else []
    for number, each in enumerate(frame.objects):
        each.object_id = 10 + number
    left, top, right, bottom = (float(value) for value in POSES.boxes_xyxy[0])
    frame.add_object(sdk.detection((left, top, right, bottom), component=1, confidence=0.9, object_id=77))
    run.tracked(buffer)
    assert sorted(run.delivered[0].poses.track_ids.tolist()) == [10, 11]


def test_buffers_that_are_lost_before_nvtracker_are_delivered_without_identities(binding: Binding) -> None:
    run = Run(binding)
    buffers = [run.tap(number) for number in range(4)]
    assert run.delivered == []  # they wait for their identities
    run.tracked(buffers[1])
    assert [result.info.index for result in run.delivered] == [0, 1]
    run.tracked(buffers[1 + 1])
    run.probes.flush()
    assert [result.info.index for result in run.delivered] == [0, 1, 2, 3]


def test_nobody_waits_for_ever(binding: Binding) -> None:
    run = Run(binding)
    for number in range(70):
        run.tap(number).release()
    assert [result.info.index for result in run.delivered] == list(range(6))


def test_what_waits_for_nvtracker_at_the_end_is_delivered(binding: Binding) -> None:
    """nvtracker may keep the last buffers for itself."""
    buffer = sdk.Buffer()
    buffer.add_tensors({"out": np.zeros((1, 4), np.float32)}, [(buffer.add_frame(), None)], unique_id=3)

    class Driver:
        name = "one buffer, then the end"

        def start(self, graph: Graph, on_buffer: Mapping[str, OnBuffer], listener: Listener) -> None:
            on_buffer["gie-0"](buffer if binding.name == "pyds" else servicemaker.Buffer(buffer))
            listener.ended(None)

        def stop(self) -> None: ...

    settings = TapSettings(unique_id=3, letterbox="nvinfer-stretch", network_wh=(640, 640), joins=True)
    graph = Graph((), (), tap="gie-0", join="tracker")
    runtime = DeepStreamRuntime(graph, Driver(), binding.tap, settings, [StreamInfo(0, "a.mp4")], NOBODY)
    [result] = runtime.results(lambda frame, tensors: Result(frame, POSES, inferred=True))
    assert len(result.poses) == 2


def test_frames_without_a_time_are_counted(binding: Binding) -> None:
    run = Run(binding, joins=False)
    for number, buf_pts in enumerate((0, 2**64 - 1, 90_000_000)):
        run.tap(number, buf_pts)
    assert [result.info.pts_ns for result in run.delivered] == [0, 40_000_000, 90_000_000]


def test_pads_that_nobody_knows_are_passed_over(binding: Binding, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(binding)
    buffer = sdk.Buffer()
    for pad in (5, 5):
        buffer.add_frame(pad_index=pad)
    batch = binding.batch(buffer)
    assert batch is not None
    run.probes.on_tensors(batch)
    run.probes.on_tracked(batch)
    assert run.delivered == []
    assert [record.getMessage() for record in caplog.records] == [
        "Frames of the mux's pad 5 belong to no input that is known; they are passed over."
    ]
