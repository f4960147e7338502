"""The rules of docs/architecture.md that a reader relies on: which file may import which, and what `import tensortap` costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tensortap
from tensortap import registry

PACKAGE = Path(tensortap.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# Folder or file -> what it may import of ours, itself included.
CORE = {"batches", "errors", "geometry", "skeletons", "text", "types"}
ALLOWED = {
    "errors": set(),
    "cache": set(),
    "apart": {"errors"},
    "tuned": {"cache", "portable"},
    "tune": CORE | {"apart", "pipeline", "portable", "quantize", "tune", "tuned"},
    "batches": set(),
    "text": set(),
    "skeletons": set(),
    "geometry": set(),
    "types": {"geometry", "skeletons"},  # for annotations only
    "loading": {"errors"},
    "taps": {"errors", "types"},
    "registry": {"errors"},
    "timing": set(),
    "statistics": set(),
    "metrics": {"types"},
    "decode": CORE | {"decode"},
    "track": CORE | {"track"},
    "sinks": CORE | {"sinks", "registry", "tracing"},
    "tracing": {"sinks", "timing", "types"},
    "scenes": CORE | {"scenes"},
    "recording": CORE | {"_version", "recording", "sinks", "timing"},
    "portable": CORE | {"cache", "metrics", "portable", "recording", "registry", "scenes", "timing", "tracing"},
    "nvinfer": {"errors", "nvinfer"},
    "deepstream": CORE | {"deepstream"},
    "config": {"errors", "geometry", "nvinfer", "registry", "text"},
    "config_file": {"config", "errors", "text"},
    "evaluation": CORE,
    "plot": CORE | {"decode", "sinks"},
    "outputs": {"errors", "timing", "types"},
    "pipeline": CORE
    | {"metrics", "outputs", "timing", "taps", "tracing", "assemble", "config"},  # assemble and config inside functions
    "inspection": CORE | {"decode", "plot", "statistics"},
    "control": CORE | {"inspection", "metrics", "pipeline", "taps"},
    "web": {"control", "errors", "inspection", "metrics", "text", "types", "web"},
    "zoo": {"cache", "errors", "text", "zoo"},
    "assemble": CORE
    | {
        "assemble_deepstream",
        "assemble_engine",
        "config",
        "decode",
        "deepstream",
        "loading",
        "output_paths",
        "outputs",
        "pipeline",
        "portable",
        "reading",
        "recording",
        "registry",
        "scenes",
        "sinks",
        "taps",
        "timing",
        "zoo",
    },
    "assemble_deepstream": CORE
    | {"config", "decode", "deepstream", "nvinfer", "output_paths", "portable", "reading", "recording", "registry", "sinks"},
    "deepstream_check": CORE | {"_version", "deepstream", "nvinfer", "pipeline"},
    "reading": CORE | {"config", "decode", "loading", "pipeline", "portable", "recording", "registry", "taps"},
    "assemble_engine": CORE | {"config", "loading", "portable", "reading", "registry", "tuned"},
    "selftest": CORE | {"assemble", "assemble_engine", "config", "pipeline", "portable", "reading", "taps"},
    "output_paths": {"errors", "portable", "sinks"},
    "quantize": CORE | {"pipeline", "portable", "quantize"},
    "bench": CORE | {"apart", "bench", "pipeline", "portable"},
    "cli": CORE
    | {
        "__version__",
        "assemble_deepstream",
        "bench",
        "cli",
        "config",
        "config_file",
        "control",
        "decode",
        "deepstream",
        "deepstream_check",
        "evaluation",
        "metrics",
        "nvinfer",
        "pipeline",
        "plot",
        "portable",
        "quantize",
        "reading",
        "registry",
        "scenes",
        "selftest",
        "sinks",
        "statistics",
        "taps",
        "tracing",
        "tune",
        "tuned",
        "zoo",
    },
    "__init__": CORE | {"_version", "pipeline"},
    "__main__": {"cli"},
    "_version": set(),
}


def imports_of(path: Path) -> set[str]:
    """First parts of the tensortap modules that a file imports: `tensortap.sinks.video` -> `sinks`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they lead"
            names = [f"tensortap.{alias.name}" for alias in node.names] if node.module == "tensortap" else [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("tensortap.")}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert imports_of(path) <= ALLOWED[part], f"{path.name} imports more than it may"


def test_only_the_ends_know_assemble() -> None:
    knowing = {path.relative_to(PACKAGE).as_posix() for path in FILES if "assemble" in imports_of(path)}
    assert {name for name in knowing if not name.startswith("cli/")} <= {"pipeline.py", "selftest.py"}


@pytest.mark.parametrize("module", ["tensortap", "tensortap.zoo"])
def test_import_tensortap_is_light(module: str) -> None:
    code = f"import sys, {module}; print(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    heavy = {
        "array_api_compat",
        "cv2",
        "cupy",
        "tensorrt",
        "torch",
        "av",
        "onnx",
        "onnxruntime",
        "openvino",
        "scipy",
        "gi",
        "pyds",
        "pydantic",
        "typer",
        "rich",
        "orjson",
        "starlette",
        "uvicorn",
    }
    assert loaded & heavy == set()


def test_the_deepstream_runtime_can_be_imported_without_the_sdk() -> None:
    modules = [f"tensortap.deepstream.{path.stem}" for path in (PACKAGE / "deepstream").glob("[!_]*.py")]
    assert len(modules) > 10
    modules += ["tensortap.assemble_deepstream", "tensortap.deepstream_check"]
    code = f"import sys; sys.modules |= dict.fromkeys(['pyds', 'pyservicemaker', 'gi']); import {', '.join(modules)}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(entry, id=name)
        for table in (registry.DECODERS, registry.ENGINES, registry.SINKS, registry.SOURCES, registry.TRACKERS)
        for name, entry in table.items()
    ],
)
def test_every_registered_name_points_at_a_class(entry: registry.Entry) -> None:
    module, _, attribute = entry.target.partition(":")
    path = PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")
    classes = {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)}
    assert attribute in classes


def test_every_registered_name_is_documented() -> None:
    docs = PACKAGE.parents[1] / "docs"
    if not docs.is_dir():
        pytest.skip("the documentation is not beside an installed package")
    text = "\n".join(path.read_text() for path in docs.glob("*.md"))
    for table in (registry.DECODERS, registry.ENGINES, registry.SINKS, registry.SOURCES, registry.TRACKERS):
        for name in table:
            assert f"`{name}`" in text, f"{name} is not mentioned in docs/"
