"""The files of a recording: bit for bit, whole up to the last chunk, and never believed blindly."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tensortap import FrameInfo, Pipeline, SinkError, SourceError, TensorFrame
from tensortap.geometry import LETTERBOX_POLICIES, letterbox
from tensortap.recording import reader, writer
from tensortap.recording.reader import Recording
from tensortap.recording.writer import RecordingSink
from tensortap.types import Frame

DOCS = Path(__file__).parents[3] / "docs" / "recording.md"


def tensor_frame(index: int, tensors: Mapping[str, np.ndarray], policy: str = "ultralytics", **info: Any) -> TensorFrame:
    told = {"source_id": 0, "source": "a.mp4", "index": index, "pts_ns": index * 40_000_000, "size_wh": (641, 359)} | info
    frame = FrameInfo(**told)
    return TensorFrame(Frame(frame, None), tensors, letterbox(policy, frame.size_wh, (640, 480)))


def write(path: Path, frames: list[TensorFrame], **arguments: Any) -> None:
    sink = RecordingSink(path, **arguments)
    for frame in frames:
        sink.write_tensors(frame)
    sink.close()


def read(path: Path) -> list[TensorFrame]:
    frames = list(Recording(path).frames())
    assert not [lost for lost in frames if isinstance(lost, int)]
    return [frame for frame in frames if isinstance(frame, TensorFrame)]


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


_TYPES = st.sampled_from(
    ["float16", "float32", "float64", "complex64", "bool"]
    + [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
)


@st.composite
def _tensors(draw: st.DrawFn) -> dict[str, np.ndarray]:
    names = draw(st.lists(st.text("abc/:.é", min_size=1, max_size=5), min_size=1, max_size=3, unique=True))
    shapes = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)
    # From bytes: every pattern of bits comes, NaNs with a payload too.
    made = {}
    for name in names:
        dtype, shape = np.dtype(draw(_TYPES)), draw(shapes)
        count = int(np.prod(shape, dtype=int)) * dtype.itemsize
        data = draw(st.binary(min_size=count, max_size=count))
        if dtype.kind == "b":
            data = bytes(byte & 1 for byte in data)
        made[name] = np.frombuffer(data, dtype).reshape(shape)
    return made


@settings(max_examples=60, deadline=None)
@given(
    frames=st.lists(st.one_of(_tensors(), st.just({})), max_size=6),
    policy=st.sampled_from(sorted(LETTERBOX_POLICIES)),
    repeat=st.integers(1, 3),
    compress=st.booleans(),
    chunk_frames=st.integers(1, 4),
)
def test_everything_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory,
    frames: list[dict[str, np.ndarray]],
    policy: str,
    repeat: int,
    compress: bool,
    chunk_frames: int,
) -> None:
    path = tmp_path_factory.mktemp("recording") / "a.tap"
    all_tensors = [tensors for tensors in frames for _ in range(repeat)]
    written = [tensor_frame(index, tensors, policy) for index, tensors in enumerate(all_tensors)]
    write(path, written, compress=compress, chunk_frames=chunk_frames)
    if not written:
        assert not path.exists()
        return
    found = read(path)
    assert [frame.info for frame in found] == [frame.info for frame in written]
    for one, other in zip(written, found, strict=True):
        assert list(one.tensors) == list(other.tensors)
        assert all(same(one.tensors[name], other.tensors[name]) for name in one.tensors)
        assert not any(array.flags.writeable for array in other.tensors.values())
        assert (one.letterbox, one.roi, one.inferred) == (other.letterbox, other.roi, other.inferred)
    assert Recording(path).complete


def test_what_can_be_packed_is_packed(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, 500_000, np.uint8)
    frame = tensor_frame(0, {"zeros": np.zeros(500_000, np.uint8), "noise": noise})
    write(tmp_path / "a.tap", [frame])
    write(tmp_path / "b.tap", [frame], compress=False)
    with zipfile.ZipFile(tmp_path / "a.tap" / "chunk-000000.npz") as archive:
        kinds = {member.filename: member.compress_type for member in archive.infolist()}
    assert kinds == {"zeros.npy": zipfile.ZIP_DEFLATED, "noise.npy": zipfile.ZIP_STORED}
    assert (tmp_path / "a.tap" / "chunk-000000.npz").stat().st_size < 510_000
    assert (tmp_path / "b.tap" / "chunk-000000.npz").stat().st_size > 1_000_000
    for name in "ab":
        assert same(read(tmp_path / f"{name}.tap")[0].tensors["noise"], noise)


def test_tensors_are_copied_when_they_are_handed_over(tmp_path: Path) -> None:
    borrowed = np.zeros((4, 4), np.float32)
    sink = RecordingSink(tmp_path / "a.tap")
    for index in range(3):
        borrowed[...] = index
        sink.write_tensors(tensor_frame(index, {"output0": borrowed.T}))
    borrowed[...] = 99
    sink.close()
    assert [frame.tensors["output0"].max() for frame in read(tmp_path / "a.tap")] == [0, 1, 2]


def test_types_that_numpy_has_no_name_for_are_refused(tmp_path: Path) -> None:
    sink = RecordingSink(tmp_path / "a.tap")
    with pytest.raises(SinkError, match="'output0' is object"):
        sink.write_tensors(tensor_frame(0, {"output0": np.array([None])}))
    sink.close()
    assert not (tmp_path / "a.tap").exists()


def test_what_was_there_stays_until_the_first_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.tap"
    write(path, [tensor_frame(index, {"a": np.ones(3)}) for index in range(9)], chunk_frames=2)
    RecordingSink(path).close()
    assert len(read(path)) == 9
    write(path, [tensor_frame(0, {"b": np.ones(3)})])
    assert [list(frame.tensors) for frame in read(path)] == [["b"]]
    assert sorted(entry.name for entry in path.iterdir()) == ["chunk-000000.npz", "frames.jsonl", "recording.json"]


def test_other_peoples_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos.tap").mkdir()
    (tmp_path / "photos.tap" / "chunk-000000.npz").write_bytes(b"mine")
    with pytest.raises(SinkError, match="holds other things than a recording"):
        RecordingSink(tmp_path / "photos.tap")
    (tmp_path / "file.tap").write_bytes(b"mine")
    with pytest.raises(SinkError, match="a recording is a folder, and this is a file"):
        RecordingSink(tmp_path / "file.tap")
    with pytest.raises(SinkError, match="Create its folder first"):
        RecordingSink(tmp_path / "gone" / "a.tap")
    assert (tmp_path / "photos.tap" / "chunk-000000.npz").read_bytes() == b"mine"


# A limit on the size of files stands in for a full disk.
_LIMITED = """
import resource, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_recordings import tensor_frame
import numpy as np
from tensortap import SinkError
from tensortap.recording.writer import RecordingSink
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
sink = RecordingSink(Path(sys.argv[2]), compress=False, chunk_frames=4)
try:
    for index in range(5000):
        size = 1000 if index < 41 else 5000
        sink.write_tensors(tensor_frame(index, {"output0": np.full(size, index, np.float32)}))
    sink.close()
