"""A graph, run by GStreamer itself through PyGObject."""

from __future__ import annotations

import logging
import os
import re
import threading
import traceback
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from tensortap.deepstream.graph import Graph, Link, text_of, without_unknown
from tensortap.deepstream.rtsp import RtspServer
from tensortap.deepstream.runtime import Listener, OnBuffer, explained
from tensortap.errors import EngineError, MissingDependencyError

_log = logging.getLogger(__name__)
_EOS_SECONDS = 10.0
"""How long the outputs may take to be completed."""


def load_gst() -> SimpleNamespace:
    """GStreamer's modules, initialised: `Gst` and `GLib`.

    Raises:
        MissingDependencyError: PyGObject or GStreamer's description for it is missing.
    """
    try:
        import gi

        gi.require_version("Gst", "1.0")
        from gi.repository import GLib, Gst
    except (ImportError, ValueError) as exc:
        raise MissingDependencyError(
            "The DeepStream runtime needs GStreamer and PyGObject, which DeepStream's images bring: apt install python3-gi "
            f"gir1.2-gstreamer-1.0; a virtual environment sees them with --system-site-packages. ({exc})"
        ) from exc
    Gst.init(None)
    return SimpleNamespace(Gst=Gst, GLib=GLib)


class GstDriver:
    """Builds the graph from its description, element by element.

    Two threads besides GStreamer's: GLib's main loop, without which nvurisrcbin neither opens a camera again nor plays a file
    over and over, and, if there is one, the RTSP server's.

    Args:
        environment: set before GStreamer loads its plugins.
        redact: takes credentials out of what elements say.
    """

    name = "GStreamer"

    def __init__(self, environment: Mapping[str, str] | None = None, redact: Callable[[str], str] = str) -> None:
        os.environ.update(environment or {})
        self._redact = redact
        modules = load_gst()
        self._gst, self._glib = modules.Gst, modules.GLib
        self._pipeline: Any = None
        self._loop: Any = None
        self._thread: threading.Thread | None = None
        self._server: RtspServer | None = None
        self._ended = threading.Event()
        self._alive: set[int] = set()
        self._listener: Listener | None = None
        self._warned: set[tuple[str, str]] = set()
        self._changing = threading.Lock()
        """Held while states change: an input may fail while the graph still goes up."""

    def has_element(self, factory: str) -> bool:
        """Whether GStreamer knows an element."""
        return self._gst.ElementFactory.find(factory) is not None

    def has_property(self, factory: str, name: str) -> bool:
        """Whether an element of this kind has a property."""
        element = self._gst.ElementFactory.make(factory, None)
        return element is not None and element.find_property(name) is not None

    def start(self, graph: Graph, on_buffer: Mapping[str, OnBuffer], listener: Listener) -> None:
        """Build the graph and let it run."""
        graph, words = without_unknown(graph, self.has_property)
        for word in words:
            _log.info("%s", word)
        self._listener = listener
        self._pipeline = self._built(graph)
        for name, handle in on_buffer.items():
            pad = self._pipeline.get_by_name(name).get_static_pad("src")
            pad.add_probe(self._gst.PadProbeType.BUFFER, self._probe, handle)
        self._alive = {number for each in graph.elements if (number := _source_number(each.name)) is not None}
        if graph.rtsp:
            self._server = RtspServer(graph.rtsp)
        bus = self._pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self._message)
        self._loop = self._glib.MainLoop()
        self._thread = threading.Thread(target=self._loop.run, name="tensortap-glib", daemon=True)
        self._thread.start()
        with self._changing:
            self._pipeline.set_state(self._gst.State.PLAYING)  # what goes wrong comes by the bus, with its reason

    def stop(self) -> None:
        """End the streams, so that files are completed, and release everything."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            ran = self._thread is not None
            if ran and not self._ended.is_set():
                pipeline.send_event(self._gst.Event.new_eos())
                if not self._ended.wait(_EOS_SECONDS):
                    _log.warning("The graph did not come to its end in %.0f s; outputs may lack theirs.", _EOS_SECONDS)
            pipeline.set_state(self._gst.State.NULL)
            if ran:
                pipeline.get_bus().remove_signal_watch()
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._thread is not None:
            self._loop.quit()
            self._thread.join()
            self._thread = None

    def _probe(self, pad: Any, info: Any, handle: OnBuffer) -> Any:
        """Always lets the buffer pass: a probe that gives nothing, or raises, drops it without a word."""
        try:
            buffer = info.get_buffer()
            if buffer is not None:
                handle(buffer)
        except BaseException:  # whatever happened; handlers report what they raise by themselves
            # As text, for a record that held the traceback would hold the buffer.
            _log.error("A probe failed; its buffer goes on.\n%s", traceback.format_exc())
        return self._gst.PadProbeReturn.OK

    def _built(self, graph: Graph) -> Any:
        gst = self._gst
        pipeline = gst.Pipeline.new("tensortap")
        for element in graph.elements:
            made = gst.ElementFactory.make(element.factory, element.name)
            if made is None:
                raise EngineError(
                    f"There is no GStreamer element {element.factory!r} on this machine. Is DeepStream installed, and does "
                    f"gst-inspect-1.0 {element.factory} find it? tensortap deepstream-check says what is missing."
                )
            for name, value in element.properties.items():
                if made.find_property(name) is None:
                    raise EngineError(f"The element {element.factory} of this DeepStream has no property {name!r}.")
                gst.util_set_object_arg(made, name, text_of(value))
            pipeline.add(made)
        for link in graph.links:
            self._link(pipeline, link)
        return pipeline

    def _link(self, pipeline: Any, link: Link) -> None:
        source, sink = pipeline.get_by_name(link.source), pipeline.get_by_name(link.sink)
        sink_pad = link.sink_pad or None
        sometimes = self._gst.PadDirection.SRC, self._gst.PadPresence.SOMETIMES
        templates = source.get_factory().get_static_pad_templates()
        if any((each.direction, each.presence) == sometimes for each in templates):
            source.connect("pad-added", self._pad_added, sink, sink_pad)
        elif not source.link_pads(None, sink, sink_pad):
            raise EngineError(
                f"GStreamer cannot join {link.source} to {link.sink}: the one gives what the other does not take."
            )

    def _pad_added(self, source: Any, pad: Any, sink: Any, sink_pad: str | None) -> None:
        """A decoder has found what is in its stream; sound is left alone."""
        caps = pad.get_current_caps() or pad.query_caps(None)
        kind = caps.get_structure(0).get_name() if caps.get_size() else ""
        if pad.is_linked() or not (pad.get_name().startswith("vsrc") or kind.startswith("video")):
            return
        if not source.link_pads(pad.get_name(), sink, sink_pad):
            _log.warning("%s: %s cannot be joined to %s.", source.get_name(), pad.get_name(), sink.get_name())

    def _message(self, bus: Any, message: Any) -> None:
        """What elements tell, in GLib's thread, which would only print what is raised."""
        try:
            self._told(message)
        except Exception as exc:
            self._end(exc)

    def _told(self, message: Any) -> None:
        kinds = self._gst.MessageType
        if message.type == kinds.EOS:
            self._end(None)
        elif message.type == kinds.ERROR:
            error, debug = message.parse_error()
            self._failed(message.src, error.message, debug)
        elif message.type == kinds.WARNING:
            warning, _ = message.parse_warning()
            said = message.src.get_name(), warning.message
            if said not in self._warned:
                self._warned.add(said)
                _log.warning("%s: %s", said[0], self._redact(warning.message))

    def _failed(self, element: Any, text: str, debug: str | None) -> None:
        number, name = None, element.get_name()
        parent = element
        while parent is not None and number is None:
            number = _source_number(parent.get_name())
            parent = parent.get_parent()
        if number is None and (found := re.search(r":source-(\d+)/", debug or "")):
            number = int(found[1])  # the element has left its bin since
        if number is None:
            self._end(explained(name, self._redact(text), self._redact(debug or "")))
            return
        if number not in self._alive:
            return  # its last words
        self._alive.discard(number)
        assert self._listener is not None
        self._listener.source_failed(number, self._redact(text))
        if not self._alive:
            self._end(None)
            return
        with self._changing:
            self._leave_out(number)

    def _leave_out(self, number: int) -> None:
        """Go on without an input."""
        pipeline = self._pipeline
        if pipeline is None:
            return  # it is being stopped
        source = pipeline.get_by_name(f"source-{number}")
        never_up = pipeline.get_state(0)[0] == self._gst.StateChangeReturn.FAILURE
        if never_up:  # it has held up all others
            pipeline.set_state(self._gst.State.READY)
        source.set_locked_state(True)  # it stays down when the others go up
        source.set_state(self._gst.State.NULL)
        # The mux waits for streams that have begun and not ended; what never opened has no pad there.
        pad = pipeline.get_by_name("mux").get_static_pad(f"sink_{number}")
        if pad is not None:
            pad.send_event(self._gst.Event.new_eos())
        if never_up:
            pipeline.set_state(self._gst.State.PLAYING)

    def _end(self, error: Exception | None) -> None:
        self._ended.set()
        if self._listener is not None:
            self._listener.ended(error)


def _source_number(name: str) -> int | None:
    """`source-3` -> 3; `None` for anything else."""
    kind, _, number = name.partition("-")
    return int(number) if kind == "source" and number.isdigit() else None
