"""The two adapters: the same batch is read the same, and what is put into it arrives, on either binding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fakes import pyds, sdk, servicemaker
from fakes.bindings import Binding, make
from tensortap.deepstream.dlpack import as_array
from tensortap.deepstream.metadata import Circle, Drawing, Line, NewObject, fitted, object_id_of, track_id_of
from tensortap.deepstream.tap_pyds import PydsTap
from tensortap.deepstream.tap_servicemaker import operator_of
from tensortap.errors import EngineError

PERSON = NewObject(1, 0, "person", 0.875, (10.5, 20.25, 110.5, 220.0), -1, "person 0.88")


def test_a_buffer_without_metadata(binding: Binding) -> None:
    assert binding.batch(sdk.Buffer(has_meta=False)) is None


def test_frames_are_told_apart_by_the_pad(binding: Binding) -> None:
    """Neither batch_id nor the place in the list says which input it is, and source ids may have gaps."""
    buffer = sdk.Buffer()
    for number, pad in enumerate((2, 0, 3)):
        buffer.add_frame(pad_index=pad, frame_num=10 + number, buf_pts=5_000_000, source_id=40 + pad, source_wh=(640, 480))
    with binding.probe(buffer) as batch:
        seen = [(frame.pad_index, frame.frame_number, frame.pts_ns, frame.source_wh) for frame in batch.frames()]
    assert seen == [(2, 10, 5_000_000, (640, 480)), (0, 11, 5_000_000, (640, 480)), (3, 12, 5_000_000, (640, 480))]


def test_the_surface_is_told_by_one_binding_only() -> None:
    for name, expected in (("pyds", None), ("pyservicemaker", (1920, 1080))):
        buffer = sdk.Buffer()
        buffer.add_frame(source_wh=(640, 480), surface_wh=(1920, 1080))
        with make(name).probe(buffer) as batch:
            assert next(iter(batch.frames())).surface_wh == expected
    buffer = sdk.Buffer()
    buffer.add_frame().surface_wh = (0, 0)  # a copied buffer
    with make("pyservicemaker").probe(buffer) as batch:
        assert next(iter(batch.frames())).surface_wh is None


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "int32", "int64", "uint8"])
@pytest.mark.parametrize("shape", [(), (7,), (56, 84), (3, 20, 20, 57)])
def test_every_type_and_shape(binding: Binding, dtype: str, shape: tuple[int, ...]) -> None:
    values = (np.arange(3 * int(np.prod(shape)), dtype=np.float64) % 120).astype(dtype).reshape(3, *shape)
    buffer = sdk.Buffer()
    frames = [buffer.add_frame(pad_index=number) for number in range(3)]
    buffer.add_tensors({"out": values}, [(frame, None) for frame in frames])
    with binding.probe(buffer) as batch:
        for number, frame in enumerate(batch.frames()):
            [tensors] = frame.tensors(1)
            assert tensors.layers["out"].dtype == dtype
            assert tensors.layers["out"].shape == shape
            # The pointer is this frame's own; advancing it by the batch would give a neighbour's.
            np.testing.assert_array_equal(tensors.layers["out"], values[number])


def test_tensors_are_lent(binding: Binding) -> None:
    buffer = sdk.Buffer()
    frame = buffer.add_frame()
    buffer.add_tensors({"out": np.ones((1, 4), np.float32)}, [(frame, None)])
    with binding.probe(buffer) as batch:
        [tensors] = next(iter(batch.frames())).tensors(1)
        lent = tensors.layers["out"]
        copied = lent.copy()
        assert not lent.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            lent[0] = 2
    assert copied.tolist() == [1, 1, 1, 1]
    assert lent[0] != 1  # the pool's memory belongs to a later batch now


def test_several_inferences_and_metadata_of_others(binding: Binding) -> None:
    buffer = sdk.Buffer()
    frame = buffer.add_frame()
    frame.add_user_meta(sdk.UserMeta(sdk.USER_META, sdk.Batch()))
    # Somebody else's, which a cast that checks nothing would take for tensors of inference 1.
    frame.add_user_meta(sdk.UserMeta(sdk.USER_META, sdk.TensorMeta(1, [], (8, 8), buffer=buffer)))
    buffer.add_tensors({"a": np.full((1, 2), 1, np.float32)}, [(frame, None)], unique_id=1)
    frame.add_user_meta(sdk.UserMeta(sdk.SEGMENTATION, sdk.Batch()))
    buffer.add_tensors({"b": np.full((1, 2), 2, np.float32), "c": np.zeros((1, 3), np.int32)}, [(frame, None)], unique_id=7)
    with binding.probe(buffer) as batch:
        meta = next(iter(batch.frames()))
        for unique_id, names in ((1, ["a"]), (7, ["b", "c"]), (2, None)):
            found = list(meta.tensors(unique_id))
            assert [sorted(each.layers) for each in found] == ([names] if names else [])


def test_tensors_of_objects(binding: Binding) -> None:
    buffer = sdk.Buffer()
    frame = buffer.add_frame()
    objects = [frame.add_object(sdk.detection((10 * n, 0, 10 * n + 8, 30), object_id=n)) for n in range(3)]
    buffer.add_tensors({"crop": np.arange(3, dtype=np.float32).reshape(3, 1)}, [(frame, each) for each in objects], unique_id=2)
    with binding.probe(buffer) as batch:
        [meta] = batch.frames()
        assert list(meta.tensors(2)) == []
        seen = {each.track_id: [float(t.layers["crop"][0]) for t in each.tensors(2)] for each in meta.objects()}
    assert seen == {0: [0.0], 1: [1.0], 2: [2.0]}


def test_the_network_input_is_told_by_one_binding_only() -> None:
    for name, expected in (("pyds", (640, 384)), ("pyservicemaker", None)):
        buffer = sdk.Buffer()
        frame = buffer.add_frame()
        buffer.add_tensors({"out": np.zeros((1, 2), np.float32)}, [(frame, None)], network_wh=(640, 384))
        with make(name).probe(buffer) as batch:
            [tensors] = next(iter(batch.frames())).tensors(1)
            assert tensors.network_wh == expected


def broken_layer(**changes: object) -> sdk.Buffer:
    buffer = sdk.Buffer()
    frame = buffer.add_frame()
    buffer.add_tensors({"out": np.zeros((1, 2, 3), np.float32)}, [(frame, None)])
    for name, value in changes.items():
        setattr(frame.user_meta[0].data.layers[0], name, value)
    return buffer


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"number": 9}, r"'out' has the data type 9; known are \[0, 1, 2, 3, 4, 5\]"),
        ({"num_elements": 7}, r"'out' is said to be \(2, 3\) and to have 7 elements"),
        ({"pointer": 0}, "'out' has no memory on the host. Is disable-output-host-copy=1"),
    ],
)
def test_layers_that_cannot_be_read(changes: dict[str, object], message: str) -> None:
    with make("pyds").probe(broken_layer(**changes)) as batch, pytest.raises(EngineError, match=message):
        list(next(iter(batch.frames())).tensors(1))


def test_an_object_that_is_attached(binding: Binding) -> None:
    buffer = sdk.Buffer()
    frame = buffer.add_frame()
    with binding.probe(buffer) as batch:
        meta = next(iter(batch.frames()))
        meta.mark_inferred()
        meta.add_object(PERSON)
    [found] = frame.objects
    assert frame.num_obj_meta == 1
    assert (found.unique_component_id, found.class_id, found.confidence) == (1, 0, 0.875)
    assert found.object_id == sdk.UNTRACKED
    assert found.label_text == "person"
    assert found.label[len("person")] == 0
    assert found.rect.xyxy == (10.5, 20.25, 110.5, 220.0)
    assert (found.text.display_text, found.text.x_offset, found.text.y_offset) == ("person 0.88", 10, 0)
    if binding.name == "pyds":
        assert found.detector.xyxy == found.rect.xyxy  # what the identity is known again by
        assert frame.infer_done  # nvtracker ends tracks by it


def test_an_object_that_is_named_already(binding: Binding) -> None:
    buffer = sdk.Buffer()
    frame = buffer.add_frame()
    with binding.probe(buffer) as batch:
        meta = next(iter(batch.frames()))
        meta.add_object(NewObject(1, 0, "person", 0.5, (0, 0, 5, 5), 12, "person #12"))
        [seen] = meta.objects()
        assert (seen.component_id, seen.class_id, seen.confidence, seen.track_id) == (1, 0, 0.5, 12)
        assert seen.box_xyxy == (0, 0, 5, 5)
        seen.name(13, "person #13")
    assert frame.objects[0].object_id == 13
    assert frame.objects[0].text.display_text == "person #13"


@pytest.mark.parametrize("label", ["x" * 500, "ü" * 100, "人" * 43, "a\0b", "", "x" * 127])
def test_labels_of_any_length(binding: Binding, label: str) -> None:
    buffer = sdk.Buffer()
    frame = buffer.add_frame()
    with binding.probe(buffer) as batch:
        meta = next(iter(batch.frames()))
        meta.add_object(NewObject(1, 0, label, 0.5, (0, 0, 5, 5), -1, label))
        assert [list(each.tensors(1)) for each in meta.objects()] == [[]]  # the lists behind the label are whole
    expected = label.replace("\0", "")
    found = frame.objects[0].label_text
    assert expected.startswith(found)
    assert len(found.encode()) <= 127
    assert len(expected.encode()) <= 127 or len(found.encode()) > 123


def test_a_label_ends_where_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyds's setter leaves what stood behind: here the label of somebody who had the object before."""
    fresh = pyds.nvds_acquire_obj_meta_from_pool

    def used(batch: pyds.NvDsBatchMeta) -> pyds.NvDsObjectMeta:
        meta = fresh(batch)
        meta.obj_label = "a longer label"
        return meta

    monkeypatch.setattr(pyds, "nvds_acquire_obj_meta_from_pool", used)
    buffer = sdk.Buffer()
    frame = buffer.add_frame()
    with make("pyds").probe(buffer) as batch:
        next(iter(batch.frames())).add_object(PERSON)
    assert frame.objects[0].label_text == "person"


