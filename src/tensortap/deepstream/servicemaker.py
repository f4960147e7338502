"""A graph, run by pyservicemaker."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from typing import Any

from tensortap.deepstream.graph import Element, Graph
from tensortap.deepstream.rtsp import RtspServer
from tensortap.deepstream.runtime import Listener, OnBuffer
from tensortap.deepstream.tap_servicemaker import operator_of
from tensortap.errors import EngineError

_log = logging.getLogger(__name__)
_STOP_SECONDS = 10.0


class ServiceMakerDriver:
    """Builds the graph with pyservicemaker's pipeline, which brings its own main loop.

    Args:
        servicemaker: the module `pyservicemaker`.
        environment: set before GStreamer loads its plugins.
    """

    name = "pyservicemaker"

    def __init__(self, servicemaker: Any, environment: Mapping[str, str] | None = None) -> None:
        os.environ.update(environment or {})
        self._sm = servicemaker
        self._pipeline: Any = None
        self._thread: threading.Thread | None = None
        self._server: RtspServer | None = None
        self._operators: list[Any] = []

    def start(self, graph: Graph, on_buffer: Mapping[str, OnBuffer], listener: Listener) -> None:
        """Build the graph and let it run."""
        pipeline = self._sm.Pipeline("tensortap")
        for element in graph.elements:
            self._add(pipeline, element)
        forks = {link.source for link in graph.links if sum(each.source == link.source for each in graph.links) > 1}
        for link in graph.links:
            # Request pads are asked for by their template: a numbered one is not there yet. The mux counts them in this order.
            source_pad = "src_%u" if link.source in forks else ""
            sink_pad = "sink_%u" if link.sink_pad else ""
            if source_pad or sink_pad:
                pipeline.link((link.source, link.sink), (source_pad, sink_pad))
            else:
                pipeline.link(link.source, link.sink)
        for name, handle in on_buffer.items():
            operator = operator_of(self._sm.BufferOperator, handle)
            self._operators.append(operator)  # the probe does not hold it
            pipeline.attach(name, self._sm.Probe(f"tensortap-{name}", operator), tips="src")
        if graph.rtsp:
            self._server = RtspServer(graph.rtsp)
        self._pipeline = pipeline
        self._thread = threading.Thread(target=self._run, args=(pipeline, listener), name="tensortap-deepstream", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the pipeline and wait for it."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_STOP_SECONDS)
            if self._thread.is_alive():
                _log.warning("The graph did not stop in %.0f s; outputs may lack their end.", _STOP_SECONDS)
            self._thread = None
        if self._server is not None:
            self._server.close()
            self._server = None

    def _add(self, pipeline: Any, element: Element) -> None:
        known = {name: value for name, value in element.properties.items() if name not in element.optional}
        try:
            pipeline.add(element.factory, element.name, known)
        except Exception as exc:  # what a binding raises of C++ is not told
            raise EngineError(
                f"The element {element.factory} ({element.name}) cannot be made: {exc}. Is DeepStream complete? "
                "tensortap deepstream-check says what is missing."
            ) from exc
        for name in sorted(element.optional & element.properties.keys()):
            try:
                pipeline[element.name].set({name: element.properties[name]})
            except Exception as exc:  # this version lacks it
                _log.info("%s of this DeepStream does not take %s: %s. It is left out.", element.factory, name, exc)

    def _run(self, pipeline: Any, listener: Listener) -> None:
        error: Exception | None = None
        try:
            pipeline.start().wait()
        except Exception as exc:
            error = EngineError(f"DeepStream failed: {exc}")
            error.__cause__ = exc
        listener.ended(error)
