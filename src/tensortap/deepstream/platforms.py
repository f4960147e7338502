"""What differs between the machines that DeepStream runs on: one row for each."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Values of `nvbuf-memory-type`: NvBufSurfaceMemType of nvbufsurface.h.
DEFAULT_MEMORY, CUDA_PINNED, CUDA_DEVICE, CUDA_UNIFIED, SURFACE_ARRAY = 0, 1, 2, 3, 4


@dataclass(frozen=True)
class Platform:
    """One kind of machine."""

    name: str
    """Short name, as `--platform` takes it."""
    description: str
    """For people."""
    display_sink: str
    """Element that shows pictures on a screen."""
    pixel_memory: int
    """`nvbuf-memory-type` of surfaces that Python reads; the default memory of a discrete GPU cannot be read by the CPU."""
    file_loop_memory: int
    """`nvbuf-memory-type` of the mux where nvurisrcbin plays files over and over."""
    unmap_pixels: bool
    """Whether a surface that was mapped to be read must be unmapped again, by `pyds.unmap_nvds_buf_surface`."""
    encoder: Mapping[str, int] = field(default_factory=dict)
    """Properties of the hardware encoders that this machine needs besides bitrate and key frames."""


PLATFORMS = {
    "jetson": Platform(
        "jetson",
        "Jetson (Tegra, the GPU shares the memory)",
        display_sink="nv3dsink",
        pixel_memory=DEFAULT_MEMORY,  # a surface array, which the CPU can map
        file_loop_memory=SURFACE_ARRAY,
        unmap_pixels=True,
        encoder={"preset-level": 1, "insert-sps-pps": 1},
    ),
    "dgpu": Platform(
        "dgpu",
        "x86-64 with a discrete GPU",
        display_sink="nveglglessink",
        pixel_memory=CUDA_UNIFIED,
        file_loop_memory=CUDA_DEVICE,
        unmap_pixels=False,
    ),
    "sbsa": Platform(
        "sbsa",
        "Arm server with a discrete GPU",
        display_sink="nv3dsink",
        pixel_memory=CUDA_UNIFIED,
        file_loop_memory=CUDA_DEVICE,
        unmap_pixels=False,
    ),
    "wsl": Platform(
        "wsl",
        "Windows Subsystem for Linux with a discrete GPU",
        display_sink="nveglglessink",
        pixel_memory=CUDA_PINNED,  # unified memory cannot be read by the CPU there
        file_loop_memory=CUDA_DEVICE,
        unmap_pixels=False,
    ),
}


def detect(root: Path = Path("/"), machine: str | None = None) -> Platform:
    """The platform of this machine; x86-64 with a discrete GPU where nothing says otherwise.

    Args:
        root: where `/etc` and `/proc` are.
        machine: processor, as `uname -m` has it.
    """
    if (machine or platform.machine()) == "aarch64":
        is_tegra = (root / "etc/nv_tegra_release").exists() or "tegra" in _text(root / "proc/device-tree/compatible")
        return PLATFORMS["jetson" if is_tegra else "sbsa"]
    return PLATFORMS["wsl" if "microsoft" in _text(root / "proc/version") else "dgpu"]


def _text(path: Path) -> str:
    """A small file's text in lower case; empty where it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8", "replace").lower()
    except OSError:
        return ""