except SinkError as exc:
    print(exc)
try:
    sink.close()
except SinkError:
    pass
import threading
assert threading.active_count() == 1, threading.enumerate()
"""


@pytest.mark.skipif(os.name != "posix", reason="needs resource limits")
@pytest.mark.parametrize("limit", [18_000, 30_000])  # reached by a larger chunk; by the index
def test_a_full_disk_leaves_whole_chunks(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "a.tap"
    arguments = [sys.executable, "-c", _LIMITED, str(Path(__file__).parent), str(path), str(limit)]
    run = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=120)
    assert re.search(r"a\.tap.* cannot be written: File too large", run.stdout)
    frames = read(path)
    assert len(frames) >= 20
    assert len(frames) % 4 == 0 or len(frames) == 41  # a change of shape ends a chunk
    for index, frame in enumerate(frames):
        assert frame.info.index == index
        assert (frame.tensors["output0"] == index).all()
    assert not Recording(path).complete
    assert not list(path.glob("*.part"))


def test_a_disk_that_is_full_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = RecordingSink(tmp_path / "a.tap", chunk_frames=2)
    for index in range(4):
        sink.write_tensors(tensor_frame(index, {"output0": np.full(3, index)}))
    replace_, calls = os.replace, []

    def full(source: Any, target: Any) -> None:
        calls.append(target)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace_(source, target)

    monkeypatch.setattr(os, "replace", full)

    def go_on() -> None:
        for index in range(4, 400):
            sink.write_tensors(tensor_frame(index, {"output0": np.full(3, index)}))
        sink.close()

    with pytest.raises(SinkError, match=r"a.tap cannot be written: No space left on device. Free some space"):
        go_on()
    monkeypatch.undo()
    sink.close()
    with pytest.raises(SinkError, match="closed"):
        sink.write_tensors(tensor_frame(0, {}))
    assert not list((tmp_path / "a.tap").glob("*.part"))
    frames = read(tmp_path / "a.tap") if (tmp_path / "a.tap" / "recording.json").exists() else []
    assert [frame.info.index for frame in frames] == list(range(len(frames)))


@pytest.mark.skipif(not DOCS.is_file(), reason="the documentation is not beside an installed package")
def test_as_the_documentation_says_with_numpy_alone(tmp_path: Path) -> None:
    """Both programs of docs/recording.md, where tensortap cannot be imported; and the recording that one of them writes."""
    read_it, write_it = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    frames = [
        tensor_frame(index, {"output0": np.full((3, 2), index, np.float16), "count": np.array(index)} if index % 3 else {})
        for index in range(10)
    ]
    write(tmp_path / "street.tap", frames, chunk_frames=4)
    alone = "import sys\nsys.modules['tensortap'] = None\n"
    run = subprocess.run([sys.executable, "-c", alone + read_it], cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = run.stdout.splitlines()
    assert len(lines) == 6
    assert lines[0] == "a.mp4 1 {'output0': ((3, 2), dtype('float16')), 'count': ((), dtype('int64'))}"
    subprocess.run([sys.executable, "-c", alone + write_it], cwd=tmp_path, check=True)
    pipeline = Pipeline(tmp_path / "mine.tap")
    assert pipeline.parts.head is not None
    assert pipeline.parts.head.decoder == "yolo-pose"
    results = list(pipeline)
    assert [result.info.index for result in results] == list(range(30))
    assert pipeline.streams[0].name == "camera"
    mapped = frames[1].letterbox.points_to_source(np.array([[320.0, 240.0]], np.float32))
    told = json.loads((tmp_path / "street.tap" / "frames.jsonl").read_text().splitlines()[1])["letterbox"]
    for axis, length in ((0, "x"), (1, "y")):
        low, high = told["crop_xyxy"][axis], told["crop_xyxy"][axis + 2]
        value = ((320, 240)[axis] - told["offset_xy"][axis]) * (high - low) / told["resized_wh"][axis] + low
        assert abs(value - mapped[0, axis]) < 1e-3, length


def test_arrays_as_others_write_them(tmp_path: Path) -> None:
    """Columns first, the bytes the other way round, packed by NumPy: the same numbers in this machine's own types."""
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    write(tmp_path / "a.tap", [tensor_frame(index, {"output0": values[index]}) for index in range(2)])
    for made in (values.astype(">f4"), np.asfortranarray(values)):
        np.savez_compressed(tmp_path / "a.tap" / "chunk-000000.npz", output0=made)
        for index, frame in enumerate(read(tmp_path / "a.tap")):
            found = frame.tensors["output0"]
            assert found.dtype == np.float32
            assert found.dtype.isnative
            assert not found.flags.writeable
            np.testing.assert_array_equal(found, values[index])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(
        tmp_path / "a.tap",
        [tensor_frame(index, {"output0": np.full((5, 6), index, np.float32)}) for index in range(8)],
        chunk_frames=3,
        about={"streams": [{"source_id": 0, "name": "a.mp4"}]},
    )
    return tmp_path / "a.tap"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("recording.json", b"{", "recording.json is damaged, it is no JSON"),
        ("recording.json", b"[" * 100_000, "recording.json is damaged, it is no JSON"),
        ("recording.json", b"{}", "no recording of tensortap: its recording.json does not say"),
        ("recording.json", None, "it holds no recording.json"),
        ("recording.json", {"version": 2, "tensortap": "9.1"}, "version 2 of the format, written by tensortap 9.1.*Update"),
        ("recording.json", {"version": "1"}, "its version is '1'"),
        ("recording.json", {"version": 1, "streams": [{"name": "a"}]}, "describes a stream"),
        ("recording.json", {"version": 1, "streams": 5}, "describes a stream"),
        ("frames.jsonl", b"{}\n", "line 1 of frames.jsonl is no frame"),
        ("frames.jsonl", b"[]\n", "line 1 of frames.jsonl is no JSON object"),
        ("frames.jsonl", b"no\n{}\n", "line 1 of frames.jsonl is no JSON"),
        ("frames.jsonl", b'{"source_id": Infinity, "source": ""}\n', "line 1 of frames.jsonl is no frame"),
    ],
)
def test_damage_at_the_beginning_is_named(path: Path, file: str, content: Any, message: str) -> None:
    if content is None:
        (path / file).unlink()
    else:
        told = content if isinstance(content, bytes) else json.dumps({"format": "tensortap.recording", **content}).encode()
        (path / file).write_bytes(told)
    with pytest.raises(SourceError, match=message):
        Recording(path)


