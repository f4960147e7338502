"""The played SDK does what is known of NVIDIA's: every trap that the runtime must not fall into is there to fall into.

Where a fact was read or observed is said in docs/deepstream.md.
"""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from fakes import pyds, sdk, servicemaker
from fakes.sdk import Segfault


def one_frame(outputs: dict[str, np.ndarray] | None = None) -> tuple[sdk.Buffer, sdk.Frame]:
    buffer = sdk.Buffer()
    frame = buffer.add_frame()
    buffer.add_tensors(outputs or {"output0": np.arange(12, dtype=np.float32).reshape(1, 3, 4)}, [(frame, None)])
    return buffer, frame


def frame_view(buffer: sdk.Buffer) -> pyds.NvDsFrameMeta:
    return pyds.NvDsFrameMeta.cast(pyds.gst_buffer_get_nvds_batch_meta(hash(buffer)).frame_meta_list.data)


def tensor_meta(buffer: sdk.Buffer) -> pyds.NvDsInferTensorMeta:
    user_meta = pyds.NvDsUserMeta.cast(frame_view(buffer).frame_user_meta_list.data)
    return pyds.NvDsInferTensorMeta.cast(user_meta.user_meta_data)


class TestLists:
    def test_batch_metadata_by_the_hash_of_the_buffer(self) -> None:
        assert pyds.gst_buffer_get_nvds_batch_meta(hash(sdk.Buffer(has_meta=False))) is None
        with pytest.raises(TypeError):
            pyds.gst_buffer_get_nvds_batch_meta(sdk.Buffer())

    def test_data_is_a_capsule_and_the_end_is_none(self) -> None:
        buffer, _ = one_frame()
        node = pyds.gst_buffer_get_nvds_batch_meta(hash(buffer)).frame_meta_list
        assert type(node.data).__name__ == "PyCapsule"
        assert node.next is None
        with pytest.raises(TypeError):
            iter(node)

    def test_casts_are_unchecked(self) -> None:
        buffer, frame = one_frame()
        node = pyds.gst_buffer_get_nvds_batch_meta(hash(buffer)).frame_meta_list
        assert pyds.NvDsFrameMeta.cast(frame.address).pad_index == 0
        assert pyds.NvDsFrameMeta.cast(None) is None
        assert pyds.NvDsFrameMeta.cast(node).pad_index == 0x6B6B6B6B  # the node instead of its data
        assert pyds.NvDsObjectMeta.cast(node.data).class_id == 0x6B6B6B6B

    def test_objects_drawings_and_user_metadata_come_newest_first(self) -> None:
        buffer, frame = one_frame()
        view, batch = frame_view(buffer), pyds.gst_buffer_get_nvds_batch_meta(hash(buffer))
        for class_id in range(3):
            made = pyds.nvds_acquire_obj_meta_from_pool(batch)
            made.class_id = class_id
            pyds.nvds_add_obj_meta_to_frame(view, made, None)
        node, seen = view.obj_meta_list, []
        while node is not None:
            seen.append(pyds.NvDsObjectMeta.cast(node.data).class_id)
            node = node.next
        assert seen == [2, 1, 0]
        assert view.num_obj_meta == 3
        with pytest.raises(TypeError):
            pyds.nvds_add_obj_meta_to_frame(view, made)  # the parent must be said
        frame.add_user_meta(sdk.UserMeta(sdk.USER_META, sdk.Batch()))
        assert pyds.NvDsUserMeta.cast(view.frame_user_meta_list.data).base_meta.meta_type != (
            pyds.NvDsMetaType.NVDSINFER_TENSOR_OUTPUT_META
        )

    def test_frames_come_in_order(self) -> None:
        buffer = sdk.Buffer()
        for pad in (3, 1, 2):
            buffer.add_frame(pad_index=pad)
        node, pads = pyds.gst_buffer_get_nvds_batch_meta(hash(buffer)).frame_meta_list, []
        while node is not None:
            pads.append(pyds.NvDsFrameMeta.cast(node.data).pad_index)
            node = node.next
        assert pads == [3, 1, 2]

    def test_what_is_not_bound(self) -> None:
        buffer, _ = one_frame()
        for name in ("pipeline_width", "pipeline_height"):
            with pytest.raises(AttributeError):
                getattr(frame_view(buffer), name)
        for name in ("maintain_aspect_ratio", "symmetric_padding"):
            with pytest.raises(AttributeError):
                getattr(tensor_meta(buffer), name)


