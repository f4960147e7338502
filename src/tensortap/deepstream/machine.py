"""What this machine has of DeepStream: platform, Python bindings, and what runs a graph with them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType

from tensortap.deepstream.build import HasElement
from tensortap.deepstream.gstreamer import GstDriver, load_gst
from tensortap.deepstream.platforms import PLATFORMS, Platform, detect
from tensortap.deepstream.runtime import Driver, Tap
from tensortap.deepstream.servicemaker import ServiceMakerDriver
from tensortap.deepstream.tap_pyds import PydsTap
from tensortap.deepstream.tap_servicemaker import ServiceMakerTap
from tensortap.errors import MissingDependencyError

INSTALL = {
    "pyds": "pyds (DeepStream 6.0 to 8.0): a wheel for each version is among the releases of "
    "NVIDIA-AI-IOT/deepstream_python_apps",
    "pyservicemaker": "pyservicemaker (DeepStream 8.0 and later): pip install "
    "/opt/nvidia/deepstream/deepstream/service-maker/python/pyservicemaker*.whl",
}
"""Binding -> where it comes from."""
NEEDS = {
    "pyds": (
        "NvDsFrameMeta.cast",
        "NvDsInferTensorMeta.cast",
        "NvDsMetaType.NVDSINFER_TENSOR_OUTPUT_META",
        "NvDsObjectMeta.cast",
        "NvDsUserMeta.cast",
        "get_nvds_LayerInfo",
        "get_nvds_buf_surface",
        "get_ptr",
        "gst_buffer_get_nvds_batch_meta",
        "nvds_acquire_display_meta_from_pool",
        "nvds_acquire_obj_meta_from_pool",
        "nvds_add_display_meta_to_frame",
        "nvds_add_obj_meta_to_frame",
    ),
    "pyservicemaker": ("BufferOperator", "Pipeline", "Probe", "osd.Circle", "osd.Color", "osd.FontFamily.Serif", "osd.Line"),
}
"""Binding -> what of it is used."""


@dataclass(frozen=True)
class Machine:
    """What runs a graph, and reads its buffers."""

    platform: Platform
    binding: str
    """`pyds` or `pyservicemaker`."""
    driver: Driver
    tap: Tap
    has_element: HasElement


def platform_of(name: str) -> Platform:
    """The platform of that name, or this machine's for `auto`."""
    return detect() if name == "auto" else PLATFORMS[name]


def find_machine(platform: Platform, binding: str, environment: Mapping[str, str], redact: Callable[[str], str]) -> Machine:
    """The bindings that are asked for, or with `auto` those that are installed; pyds first, which tell more.

    Args:
        environment: set before GStreamer loads its plugins.
        redact: takes credentials out of what elements say.

    Raises:
        MissingDependencyError: none is installed, or something that they need.
    """
    reasons = []
    for name in INSTALL if binding == "auto" else [binding]:
        make = _with_pyds if name == "pyds" else _with_servicemaker
        try:
            return make(importlib.import_module(name), platform, environment, redact)
        except (ImportError, OSError, MissingDependencyError) as exc:  # a library of the SDK that is missing is an OSError
            reasons.append(f"{name}: {exc}")
    wanted = "; or ".join(INSTALL.values() if binding == "auto" else [INSTALL[binding]])
    raise MissingDependencyError(
        f"--runtime deepstream needs NVIDIA's DeepStream SDK and its Python bindings. Install {wanted}. A virtual environment "
        f"sees the system's with --system-site-packages. tensortap deepstream-check says what else is missing. "
        f"({'; '.join(reasons)})"
    )


def _with_pyds(pyds: ModuleType, platform: Platform, environment: Mapping[str, str], redact: Callable[[str], str]) -> Machine:
    driver = GstDriver(environment, redact)
    return Machine(platform, "pyds", driver, PydsTap(pyds, unmap_pixels=platform.unmap_pixels), driver.has_element)


def _with_servicemaker(
    servicemaker: ModuleType, platform: Platform, environment: Mapping[str, str], redact: Callable[[str], str]
) -> Machine:
    driver = ServiceMakerDriver(servicemaker, environment)
    return Machine(platform, "pyservicemaker", driver, ServiceMakerTap(servicemaker.osd), element_finder())


def element_finder() -> HasElement:
    """Whether GStreamer knows an element; where it cannot be asked, it is taken to."""
    try:
        gst = load_gst().Gst
    except MissingDependencyError:
        return lambda factory: True
    return lambda factory: gst.ElementFactory.find(factory) is not None
