"""The driver on pyservicemaker, as far as it is described: what is added, linked and attached, and how it ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from fakes import sdk, servicemaker
from tensortap.deepstream.build import Inference, Screen, VideoFile, Wanted, build
from tensortap.deepstream.platforms import PLATFORMS
from tensortap.deepstream.servicemaker import ServiceMakerDriver
from tensortap.errors import EngineError


class Told:
    def __init__(self) -> None:
        self.errors: list[Exception | None] = []
        self.over = threading.Event()

    def source_failed(self, number: int, reason: str) -> None:
        raise AssertionError(reason)

    def ended(self, error: Exception | None) -> None:
        self.errors.append(error)
        self.over.set()


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    servicemaker.Pipeline.made.clear()
    servicemaker.Pipeline.error, servicemaker.Pipeline.lacks = None, frozenset()


GRAPH = build(
    Wanted(
        uris=["file:///a.mp4", "rtsp://10.0.0.7/door"],
        inferences=[Inference("pose.txt", batch_size=2)],
        platform=PLATFORMS["dgpu"],
        tracker={"ll-lib-file": "a.so", "sub-batches": "0;1"},
        tracker_optional=frozenset({"sub-batches"}),
        visuals=[Screen(), VideoFile("a.mp4")],
    )
)


def test_the_graph_as_it_is_described() -> None:
    seen: list[object] = []
    driver, told = ServiceMakerDriver(servicemaker), Told()
    driver.start(GRAPH, {"gie-0": seen.append, "tracker": seen.append}, told)
    [pipeline] = servicemaker.Pipeline.made
    expected = {element.name: (element.factory, dict(element.properties)) for element in GRAPH.elements}
    assert pipeline.elements == expected
    # Request pads by their template, in the order of the inputs; everything else by name.
    assert pipeline.links[:2] == [("source-0", "mux", "", "sink_%u"), ("source-1", "mux", "", "sink_%u")]
    assert [link for link in pipeline.links if link[0] == "outputs"] == [
        ("outputs", "screen-0-queue", "src_%u", ""),
        ("outputs", "file-1-queue", "src_%u", ""),
    ]
    assert len(pipeline.links) == len(GRAPH.links)
    assert set(pipeline.probes) == {"gie-0", "tracker"}
    buffer = sdk.Buffer()
    assert servicemaker.run_operator(pipeline.probes["gie-0"].operator, buffer) is True
    assert len(seen) == 1
    assert not told.over.is_set()
    driver.stop()
    driver.stop()
    assert told.errors == [None]


def test_optional_properties_are_left_out_and_others_are_not() -> None:
    servicemaker.Pipeline.lacks = frozenset({"sub-batches", "rtsp-reconnect-attempts"})
    driver = ServiceMakerDriver(servicemaker)
    driver.start(GRAPH, {}, Told())
    [pipeline] = servicemaker.Pipeline.made
    assert pipeline.elements["tracker"] == ("nvtracker", {"ll-lib-file": "a.so"})
    driver.stop()
    servicemaker.Pipeline.lacks = frozenset({"nvtracker"})
    with pytest.raises(EngineError, match=r"The element nvtracker \(tracker\) cannot be made"):
        ServiceMakerDriver(servicemaker).start(GRAPH, {}, Told())


def test_a_pipeline_that_fails() -> None:
    servicemaker.Pipeline.error = "gie-0 has no engine"
    driver, told = ServiceMakerDriver(servicemaker), Told()
    driver.start(GRAPH, {}, told)
    assert told.over.wait(10)
    driver.stop()
    assert isinstance(told.errors[0], EngineError)
    assert "gie-0 has no engine" in str(told.errors[0])
