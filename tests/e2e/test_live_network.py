"""A network that is hurt between a real camera and us: the others lose nothing, and it comes back by itself."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from liverun import LOOP, lost, never_twice, no_thread_is_left, running
from models import pose_model
from rtsp.clips import write_clip
from rtsp.proxy import FAULTS, Proxy, proxy
from rtsp.server import RtspServer
from tensortap.types import StreamState


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pose_model(tmp_path_factory.mktemp("model") / "pose.onnx")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "small.clip", LOOP)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    with no_thread_is_left():
        yield


def url(network: Proxy) -> str:
    return f"rtsp://127.0.0.1:{network.port}/a"


@contextmanager
def hurt_cameras(clip: Path) -> Iterator[tuple[Proxy, list[str]]]:
    """The network of `a`, and the inputs: `a`, which will be hurt, and `b`, which will not."""
    with RtspServer({"/a": {"clip": clip}, "/b": {"clip": clip}}) as server, proxy(server.port) as network:
        yield network, [f"a={url(network)}", f"b={server.url('/b')}"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_network_that_is_hurt(model: Path, clip: Path, fault: str) -> None:
    with hurt_cameras(clip) as (network, inputs), running(inputs, model) as run:
        run.until_frames("a", 5)
        run.until_frames("b", 5)
        network.hurt(fault)
        if fault in ("flipped", "slow"):  # goes on, badly
            time.sleep(2.5)
        else:
            run.until("a is down", lambda: run.states("a")[-1] is not StreamState.ONLINE)
        run.until_frames("b", 10)
        network.heal()
        run.until("a is back", lambda: run.states("a")[-1] is StreamState.ONLINE)
        run.until_frames("a", 10)
        run.until_frames("b", 5)
        assert lost(run, "b") <= 0
        assert never_twice(run.numbers["b"])
        if fault != "flipped":  # a picture that is damaged may show anything
            assert never_twice(run.numbers["a"])
        assert never_twice(run.numbers["a"][-5:])
    assert run.states("b") == [StreamState.CONNECTING, StreamState.ONLINE]


def test_a_camera_that_goes_up_and_down_all_the_time(model: Path, clip: Path) -> None:
    with hurt_cameras(clip) as (network, inputs), running(inputs, model) as run:
        run.until_frames("b", 5)
        for round_ in range(4):
            run.until_frames("a", 2)
            network.hurt("cut")
            run.until("a is down", lambda: run.states("a")[-1] is not StreamState.ONLINE)
            network.heal()
            run.until("a is back", lambda times=round_ + 2: run.states("a").count(StreamState.ONLINE) >= times)  # type: ignore[misc]
        assert lost(run, "b") <= 0
        assert never_twice(run.numbers["a"])
        assert never_twice(run.numbers["b"])
        [a, _] = run.pipeline.numbers().streams
        assert a.status.reconnects >= 4


def test_a_camera_that_is_down_at_the_start(model: Path, clip: Path) -> None:
    with RtspServer({"/b": {"clip": clip}}) as other, socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        taken.close()
        with running([f"a=rtsp://127.0.0.1:{port}/a", f"b={other.url('/b')}"], model) as run:
            run.until("a is refused", lambda: StreamState.OFFLINE in run.states("a"))
            run.until_frames("b", 5)
            with RtspServer({"/a": {"clip": clip}}, port=port):
                run.until_frames("a", 5)
                run.until_frames("b", 5)
                assert lost(run, "b") <= 0
                assert never_twice(run.numbers["a"])
    assert run.states("a")[:3] == [StreamState.CONNECTING, StreamState.OFFLINE, StreamState.ONLINE]


def test_many_cameras_and_one_of_each_fault(model: Path, clip: Path) -> None:
    """All faults at once, and the one stream that nobody hurts does not lose a frame."""
    # A server of its own for the one that is not hurt, so that none of the faults reaches it on the server's side.
    with RtspServer({"/a": {"clip": clip}}) as server, RtspServer({"/b": {"clip": clip}}) as other:
        networks = [Proxy(server.port) for _ in FAULTS]
        try:
            inputs = [f"{fault}={url(network)}" for fault, network in zip(FAULTS, networks, strict=True)]
            with running([*inputs, f"b={other.url('/b')}"], model, batch_size=4) as run:
                for name in (*FAULTS, "b"):
                    run.until_frames(name, 3)
                for fault, network in zip(FAULTS, networks, strict=True):
                    network.hurt(fault)
                for fault in set(FAULTS) - {"flipped", "slow"}:
                    run.until(f"{fault} is down", lambda name=fault: run.states(name)[-1] is not StreamState.ONLINE)  # type: ignore[misc]
                run.until_frames("b", 10)
                for network in networks:
                    network.heal()
                for name in (*FAULTS, "b"):
                    run.until_frames(name, 5)
                assert lost(run, "b") <= 0
                assert never_twice(run.numbers["b"])
        finally:
            for network in networks:
                network.close()


def test_sixteen_cameras_get_the_same(model: Path, clip: Path) -> None:
    names = [f"cam{number:02d}" for number in range(16)]
    with (
        RtspServer({f"/{name}": {"clip": clip} for name in names}) as server,
        running([f"{name}={server.url(f'/{name}')}" for name in names], model, batch_size=4) as run,
    ):
        run.until("all are there", lambda: min(run.count(name) for name in names) >= 5)
        before = {name: run.count(name) for name in names}
        run.until_frames(names[0], 30)
        counts = [run.count(name) - before[name] for name in names]
        assert max(counts) / min(counts) < 1.2
        for name in names:
            assert lost(run, name) <= 0
            assert never_twice(run.numbers[name])
