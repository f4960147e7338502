"""`tensortap doctor`: what this machine has, what is missing and how to get it."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from importlib import metadata
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tensortap import __version__
from tensortap.cli.console import EXIT_FAILURE, DebugOption, JsonOption, print_json
from tensortap.cli.selftest import self_test
from tensortap.errors import PluginError, UsageError
from tensortap.portable.engines.cpu import cpu_features, cpu_name
from tensortap.portable.engines.gpu import find_gpu, nvidia_gpu_here
from tensortap.portable.quiet_openvino import import_openvino
from tensortap.portable.threads import Mode, batches_at_once, decoding_threads, usable_cores, writing_threads
from tensortap.registry import (
    AUTO_ENGINES,
    ENGINES,
    GPU_ENGINES,
    PLUGIN_KINDS,
    TRACKERS,
    WEB,
    Entry,
    hidden_plugins,
    load_plugin,
    missing_modules,
    package_of,
    plugins,
)

# Package -> what it is imported as. Engines are looked at on their own.
_PACKAGES = {
    "av": "av",
    "numpy": "numpy",
    "onnx": "onnx",
    "orjson": "orjson",
    "pydantic": "pydantic",
    "pyyaml": "yaml",
    "rich": "rich",
    "scipy": "scipy.optimize",
    "typer": "typer",
    "opencv-python-headless": "cv2",
}
_OPENCV_BUILDS = ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")


def doctor(
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Self-test: whether this model gives the same in every slot, batch and engine."),
    ] = None,
    picture: Annotated[
        str | None, typer.Option("--input", "-i", help="With --model: the picture, or a video's first; drawn if there is none.")
    ] = None,
    engine: Annotated[str, typer.Option(help="With --model: auto for all, or one of them.")] = "auto",
    precision: Annotated[str, typer.Option(help="With --model: auto for f32 and each engine's own, or one of them.")] = "auto",
    batch_size: Annotated[
        int, typer.Option("--batch-size", "--batch", min=1, max=64, help="With --model: batches up to this size.")
    ] = 4,
    imgsz: Annotated[str | None, typer.Option(help="With --model: network input of a dynamic model.")] = None,
    decoder: Annotated[str, typer.Option(help="With --model: auto, a decoder's name, or your own: my.py:decode.")] = "auto",
    kpt_shape: Annotated[str | None, typer.Option(help="With --model: keypoints and values of each, 17x3.")] = None,
    conf_thres: Annotated[float, typer.Option(help="With --model: compare people with a score above it.")] = 0.25,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show versions, engines and CPU features, what is missing and how to get it; with --model, put one picture into every
    slot of every batch size, through every engine, and compare. Exit code 1: tensortap cannot run, or something differs."""
    if model is not None:
        self_test(
            picture,
            batch_size,
            as_json,
            model=model,
            engine=engine,
            precision=precision,
            imgsz=imgsz,
            decoder=decoder,
            kpt_shape=kpt_shape,
            conf_thres=conf_thres,
        )
        return
    if picture is not None:
        raise UsageError(f"-i {picture}: say which model to test, with --model.")
    report = _report()
    if as_json:
        print_json(report)
    else:
        _print(report)
    if not report["usable"]:
        raise typer.Exit(EXIT_FAILURE)