class TestTensors:
    def test_the_layer_has_a_pointer_only_by_the_function(self) -> None:
        buffer, _ = one_frame()
        meta = tensor_meta(buffer)
        assert meta.output_layers_info(0).buffer is None
        address = pyds.get_ptr(pyds.get_nvds_LayerInfo(meta, 0).buffer)
        assert ctypes.c_float.from_address(address + 4 * 5).value == 5.0
        with pytest.raises(Segfault):
            pyds.get_nvds_LayerInfo(meta, 1)  # not checked

    def test_the_pointer_is_that_of_the_frame_already(self) -> None:
        buffer = sdk.Buffer()
        frames = [buffer.add_frame(pad_index=number) for number in range(3)]
        buffer.add_tensors({"a": np.array([[1.0], [2.0], [3.0]], np.float32)}, [(frame, None) for frame in frames])
        node, values = pyds.gst_buffer_get_nvds_batch_meta(hash(buffer)).frame_meta_list, []
        while node is not None:
            user_meta = pyds.NvDsUserMeta.cast(pyds.NvDsFrameMeta.cast(node.data).frame_user_meta_list.data)
            layer = pyds.get_nvds_LayerInfo(pyds.NvDsInferTensorMeta.cast(user_meta.user_meta_data), 0)
            values.append(ctypes.c_float.from_address(pyds.get_ptr(layer.buffer)).value)
            node = node.next
        assert values == [1.0, 2.0, 3.0]

    def test_dimensions_have_eight_numbers_of_which_the_first_count(self) -> None:
        buffer, _ = one_frame()
        dims = pyds.get_nvds_LayerInfo(tensor_meta(buffer), 0).inferDims
        assert dims.numDims == 2
        assert len(dims.d) == 8
        assert dims.d[2] != 0
        assert list(dims.d[: dims.numDims]) == [3, 4]

    @pytest.mark.parametrize(("dtype", "number", "name"), [("int64", 4, "???"), ("uint8", 5, "???"), ("float16", 1, "HALF")])
    def test_types_without_a_name_have_their_number(self, dtype: str, number: int, name: str) -> None:
        buffer, _ = one_frame({"a": np.zeros((1, 2), dtype)})
        data_type = pyds.get_nvds_LayerInfo(tensor_meta(buffer), 0).dataType
        assert int(data_type) == number
        assert name in repr(data_type)
        assert data_type != pyds.NvDsInferDataType.FLOAT

    def test_a_kept_view_holds_something_else_after_the_probe(self) -> None:
        buffer, _ = one_frame()
        layer = pyds.get_nvds_LayerInfo(tensor_meta(buffer), 0)
        memory = (ctypes.c_uint8 * 48).from_address(pyds.get_ptr(layer.buffer))
        kept = np.frombuffer(memory, np.float32)
        assert kept[5] == 5.0
        buffer.release()
        assert kept[5] != 5.0
        with pytest.raises(Segfault):
            _ = layer.layerName


class TestFields:
    def test_a_fresh_object_is_not_untracked(self) -> None:
        buffer, _ = one_frame()
        made = pyds.nvds_acquire_obj_meta_from_pool(pyds.gst_buffer_get_nvds_batch_meta(hash(buffer)))
        assert made.object_id == 0
        with pytest.raises(TypeError):
            made.object_id = -1
        made.object_id = sdk.UNTRACKED
        assert made.object_id == 0xFFFFFFFFFFFFFFFF

    def test_labels_are_neither_ended_nor_measured(self) -> None:
        buffer, _ = one_frame()
        view = frame_view(buffer)
        made = pyds.nvds_acquire_obj_meta_from_pool(pyds.gst_buffer_get_nvds_batch_meta(hash(buffer)))
        made.obj_label = "abcdef"
        made.obj_label = "xy"
        assert made.obj_label == "xycdef"
        made.obj_label = "xy\0"
        assert made.obj_label == "xy"
        pyds.nvds_add_obj_meta_to_frame(view, made, None)
        assert made.obj_user_meta_list is None
        made.obj_label = "x" * 200
        with pytest.raises(Segfault):
            _ = made.obj_user_meta_list

    @pytest.mark.parametrize("value", [-1, 3.0, np.float64(3)])
    def test_coordinates_of_drawings_are_unsigned_integers(self, value: object) -> None:
        buffer, _ = one_frame()
        display = pyds.nvds_acquire_display_meta_from_pool(pyds.gst_buffer_get_nvds_batch_meta(hash(buffer)))
        for params, name in (
            (display.line_params[0], "x1"),
            (display.circle_params[0], "xc"),
            (display.text_params[0], "x_offset"),
        ):
            with pytest.raises(TypeError):
                setattr(params, name, value)
        line = servicemaker.osd.Line()
        with pytest.raises(TypeError):
            line.x1 = value

    def test_single_precision_is_cut_off_without_a_word(self) -> None:
        buffer, _ = one_frame()
        display = pyds.nvds_acquire_display_meta_from_pool(pyds.gst_buffer_get_nvds_batch_meta(hash(buffer)))
        display.line_params[0].x1 = np.float32(3.9)
        assert display.line_params[0].x1 == 3

    def test_sixteen_of_each_and_counts_that_nobody_checks(self) -> None:
        buffer, frame = one_frame()
        display = pyds.nvds_acquire_display_meta_from_pool(pyds.gst_buffer_get_nvds_batch_meta(hash(buffer)))
        with pytest.raises(IndexError):
            _ = display.line_params[16]
        display.num_lines = 99
        pyds.nvds_add_display_meta_to_frame(frame_view(buffer), display)
        with pytest.raises(Segfault):
            _ = frame.drawn

    def test_strings_are_read_as_addresses(self) -> None:
        buffer, _ = one_frame()
        made = pyds.nvds_acquire_obj_meta_from_pool(pyds.gst_buffer_get_nvds_batch_meta(hash(buffer)))
        made.text_params.display_text = "männlich"
        assert isinstance(made.text_params.display_text, int)
        assert pyds.get_string(made.text_params.display_text) == "männlich"
        assert pyds.get_string(0) is None
        with pytest.raises(TypeError):
            made.text_params.display_text = None

    def test_unknown_fields_are_refused(self) -> None:
        buffer, _ = one_frame()
        made = pyds.nvds_acquire_obj_meta_from_pool(pyds.gst_buffer_get_nvds_batch_meta(hash(buffer)))
        with pytest.raises(AttributeError):
            made.rect_params.rotation_angle = 1.0
        with pytest.raises(AttributeError):
            frame_view(buffer).frame_num = 3