def test_drawings(binding: Binding) -> None:
    red = (1.0, 0.0, 0.0, 1.0)
    lines = tuple(Line(n, n + 1, n + 2, n + 3, 2, red) for n in range(16))
    circles = tuple(Circle(n, 2 * n, 3, red) for n in range(15))
    buffer = sdk.Buffer()
    frame = buffer.add_frame()
    with binding.probe(buffer) as batch:
        meta = next(iter(batch.frames()))
        meta.add_drawing(Drawing(lines, circles))
        meta.add_drawing(Drawing(lines[:1], ()))
    drawn_lines, drawn_circles = frame.drawn
    assert [(line.x1, line.y1, line.x2, line.y2, line.width) for line in drawn_lines] == [
        (n, n + 1, n + 2, n + 3, 2) for n in (*range(16), 0)
    ]
    assert [(circle.xc, circle.yc, circle.radius) for circle in drawn_circles] == [(n, 2 * n, 3) for n in range(15)]
    assert all(each.color == red for each in itertools.chain(drawn_lines, drawn_circles))


IMAGE = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)


@pytest.mark.parametrize("layout", ["RGBA", "RGB"])
def test_pixels_are_copied_as_bgr(binding: Binding, layout: str) -> None:
    buffer = sdk.Buffer(surfaces=[sdk.Surface(255 - IMAGE, layout), sdk.Surface(IMAGE, layout)])
    buffer.add_frame(pad_index=1)
    buffer.add_frame(pad_index=0)
    with binding.probe(buffer) as batch:
        first, second = (frame.bgr() for frame in batch.frames())
    np.testing.assert_array_equal(first, 255 - IMAGE)  # and not what the surface holds by now
    np.testing.assert_array_equal(second, IMAGE)


