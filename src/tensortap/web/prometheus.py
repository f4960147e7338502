"""The numbers of a run in Prometheus's text format."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import CollectorRegistry

from tensortap.metrics import Distribution, Numbers, StreamNumbers
from tensortap.types import StreamState

CONTENT_TYPE = CONTENT_TYPE_LATEST


class _Collector:
    """Gives one snapshot to Prometheus's own writer, which knows the format."""

    def __init__(self, numbers: Numbers, pictures: Mapping[int, tuple[int, int]]) -> None:
        self._numbers = numbers
        self._pictures = pictures

    def collect(self) -> Iterable[Metric]:
        """Everything there is to tell."""
        yield from _streams(self._numbers)
        yield from _run(self._numbers)
        yield from _page(self._numbers, self._pictures)


def exposition(numbers: Numbers, pictures: Mapping[int, tuple[int, int]] | None = None) -> bytes:
    """One snapshot as text.

    Args:
        numbers: of the run.
        pictures: stream -> how many pictures were made for the page, and how many results were passed over meanwhile.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(numbers, pictures or {}))
    return generate_latest(registry)


def _streams(numbers: Numbers) -> Iterable[Metric]:
    label_names = ("source_id", "source")

    def counter(name: str, help_text: str, *more: str) -> CounterMetricFamily:
        return CounterMetricFamily(f"tensortap_{name}", help_text, labels=(*label_names, *more))

    def gauge(name: str, help_text: str, *more: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"tensortap_{name}", help_text, labels=(*label_names, *more))

    frames = counter("frames", "Frames with a result.")
    inferred = counter("inferred_frames", "Frames that the model saw.")
    people = counter("people", "People found, over all frames.")
    dropped = counter(
        "dropped_frames", "Live frames dropped before inference, because the engine was behind or they were old.", "reason"
    )
    damaged = counter("damaged_packets", "Packets or files that could not be decoded.")
    reconnects = counter("reconnects", "How often a live stream has come back.")
    state = gauge("stream_state", "1 for the state that the stream is in.", "state")
    since = gauge("stream_state_since_seconds", "Wall-clock time at which the stream came into its state.")
    rate = gauge("frame_rate", "Results a second over the last five seconds.")
    queued = gauge("queued_frames", "Frames that wait for the engine.")
    now = gauge("people_in_view", "People in the latest frame.")
    latency = HistogramMetricFamily("tensortap_latency_seconds", "From capture to result, live streams.", labels=label_names)
    for stream in numbers.streams:
        labels = _labels(stream)
        status = stream.status
        frames.add_metric(labels, stream.frames)
        inferred.add_metric(labels, stream.inferred)
        people.add_metric(labels, stream.people)
        dropped.add_metric([*labels, "behind"], status.dropped_behind)
        dropped.add_metric([*labels, "late"], status.dropped_late)
        damaged.add_metric(labels, status.damaged)
        reconnects.add_metric(labels, status.reconnects)
        for each in StreamState:
            state.add_metric([*labels, each.value], float(each is status.state))
        since.add_metric(labels, status.since_ns / 1e9)
        rate.add_metric(labels, stream.frame_rate)
        queued.add_metric(labels, status.queued)
        now.add_metric(labels, stream.people_now)
        if status.is_live:
            latency.add_metric(labels, _buckets(stream.latency), stream.latency.sum_seconds)
    return [frames, inferred, people, dropped, damaged, reconnects, state, since, rate, queued, now, latency]


def _run(numbers: Numbers) -> Iterable[Metric]:
    yield GaugeMetricFamily("tensortap_running", "1 while frames are taken.", value=float(numbers.running))
    yield GaugeMetricFamily("tensortap_run_seconds", "Wall-clock time since the start.", value=numbers.seconds)
    yield GaugeMetricFamily("tensortap_idle_seconds", "Since the loop last turned.", value=numbers.idle_seconds)
    engine = HistogramMetricFamily("tensortap_engine_seconds", "From the start of a batch to its tensors.", labels=())
    engine.add_metric([], _buckets(numbers.engine), numbers.engine.sum_seconds)
    yield engine
    given = CounterMetricFamily("tensortap_output_frames", "Results that an output was given.", labels=("output",))
    lost = CounterMetricFamily(
        "tensortap_output_dropped", "Of these, lost because the output was too slow.", labels=("output",)
    )
    failed = GaugeMetricFamily("tensortap_output_failed", "1 for an output that has failed.", labels=("output",))
    for output in numbers.outputs:
        given.add_metric([output.name], output.frames)
        lost.add_metric([output.name], output.dropped)
        failed.add_metric([output.name], float(output.error is not None))
    yield from (given, lost, failed)


def _page(numbers: Numbers, pictures: Mapping[int, tuple[int, int]]) -> Iterable[Metric]:
    label_names = ("source_id", "source")
    made = CounterMetricFamily("tensortap_page_pictures", "Pictures made for the browser page.", labels=label_names)
    passed = CounterMetricFamily(
        "tensortap_page_passed_over", "Results that came too fast to be shown while somebody watched.", labels=label_names
    )
    for stream in numbers.streams:
        num_made, num_passed = pictures.get(stream.status.source_id, (0, 0))
        made.add_metric(_labels(stream), num_made)
        passed.add_metric(_labels(stream), num_passed)
    yield from (made, passed)


def _labels(stream: StreamNumbers) -> list[str]:
    return [str(stream.status.source_id), stream.status.name]


def _buckets(distribution: Distribution) -> list[tuple[str, float]]:
    buckets = distribution.buckets or ((math.inf, 0),)
    return [("+Inf" if math.isinf(bound) else repr(bound), total) for bound, total in buckets]