class TestSurfaces:
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)

    def test_the_view_has_the_pitch_of_the_surface_and_writes_through(self) -> None:
        buffer = sdk.Buffer(surfaces=[sdk.Surface(self.image)])
        view = pyds.get_nvds_buf_surface(hash(buffer), 0)
        assert view.shape == (4, 6, 4)
        assert view.strides[0] > 6 * 4
        np.testing.assert_array_equal(view[..., 2::-1], self.image)
        view[0, 0] = 9
        assert pyds.get_nvds_buf_surface(hash(buffer), 0)[0, 0, 0] == 9

    def test_what_cannot_be_read(self) -> None:
        with pytest.raises(RuntimeError, match="RGBA"):
            pyds.get_nvds_buf_surface(hash(sdk.Buffer(surfaces=[sdk.Surface(self.image, "NV12")])), 0)
        with pytest.raises(Segfault):
            pyds.get_nvds_buf_surface(hash(sdk.Buffer()), 0)
        with pytest.raises(Segfault):
            pyds.get_nvds_buf_surface(hash(sdk.Buffer(surfaces=[sdk.Surface(self.image)], memory_type=2)), 0)

    def test_jetson_maps_and_wants_to_be_told_when_to_unmap(self) -> None:
        pyds.machine.is_jetson = True
        buffer = sdk.Buffer(surfaces=[sdk.Surface(self.image)], memory_type=0)
        pyds.get_nvds_buf_surface(hash(buffer), 0)
        assert buffer.mapped[0] == 1
        pyds.unmap_nvds_buf_surface(hash(buffer), 0)
        pyds.unmap_nvds_buf_surface(hash(buffer), 0)
        assert buffer.unmapped == [0]


class TestServiceMaker:
    def test_lists_can_be_gone_through_once(self) -> None:
        buffer, _ = one_frame()
        items = servicemaker.Buffer(buffer).batch_meta.frame_items
        with pytest.raises(TypeError):
            len(items)
        assert len(list(items)) == 1
        assert list(items) == []

    def test_tensors_are_dlpack_and_the_stream_must_be_said(self) -> None:
        buffer, _ = one_frame()
        frame = next(servicemaker.Buffer(buffer).batch_meta.frame_items)
        tensor = next(frame.tensor_items).as_tensor_output().get_layers()["output0"]
        assert tensor.__dlpack_device__() == (1, 0)
        with pytest.raises(TypeError):
            tensor.__dlpack__()
        assert type(tensor.__dlpack__(None)).__name__ == "PyCapsule"

    def test_an_exception_ends_the_process_and_false_drops_the_buffer(self) -> None:
        class Operator(servicemaker.BufferOperator):
            def handle_buffer(self, buffer: servicemaker.Buffer) -> bool:
                if buffer.batch_size > 1:
                    raise ValueError("two")
                return False

        assert servicemaker.run_operator(Operator(), one_frame()[0]) is False
        two = one_frame()[0]
        two.add_frame()
        with pytest.raises(Segfault, match="left a callback"):
            servicemaker.run_operator(Operator(), two)

    def test_a_constructor_that_does_not_call_the_base(self) -> None:
        class Operator(servicemaker.BufferOperator):
            def __init__(self) -> None:
                pass

        with pytest.raises(Segfault):
            servicemaker.run_operator(Operator(), one_frame()[0])

    def test_the_seventeenth_line_is_not_drawn(self) -> None:
        buffer, _ = one_frame()
        display = servicemaker.Buffer(buffer).batch_meta.acquire_display_meta()
        line = servicemaker.osd.Line()
        assert [display.add_line(line) for _ in range(17)] == [True] * 16 + [False]
        assert display.n_lines == 16