def test_pixels_of_jetson_are_unmapped() -> None:
    pyds.machine.is_jetson = True
    buffer = sdk.Buffer(surfaces=[sdk.Surface(IMAGE)] * 2, memory_type=0)
    buffer.add_frame()
    buffer.add_frame(pad_index=1)
    with make("pyds").probe(buffer) as batch:
        frames = list(batch.frames())
        np.testing.assert_array_equal(frames[1].bgr(), IMAGE)
    assert buffer.unmapped == [1]
    assert buffer.mapped == {1: 0}


def test_pyds_before_unmapping_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    pyds.machine.is_jetson = True
    monkeypatch.delattr(pyds, "unmap_nvds_buf_surface")
    buffer = sdk.Buffer(surfaces=[sdk.Surface(IMAGE)], memory_type=0)
    buffer.add_frame()
    batch = PydsTap(pyds, unmap_pixels=True).batch(buffer)
    assert batch is not None
    np.testing.assert_array_equal(next(batch.frames()).bgr(), IMAGE)


def test_pixels_in_a_layout_that_cannot_be_read() -> None:
    buffer = sdk.Buffer(surfaces=[sdk.Surface(IMAGE, "NV12")])
    buffer.add_frame()
    with make("pyds").probe(buffer) as batch, pytest.raises(EngineError, match="It should be RGBA: run with --pixels"):
        next(iter(batch.frames())).bgr()


