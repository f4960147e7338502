"""nvinferserver's configuration: protobuf's text format, as far as tensors and letterboxes depend on it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tensortap.errors import UsageError
from tensortap.nvinfer.config import NvinferConfig

_TOKEN = re.compile(r"""\s+|\#[^\n]*|(?P<token>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[\w.+-]+|[{}<>\[\]:,;])""")
_FULL_FRAME, _OBJECTS = "PROCESS_MODE_FULL_FRAME", "PROCESS_MODE_CLIP_OBJECTS"
Message = Mapping[str, list[Any]]
"""Name of a field -> its values, each a string or a message."""


def read_inferserver(path: Path, *, gives_tensors: bool = True) -> NvinferConfig:
    """What the file says, in the terms of nvinfer's. The size of the network input is Triton's, not in it.

    Names of fields: `nvdsinferserver_config.proto` and `nvdsinferserver_plugin.proto` of the SDK.

    Args:
        gives_tensors: whether it must.

    Raises:
        UsageError: it cannot be read, is no such file, or would give no tensors.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path} cannot be read: {exc}") from exc
    root = _message(_tokens(text, path), path, "")
    infer = _inner(root, "infer_config")
    if not infer:
        raise UsageError(
            f"{path} is no file of nvinferserver: it has no infer_config. With -g nvinfer it may be one of nvinfer's."
        )
    control = _inner(root, "input_control")
    has_tensors = _last(_inner(root, "output_control"), "output_tensor_meta", "false") in ("true", "1")
    if gives_tensors and not has_tensors:
        raise UsageError(f"{path}: nvinferserver hands out no tensors. Add output_control {{ output_tensor_meta: true }}.")
    mode = _last(control, "process_mode", _FULL_FRAME)
    if mode not in (_FULL_FRAME, _OBJECTS):
        raise UsageError(f"{path}: process_mode: {mode} should be {_FULL_FRAME} or {_OBJECTS}.")
    preprocess = _inner(infer, "preprocess")
    config = NvinferConfig(path, network_type=100, output_tensor_meta=has_tensors)
    config.unique_id = _number(infer, "unique_id", 0, path)
    config.batch_size = max(1, _number(infer, "max_batch_size", 1, path))
    config.interval = _number(control, "interval", 0, path)
    config.process_mode = 1 if mode == _FULL_FRAME else 2
    config.operate_on_gie_id = _number(control, "operate_on_gie_id", -1, path)
    config.maintain_aspect_ratio = _last(preprocess, "maintain_aspect_ratio", "0") in ("1", "true")
    config.symmetric_padding = _last(preprocess, "symmetric_padding", "0") in ("1", "true")
    config.scaling_filter = _number(preprocess, "frame_scaling_filter", 0, path)
    return config


def _tokens(text: str, path: Path) -> Iterator[str]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if not found:
            line = text.count("\n", 0, at) + 1
            raise UsageError(
                f"{path}, line {line}: {text[at]!r} cannot be understood; nvinferserver's files are protobuf's text format."
            )
        at = found.end()
        if found["token"] and found["token"] not in (",", ";"):
            yield found["token"]


def _message(tokens: Iterator[str], path: Path, end: str) -> Message:
    fields: dict[str, list[Any]] = {}
    for name in tokens:
        if name == end:
            return fields
        values = fields.setdefault(name, [])
        token = next(tokens, "")
        if token == ":":
            token = next(tokens, "")
        if token == "[":
            while (token := next(tokens, "")) not in ("]", ""):
                values.append(_value(token, tokens, path))
        else:
            values.append(_value(token, tokens, path))
        if not token:
            break
    else:
        if not end:
            return fields
    raise UsageError(f"{path} ends in the middle of a message; nvinferserver's files are protobuf's text format.")


def _value(token: str, tokens: Iterator[str], path: Path) -> Any:
    if token in ("{", "<"):
        return _message(tokens, path, {"{": "}", "<": ">"}[token])
    return token.strip("\"'")


def _inner(message: Message, name: str) -> Message:
    """A message in a message; empty where there is none."""
    found = [value for value in message.get(name, []) if not isinstance(value, str)]
    return found[-1] if found else {}


def _last(message: Message, name: str, default: str) -> str:
    found = [value for value in message.get(name, []) if isinstance(value, str)]
    return found[-1] if found else default


def _number(message: Message, name: str, default: int, path: Path) -> int:
    text = _last(message, name, str(default))
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{path}: {name}: {text} should be a whole number.") from None
