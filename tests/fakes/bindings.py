"""Both bindings by one name, for tests that hold for either."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fakes import pyds, sdk, servicemaker
from tensortap.deepstream.metadata import BatchMeta
from tensortap.deepstream.tap_pyds import PydsTap
from tensortap.deepstream.tap_servicemaker import ServiceMakerTap


@dataclass(frozen=True)
class Binding:
    """One binding on top of the played SDK."""

    name: str
    tap: Any

    def batch(self, buffer: sdk.Buffer) -> BatchMeta | None:
        """The batch as the probe gets it."""
        return self.tap.batch(buffer if self.name == "pyds" else servicemaker.Buffer(buffer))

    @contextmanager
    def probe(self, buffer: sdk.Buffer) -> Iterator[BatchMeta]:
        """A probe on one buffer, which goes when the probe is over."""
        batch = self.batch(buffer)
        assert batch is not None
        yield batch
        buffer.release()


def make(name: str) -> Binding:
    if name == "pyds":
        return Binding(name, PydsTap(pyds, unmap_pixels=pyds.machine.is_jetson))
    return Binding(name, ServiceMakerTap(servicemaker.osd, copy_to_host=servicemaker.copy_to_host))
