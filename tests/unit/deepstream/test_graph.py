"""The graph as a description: what is wanted on which machine -> elements, properties and links.

Every line of `graphs/` is a gst-launch-1.0 command, to be read and, on a device, to be run. After a change that is meant, write
them anew with `TENSORTAP_WRITE_GRAPHS=1 pytest tests/unit/deepstream/test_graph.py` and read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tensortap.deepstream.build import Inference, Screen, VideoFile, Wanted, build
from tensortap.deepstream.graph import RtspMount, to_gst_launch, without_unknown
from tensortap.deepstream.platforms import PLATFORMS
from tensortap.errors import UsageError

GRAPHS = Path(__file__).with_name("graphs")
FILE, OTHER, CAMERA = "file:///videos/street.mp4", "file:///videos/two words.mp4", "rtsp://10.0.0.7/door"
POSE = Inference("configs/pose.txt")
PERSON = Inference("configs/person.txt", unique_id=1, gives_tensors=False)
CROP = Inference("configs/crop.txt", unique_id=2, is_secondary=True)
RTSP = RtspMount(8554, "/ds-test", 5400, "H264")
TRACKER: dict[str, Any] = {"ll-lib-file": "/lib/tracker.so", "ll-config-file": "/etc/nvdcf.yml", "tracker-width": 640}


def wanted(platform: str = "dgpu", **changes: Any) -> Wanted:
    return Wanted(**({"uris": [FILE], "inferences": [POSE], "platform": PLATFORMS[platform]} | changes))


def lacking(*factories: str) -> Any:
    return lambda factory: factory not in factories


EVERYWHERE = {
    "file-to-rtsp": wanted(visuals=[RTSP]),
    "cameras-to-file": wanted(uris=[CAMERA, CAMERA + "2"], visuals=[VideoFile("out.mp4")], codec="h265", bitrate=2_000_000),
    "screen": wanted(visuals=[Screen()]),
    "pixels": wanted(pixels=True),
    "file-loop": wanted(file_loop=True, uris=[FILE, CAMERA], visuals=[RTSP]),
}
OPTIONS = {
    "data-only": (wanted(), {}),
    "twelve": (
        wanted(uris=[FILE] * 12, inferences=[Inference("configs/pose.txt", batch_size=16, interval=2)], visuals=[RTSP]),
        {},
    ),
    "original": (wanted(uris=[FILE, OTHER], tracker=TRACKER, surface_wh=(640, 360), visuals=[RTSP]), {}),
    "new-mux": (wanted(uris=[FILE, CAMERA], new_mux=True, pixels=True, visuals=[VideoFile("out.mkv")]), {}),
    "inferserver": (wanted(gie="nvinferserver", tracker=TRACKER, visuals=[RTSP]), {}),
    "two-stages": (
        wanted(inferences=[PERSON, CROP], tracker=TRACKER, analytics="configs/lines.txt", visuals=[RTSP]),
        {},
    ),
    "two-on-frames": (wanted(inferences=[PERSON, Inference("configs/pose.txt", unique_id=3)], tracker=TRACKER), {}),
    "several-outputs": (wanted(visuals=[RTSP, VideoFile("out.mp4"), Screen()]), {}),
    "software-encoder": (wanted(visuals=[RTSP]), {"lacks": ["nvv4l2h264enc"]}),
    "software-openh264": (wanted(visuals=[RTSP]), {"lacks": ["nvv4l2h264enc", "x264enc"]}),
    "software-by-choice": (wanted(visuals=[VideoFile("out.mp4")], codec="h265", encoder="software"), {}),
    "old-deepstream": (wanted(uris=[FILE, CAMERA], visuals=[RTSP]), {"lacks": ["nvurisrcbin"]}),
    "second-gpu": (wanted(gpu_id=1, visuals=[RTSP]), {}),
}
CASES = {
    f"{platform}-{name}": (Wanted(**{**vars(case), "platform": PLATFORMS[platform]}), {})
    for name, case in EVERYWHERE.items()
    for platform in PLATFORMS
} | OPTIONS


@pytest.mark.parametrize("name", CASES)
def test_graphs_are_as_written_down(name: str) -> None:
    case, how = CASES[name]
    line = to_gst_launch(build(case, lacking(*how.get("lacks", []))))
    path = GRAPHS / f"{name}.sh"
    if os.environ.get("TENSORTAP_WRITE_GRAPHS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(line + "\n")
    assert line + "\n" == path.read_text()


def test_no_graph_is_left_over() -> None:
    assert {path.stem for path in GRAPHS.glob("*.sh")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_every_element_is_reached_from_every_source(name: str) -> None:
    case, how = CASES[name]
    graph = build(case, lacking(*how.get("lacks", [])))
    names = [element.name for element in graph.elements]
    assert len(set(names)) == len(names)
    assert sorted(name for chain in graph.chains for name in chain) == sorted(names)
    for number in range(len(case.uris)):
        reached, ahead = set(), [f"source-{number}"]
        while ahead:
            reached.add(ahead[0])
            ahead = ahead[1:] + [link.sink for link in graph.links if link.source == ahead[0]]
        assert reached == {
            name for name in names if name.split("-")[:2] in (["source", str(number)],) or not name.startswith("source-")
        }
    assert graph.tap in names
    assert graph.join in (None, "tracker")


def test_the_join_comes_after_the_tap_only_where_the_tracker_does() -> None:
    assert build(wanted(tracker=TRACKER)).join == "tracker"
    assert build(wanted()).join is None
    # Tensors of objects come after nvtracker, which has named the objects by then.
    two_stages = build(wanted(inferences=[PERSON, CROP], tracker=TRACKER))
    assert (two_stages.tap, two_stages.join) == ("gie-1", None)


def test_exactly_one_inference_gives_tensors() -> None:
    with pytest.raises(UsageError, match="not 0 of 1"):
        build(wanted(inferences=[PERSON]))
    with pytest.raises(UsageError, match="not 2 of 2"):
        build(wanted(inferences=[POSE, POSE]))


def test_what_a_machine_lacks_is_said() -> None:
    with pytest.raises(UsageError, match="--file-loop needs nvurisrcbin"):
        build(wanted(file_loop=True), lacking("nvurisrcbin"))
    with pytest.raises(UsageError, match="lacks nvv4l2h264enc and x264enc and openh264enc"):
        build(wanted(visuals=[RTSP]), lacking("nvv4l2h264enc", "x264enc", "openh264enc"))
    with pytest.raises(UsageError, match="--encoder hardware: this machine lacks nvv4l2h265enc"):
        build(wanted(visuals=[RTSP], codec="h265", encoder="hardware"), lacking("nvv4l2h265enc"))


def test_properties_that_a_version_lacks_are_left_out_with_a_word() -> None:
    optional = {"enable-batch-process": 1, "user-meta-pool-size": 32}
    graph = build(wanted(tracker={**TRACKER, **optional}, tracker_optional=frozenset(optional)))
    fitting, words = without_unknown(graph, lambda factory, name: name != "enable-batch-process")
    assert fitting["tracker"].properties == {**TRACKER, "user-meta-pool-size": 32}
    assert words == ["nvtracker of this DeepStream has no property enable-batch-process; enable-batch-process=1 is left out."]
    # What every version has is set, and its absence is an error of the element's.
    fitting, words = without_unknown(graph, lambda factory, name: False)
    assert fitting["tracker"].properties == TRACKER


def test_the_environment_goes_before_the_command() -> None:
    assert to_gst_launch(build(wanted(new_mux=True))).startswith("USE_NEW_NVSTREAMMUX=yes gst-launch-1.0 -e")
