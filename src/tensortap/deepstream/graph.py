"""A GStreamer graph as a description: elements, properties and links, without GStreamer."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

Value = bool | int | float | str


@dataclass(frozen=True)
class Element:
    """One element."""

    factory: str
    """Which element it is, e.g. `nvinfer`."""
    name: str
    """Its name in the graph."""
    properties: Mapping[str, Value] = field(default_factory=dict)
    """What is set; everything else keeps the element's default."""
    optional: frozenset[str] = frozenset()
    """Those of the properties that some versions of DeepStream lack: they are left out there, with a word."""


@dataclass(frozen=True)
class Link:
    """From a pad of one element to a pad of another. A pad without a name is the only one, or the next that comes."""

    source: str
    sink: str
    sink_pad: str = ""


@dataclass(frozen=True)
class RtspMount:
    """Where an RTSP server hands on what the graph sends to a local UDP port."""

    port: int
    """Port of the server."""
    path: str
    """Path of the address, with its slash."""
    udp_port: int
    """Local port that the graph sends RTP packets to."""
    encoding: str
    """`H264` or `H265`."""
    host: str = "127.0.0.1"
    """Address that the server listens at; `0.0.0.0` for everybody."""
    user: str = ""
    """Empty: everybody may watch."""
    password: str = field(default="", repr=False)

    @property
    def address(self) -> str:
        """What a player opens on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"rtsp://{f'[{host}]' if ':' in host else host}:{self.port}{self.path}"


@dataclass(frozen=True)
class Graph:
    """Elements and links, and what belongs to them."""

    elements: tuple[Element, ...]
    links: tuple[Link, ...]
    tap: str
    """Element whose source pad carries the tensors."""
    join: str | None = None
    """Element whose source pad carries nvtracker's identities; `None` where there is no nvtracker after the tap."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What must be set before GStreamer loads its plugins."""
    rtsp: tuple[RtspMount, ...] = ()
    """What an RTSP server serves beside the graph."""
    is_live: bool = False
    """There is a camera among the inputs, which does not wait."""

    def __getitem__(self, name: str) -> Element:
        """An element by name. Raises KeyError."""
        for element in self.elements:
            if element.name == name:
                return element
        raise KeyError(name)

    @property
    def chains(self) -> list[list[str]]:
        """The names of the elements in stretches without a fork, in the order in which frames pass them."""
        following: dict[str, list[Link]] = {}
        preceding: dict[str, list[Link]] = {}
        for link in self.links:
            following.setdefault(link.source, []).append(link)
            preceding.setdefault(link.sink, []).append(link)
        chains = []
        for element in self.elements:
            before = preceding.get(element.name, [])
            if len(before) == 1 and len(following[before[0].source]) == 1 and not before[0].sink_pad:
                continue  # in the middle of a stretch
            chain = [element.name]
            while len(after := following.get(chain[-1], [])) == 1 and not after[0].sink_pad:
                chain.append(after[0].sink)
            chains.append(chain)
        return chains


def without_unknown(graph: Graph, has_property: Callable[[str, str], bool]) -> tuple[Graph, list[str]]:
    """The graph without the optional properties that this machine's elements lack, and a sentence on each of them.

    Args:
        has_property: from an element's factory and a property's name to whether it has it.
    """
    words = []
    elements = []
    for element in graph.elements:
        lacking = [
            name for name in sorted(element.optional & element.properties.keys()) if not has_property(element.factory, name)
        ]
        words += [
            f"{element.factory} of this DeepStream has no property {name}; {name}={element.properties[name]} is left out."
            for name in lacking
        ]
        kept = {name: value for name, value in element.properties.items() if name not in lacking}
        elements.append(replace(element, properties=kept))
    return replace(graph, elements=tuple(elements)), words


def text_of(value: Value) -> str:
    """A property's value as GStreamer reads it."""
    return str(int(value)) if isinstance(value, bool) else str(value)


def to_gst_launch(graph: Graph) -> str:
    """The graph as a command for a shell, `gst-launch-1.0 -e ...`: one line to it, broken at every element for people."""
    leaving = {link.source: link for link in graph.links if link.sink_pad}
    entered = {link.sink: link.source for link in graph.links if _forks(graph, link.source)}
    lines = [" ".join([*(f"{name}={shlex.quote(value)}" for name, value in graph.environment.items()), "gst-launch-1.0 -e"])]
    for chain in graph.chains:
        parts = [_part(graph[name]) for name in chain]
        if chain[0] in entered:
            parts.insert(0, f"{entered[chain[0]]}.")
        if chain[-1] in leaving:
            link = leaving[chain[-1]]
            parts[-1] += f" ! {link.sink}.{link.sink_pad}"
        lines.append(" \\\n    ! ".join(parts))
    return " \\\n  ".join(lines)


def _forks(graph: Graph, name: str) -> bool:
    return sum(link.source == name for link in graph.links) > 1


def _part(element: Element) -> str:
    words = [element.factory, f"name={element.name}"]
    words += [shlex.quote(f"{name}={text_of(value)}") for name, value in element.properties.items()]
    return " ".join(words)


def linked(names: Sequence[str]) -> list[Link]:
    """Links from each element to the next."""
    return [Link(source, sink) for source, sink in pairwise(names)]