def _report() -> dict[str, Any]:
    builds = {build: version for build in _OPENCV_BUILDS if (version := _version(build))}
    engines = {name: _engine(name, entry) for name, entry in ENGINES.items()}
    usable = [name for name in AUTO_ENGINES if engines[name]["available"]]
    on_gpu = [name for name in GPU_ENGINES if engines[name]["available"]] if nvidia_gpu_here() else []
    broken = _broken_packages()
    added = _plugins()
    opencv: dict[str, str | None] = {**builds} if builds else {"opencv-python-headless": None}
    return {
        "tensortap": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "cpu": {"name": cpu_name(), "cores": os.cpu_count(), "usable_cores": usable_cores(), "features": cpu_features()},
        "packages": {name: _version(name) for name in _PACKAGES if name not in _OPENCV_BUILDS} | opencv,
        "ffmpeg": _ffmpeg(),
        "engines": engines,
        "auto_engine": next(iter([*on_gpu, *usable]), None),
        "nvidia_gpu": nvidia_gpu_here(),
        "threads": _threads(),
        "trackers": {
            name: {"available": not missing_modules(entry), "install": entry.install} for name, entry in TRACKERS.items()
        },
        "plugins": added,
        "web": {"available": not missing_modules(WEB), "install": WEB.install},
        "problems": [
            *broken,
            *_engine_problems(usable, on_gpu),
            *_opencv_problems(list(builds)),
            *(each["problem"] for each in added if each["problem"]),
            *(sentence for kind in PLUGIN_KINDS for sentence in hidden_plugins(kind)),
        ],
        "usable": bool(usable or on_gpu) and not broken,
    }


def _threads() -> dict[str, dict[str, str]]:
    """Who gets how many threads here, for the usual runs: what tensortap sets, not what libraries would choose."""
    cores = usable_cores()
    told: dict[str, dict[str, str]] = {}
    runs: dict[str, tuple[Mode, int | None]] = {
        "one camera": ("latency", None),
        "one file": ("throughput", 1),
        "16 files": ("throughput", 16),
    }
    for name, (mode, files) in runs.items():
        at_once = batches_at_once(mode, cores)
        told[name] = {
            "mode": mode,
            "openvino": f"{mode.upper()}, {cores} threads",
            "onnxruntime": f"{at_once} x {max(1, cores // at_once)} threads",
            "gpu": f"{writing_threads(mode, 0)} writers",
            "ffmpeg": f"{decoding_threads(files)} a file" if files else "1",
            "opencv": "1",
        }
    return told


def _plugins() -> list[dict[str, Any]]:
    """What installed packages add, and what is wrong with it."""
    added = []
    for kind in PLUGIN_KINDS:
        for name, point in plugins(kind).items():
            problem = None
            try:
                load_plugin(kind, name)
            except PluginError as exc:
                problem = str(exc)
            added.append({"kind": kind, "name": name, "package": package_of(point), "problem": problem})
    return added


def _broken_packages() -> list[str]:
    """What tensortap needs and cannot import, with the reason that the system gives."""
    problems = []
    for package, module in _PACKAGES.items():
        try:
            importlib.import_module(module)
        except Exception as exc:  # a broken native library may raise anything
            problems.append(f"{package} cannot be imported: {exc}. Try: pip install --force-reinstall {package}")
    return problems


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _ffmpeg() -> str | None:
    try:
        av = importlib.import_module("av")
        return str(av.ffmpeg_version_info)
    except (ImportError, AttributeError):
        return None


def _engine(name: str, entry: Entry) -> dict[str, Any]:
    """Whether an engine can be used and what it offers; a broken installation is told, not raised."""
    missing = missing_modules(entry)
    if missing:
        return {"available": False, "offers": [], "problem": f"not installed: {', '.join(missing)}", "install": entry.install}
    try:
        offers = _offers(name)
    except Exception as exc:  # whatever a broken native library raises belongs in the report
        return {"available": False, "offers": [], "problem": f"does not load: {exc}", "install": entry.install}
    return {"available": True, "offers": offers, "problem": None, "install": entry.install}


def _offers(name: str) -> list[str]:
    if name == "openvino":
        core = import_openvino().Core()
        return [
            f"{device}: {' '.join(core.get_property(device, 'OPTIMIZATION_CAPABILITIES'))}" for device in core.available_devices
        ]
    if name == "tensorrt":
        return [f"TensorRT {importlib.import_module('tensorrt').__version__} on {find_gpu().name}"]
    providers = importlib.import_module("onnxruntime").get_available_providers()
    wanted = "CUDAExecutionProvider" if name == "onnxruntime-cuda" else "CPUExecutionProvider"
    if wanted not in providers:
        raise RuntimeError(f"it has {', '.join(providers)} only")
    return [wanted]


