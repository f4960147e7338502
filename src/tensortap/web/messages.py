"""What the page is told: JSON, and bytes that hold JSON with pictures behind it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from tensortap.metrics import StreamNumbers
from tensortap.text import redact
from tensortap.types import Poses
from tensortap.web.gallery import Gallery, Picture, encoded

if TYPE_CHECKING:
    from tensortap.control import Control
    from tensortap.inspection import Inspection

MEDIA_TYPE = "application/octet-stream"


def packed(message: dict[str, Any], blobs: Sequence[bytes] = ()) -> bytes:
    """Four bytes with the length of the JSON, big-endian, the JSON, the blobs one after another."""
    head = orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join([struct.pack(">I", len(head)), head, *blobs])


def frames_message(pictures: Sequence[Picture]) -> bytes:
    """Each picture with the people of the same frame, in pixels of the source."""
    return packed({"frames": [_frame(each) for each in pictures]}, [each.jpeg for each in pictures if each.jpeg])


def inspection_message(found: Inspection) -> bytes:
    """A frame's tensors, with its score maps."""
    blobs = [encoded(each.picture, 85) for each in found.scores]
    message = {
        "source_id": found.info.source_id,
        "source": redact(found.info.source),
        "index": found.info.index,
        "pts_ns": found.info.pts_ns,
        "size_wh": found.info.size_wh,
        "network_wh": found.network_wh,
        "has_picture": found.has_picture,
        "verdict": found.verdict,
        "tensors": [{"name": name, **each.as_dict()} for name, each in found.tensors.items()],
        "scores": [
            {"name": each.name, "caption": each.caption, "bytes": len(blob)}
            for each, blob in zip(found.scores, blobs, strict=True)
        ],
    }
    return packed(message, blobs)


def state_message(control: Control, gallery: Gallery) -> bytes:
    """How the run and its streams are."""
    numbers, about, thresholds = control.numbers(), control.about, control.thresholds
    skeleton = about.skeleton
    state = {
        "model": about.model,
        "engine": about.engine,
        "decoder": about.decoder,
        "keypoints": skeleton.keypoint_names,
        "edges": skeleton.edges,
        "takes_streams": about.takes_streams,
        "gives_streams": about.gives_streams,
        "ends_with_last_stream": about.ends_with_last_stream,
        "thresholds": {"conf_thres": thresholds.conf_thres, "iou_thres": thresholds.iou_thres},
        "seconds": round(numbers.seconds, 1),
        "running": numbers.running,
        "idle_seconds": round(numbers.idle_seconds, 1),
        "frame_rate": round(numbers.frame_rate, 2),
        "engine_ms": _milliseconds(numbers.engine.p50),
        "streams": [_stream(each, gallery) for each in numbers.streams],
        "outputs": [
            {
                "name": redact(output.name),
                "frames": output.frames,
                "dropped": output.dropped,
                "error": redact(output.error) if output.error else None,
            }
            for output in numbers.outputs
        ],
    }
    return orjson.dumps(state)


def _stream(stream: StreamNumbers, gallery: Gallery) -> dict[str, Any]:
    status = stream.status
    shown, passed_over = gallery.counts(status.source_id)
    return {
        "source_id": status.source_id,
        "name": redact(status.name),
        "is_live": status.is_live,
        "state": status.state.value,
        "reason": redact(status.reason),
        "since_ms": status.since_ns // 1_000_000,
        "size_wh": status.size_wh,
        "frames": stream.frames,
        "frame_rate": round(stream.frame_rate, 2),
        "people": stream.people_now,
        "dropped": status.dropped_behind + status.dropped_late,
        "reconnects": status.reconnects,
        "damaged": status.damaged,
        "queued": status.queued,
        "p50_ms": _milliseconds(stream.latency.p50),
        "p95_ms": _milliseconds(stream.latency.p95),
        "pictures_shown": shown,
        "pictures_passed_over": passed_over,
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 1)


def _frame(picture: Picture) -> dict[str, Any]:
    info = picture.result.info
    return {
        "source_id": info.source_id,
        "version": picture.version,
        "index": info.index,
        "pts_ns": info.pts_ns,
        "size_wh": info.size_wh,
        "inferred": picture.result.inferred,
        "people": _people(picture.result.poses),
        "bytes": len(picture.jpeg) if picture.jpeg else 0,
    }


def _people(poses: Poses) -> list[dict[str, Any]]:
    """What is no number becomes null."""
    boxes = np.round(poses.boxes_xyxy.astype(np.float64), 1).tolist()
    keypoints = poses.keypoints.astype(np.float64)
    keypoints[..., :2] = np.round(keypoints[..., :2], 1)
    keypoints[..., 2] = np.round(keypoints[..., 2], 3)
    return [
        {"track_id": track_id, "score": round(score, 3), "class_id": class_id, "box": box, "keypoints": points}
        for track_id, score, class_id, box, points in zip(
            poses.track_ids.tolist(),
            poses.scores.tolist(),
            poses.class_ids.tolist(),
            boxes,
            keypoints.tolist(),
            strict=True,
        )
    ]