@pytest.mark.parametrize("device", [1, 2, 3, 13])
def test_tensors_on_every_device(device: int) -> None:
    """Memory that the CPU reads is lent; memory of the GPU comes by a copy."""
    servicemaker.settings.device = device
    buffer = sdk.Buffer(surfaces=[sdk.Surface(IMAGE)])
    frame = buffer.add_frame()
    buffer.add_tensors({"out": np.arange(6, dtype=np.float16).reshape(1, 2, 3)}, [(frame, None)])
    with make("pyservicemaker").probe(buffer) as batch:
        meta = next(iter(batch.frames()))
        [tensors] = meta.tensors(1)
        np.testing.assert_array_equal(tensors.layers["out"], [[0, 1, 2], [3, 4, 5]])
        assert not tensors.layers["out"].flags.writeable
        np.testing.assert_array_equal(meta.bgr(), IMAGE)


def test_devices_and_types_that_are_not_known() -> None:
    values = np.zeros(4, np.float32)
    tensor = servicemaker.Tensor(values.ctypes.data, (4,), "float32", device=7)
    with pytest.raises(EngineError, match="neither CPU nor CUDA: DLPack's type 7"):
        as_array(tensor, "out")
    tensor = servicemaker.Tensor(values.ctypes.data, (4,), "float32")
    tensor._managed.dtype.code = 4  # bfloat16
    with pytest.raises(EngineError, match="'out' has a data type that NumPy lacks: DLPack's code 4 with 32 bits"):
        as_array(tensor, "out")


def test_dlpack_of_numpy_itself() -> None:
    """A producer that is not ours: strides, and capsules that release what they hold."""
    values = np.arange(24, dtype=np.int32).reshape(4, 6)
    array = as_array(values[1:, ::2], "out")
    np.testing.assert_array_equal(array, [[6, 8, 10], [12, 14, 16], [18, 20, 22]])
    values[1, 0] = 99
    assert array[0, 0] == 99  # lent
    tensor = servicemaker.Tensor(values.ctypes.data, (2, 3), "int32", strides=(6, 1))
    tensor._managed.byte_offset = 4 * 6 * 2  # two rows
    np.testing.assert_array_equal(as_array(tensor, "out"), [[12, 13, 14], [18, 19, 20]])
    held = as_array(np.arange(5, dtype=np.uint8), "out")
    np.testing.assert_array_equal(held, range(5))  # though nobody else holds it


def test_operators_let_every_buffer_pass() -> None:
    seen = []
    operator = operator_of(servicemaker.BufferOperator, lambda buffer: seen.append(buffer.batch_size))
    buffer = sdk.Buffer()
    buffer.add_frame()
    assert servicemaker.run_operator(operator, buffer) is True
    assert seen == [1]


def test_a_pyservicemaker_that_binds_texts_otherwise(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delattr(servicemaker._Text, "font_params")
    buffer = sdk.Buffer()
    frame = buffer.add_frame()
    with make("pyservicemaker").probe(buffer) as batch:
        for meta in batch.frames():
            meta.add_object(PERSON)
            meta.add_object(PERSON)
    assert len(frame.objects) == 2
    assert [record.message.partition(" (")[0] for record in caplog.records] == ["This pyservicemaker takes no text at objects"]


def test_ids() -> None:
    assert track_id_of(sdk.UNTRACKED) == -1
    assert track_id_of(5) == 5
    assert track_id_of(1 << 63 | 5) == 5  # int64 has no room for more
    assert object_id_of(-1) == sdk.UNTRACKED
    assert object_id_of(5) == 5


def test_text_that_fits() -> None:
    assert fitted("äöü", 3) == "ä"
    assert fitted("a\0b", 9) == "ab"
    assert fitted("\udcff", 9) == "?"