def _engine_problems(usable: list[str], on_gpu: list[str]) -> list[str]:
    if nvidia_gpu_here() and not on_gpu:
        return [f"There is an NVIDIA GPU, and no engine for it. Try: {ENGINES[GPU_ENGINES[0]].install}"]
    if on_gpu:
        return []
    if not usable:
        return ["No inference engine is usable. Try: pip install openvino onnxruntime onnx"]
    if usable[0] != AUTO_ENGINES[0]:
        return [f"{AUTO_ENGINES[0]} is not usable; it is the fastest on a CPU. Try: pip install {AUTO_ENGINES[0]}"]
    return []


def _opencv_problems(builds: list[str]) -> list[str]:
    if len(builds) < 2:
        return []
    headless = _OPENCV_BUILDS[0]
    return [
        f"{' and '.join(builds)} are installed side by side and own the same files; either may break the other. "
        f"Keep the headless one: pip uninstall -y {' '.join(build for build in builds if build != headless)} && "
        f"pip install --force-reinstall --no-deps {headless}"
    ]


def _print(report: dict[str, Any]) -> None:
    console = Console(highlight=False)
    cpu = report["cpu"]
    console.print(f"[bold]tensortap {report['tensortap']}[/] on Python {report['python']}, {report['platform']}")
    console.print(
        f"{cpu['name']}, {cpu['usable_cores']} of {cpu['cores']} cores: {', '.join(cpu['features']) or 'no features known'}"
    )
    table = Table("package", "version", box=None, padding=(0, 2), header_style="dim")
    for name, version in report["packages"].items():
        table.add_row(name, version or "[yellow]missing[/]")
    table.add_row("FFmpeg in av", report["ffmpeg"] or "[yellow]unknown[/]")
    console.print(table)
    engines = Table("engine", "", "offers", box=None, padding=(0, 2), header_style="dim")
    for name, engine in report["engines"].items():
        auto = " (auto takes it)" if name == report["auto_engine"] else ""
        state = f"[green]available[/]{auto}" if engine["available"] else f"[yellow]{escape(engine['problem'])}[/]"
        engines.add_row(name, state, escape("; ".join(engine["offers"])) or f"[dim]{escape(engine['install'])}[/]")
    console.print(engines)
    threads = Table("threads", *next(iter(report["threads"].values())), box=None, padding=(0, 2), header_style="dim")
    for name, run in report["threads"].items():
        threads.add_row(name, *run.values())
    console.print(threads)
    trackers = Table("tracker", "", box=None, padding=(0, 2), header_style="dim")
    usable = [name for name, tracker in report["trackers"].items() if tracker["available"]]
    trackers.add_row(", ".join(usable), "[green]available[/]")
    for install in dict.fromkeys(tracker["install"] for tracker in report["trackers"].values() if not tracker["available"]):
        names = [name for name, tracker in report["trackers"].items() if tracker["install"] == install]
        trackers.add_row(", ".join(names), f"[dim]{escape(install)}[/]")
    console.print(trackers)
    if report["plugins"]:
        table = Table("plug-in", "", "package", box=None, padding=(0, 2), header_style="dim")
        for each in report["plugins"]:
            state = "[yellow]broken[/]" if each["problem"] else "[green]available[/]"
            table.add_row(f"{each['kind']} {escape(each['name'])}", state, escape(each["package"]))
        console.print(table)
    web = "[green]available[/]" if report["web"]["available"] else f"[dim]{escape(report['web']['install'])}[/]"
    console.print(f"  [dim]--web[/]  {web}")
    for problem in report["problems"]:
        console.print(f"[yellow]{escape(problem)}[/]")
    if not report["problems"]:
        console.print("[green]Nothing that tensortap needs is missing.[/]")