@pytest.mark.parametrize(
    "change",
    [
        {"index": "x"},
        {"size_wh": 5},
        {"letterbox": None},
        {"chunk": "x"},
        {"chunk": float("inf")},
        {"row": None},
        {"roi": [1, 2]},
        {"pts_ns": float("nan")},
    ],
)
def test_damage_further_on_is_named(path: Path, change: dict[str, Any]) -> None:
    lines = (path / "frames.jsonl").read_text().splitlines()
    lines[4] = json.dumps(json.loads(lines[4]) | change)
    (path / "frames.jsonl").write_text("\n".join(lines) + "\n")
    frames = Recording(path).frames()
    assert [next(frames).info.index for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(SourceError, match="describes a frame in a way that cannot be understood"):
        next(frames)


def test_a_letterbox_keeps_its_numbers_small(path: Path) -> None:
    lines = (path / "frames.jsonl").read_text().splitlines()
    line = json.loads(lines[0])
    line["letterbox"]["resized_wh"] = [0, 10]
    (path / "frames.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(SourceError, match="the letterbox is empty"):
        next(Recording(path).frames())


class _Explodes:
    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


def test_nothing_is_unpickled_and_nothing_explodes(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(path / "chunk-000001.npz", output0=np.array([_Explodes()] * 3, object))
    assert [frame if isinstance(frame, int) else "read" for frame in Recording(path).frames()] == ["read"] * 3 + [0] * 3 + [
        "read"
    ] * 2
    assert not Path("exploded").exists()
    assert "chunk-000001.npz cannot be read and is left out: it holds a list of objects" in caplog.text
    monkeypatch.setattr(reader, "_MAX_CHUNK_BYTES", 1000)
    np.savez_compressed(path / "chunk-000000.npz", output0=np.zeros((3, 100_000)))
    assert [frame for frame in Recording(path).frames() if isinstance(frame, int)] == [0] * 6
    assert "says that it unpacks to more than" in caplog.text


@pytest.mark.parametrize("stack", [np.zeros(()), np.zeros((1, 5, 6))])
def test_a_chunk_with_too_little_in_it_costs_its_frames(path: Path, stack: np.ndarray) -> None:
    np.savez(path / "chunk-000001.npz", output0=stack)
    lost = [frame for frame in Recording(path).frames() if isinstance(frame, int)]
    assert len(lost) == (3 if not stack.ndim else 2)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_is_damaged_is_said_and_never_crashes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    path = folder / "a.tap"
    if not folder.exists():
        folder.mkdir()
        frames = [tensor_frame(index, {"output0": np.full((5, 6), index, np.float32)}) for index in range(8)]
        write(folder / "whole", frames, chunk_frames=3)
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(folder / "whole", path)
    file = path / data.draw(st.sampled_from(["recording.json", "frames.jsonl", "chunk-000000.npz", "chunk-000002.npz"]))
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert"]))
        if kind == "flip":
            content[place] ^= data.draw(st.integers(1, 255))
        elif kind == "cut":
            content = content[: place + 1]
        else:
            content[place:place] = data.draw(st.binary(max_size=20))
    file.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "_MAX_CHUNK_BYTES", 1 << 24)
        try:
            for frame in Recording(path).frames():
                if isinstance(frame, TensorFrame) and file.suffix == ".npz":
                    # A checksum guards every tensor: what is read is what was written.
                    assert frame.tensors["output0"].tobytes() == np.full((5, 6), frame.info.index, np.float32).tobytes()
        except SourceError:
            pass


def test_live_streams_are_not_kept_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk hangs, frames of a live stream push out the oldest; those of a file would wait."""
    go_on, replace_ = threading.Event(), os.replace

    def hang(source: Any, target: Any) -> None:
        go_on.wait(60)
        replace_(source, target)

    monkeypatch.setattr(os, "replace", hang)
    sink = RecordingSink(tmp_path / "a.tap", chunk_frames=2)
    for index in range(100):
        sink.write_tensors(tensor_frame(index, {"output0": np.full(3, index)}, is_live=True, capture_ns=index + 1))
    assert sink.dropped >= 80
    go_on.set()
    sink.close()
    frames = read(tmp_path / "a.tap")
    assert len(frames) == 100 - sink.dropped
    assert frames[-1].info.index == 99
    for frame in frames:
        assert (frame.tensors["output0"] == frame.info.index).all()
        assert (frame.info.capture_ns, frame.info.is_live) == (frame.info.index + 1, False)


def test_a_disk_that_hangs_does_not_hang_a_live_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, replace_ = threading.Event(), os.replace
    monkeypatch.setattr(os, "replace", lambda source, target: (go_on.wait(60), replace_(source, target)))
    monkeypatch.setattr(writer, "_CLOSE_SECONDS", 0.05)
    sink = RecordingSink(tmp_path / "a.tap")
    sink.write_tensors(tensor_frame(0, {"output0": np.zeros(3)}, is_live=True))
    with pytest.raises(SinkError, match="does not take what is left for it within"):
        sink.close()
    go_on.set()
    monkeypatch.undo()
    for thread in threading.enumerate():
        if "tensortap" in thread.name:
            thread.join(60)
    assert len(read(tmp_path / "a.tap")) == 1
