"""Downloads from a server that misbehaves."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import socket
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from fileserver import FileServer
from tensortap.errors import DownloadError
from tensortap.zoo import download as module
from tensortap.zoo.download import download

BODY = random.Random(1).randbytes(600_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
Start = Callable[..., FileServer]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "model.bin"


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def files_beside(target: Path) -> set[str]:
    return {path.name for path in target.parent.iterdir()}


def leave_part(target: Path, server: FileServer, data: bytes, validator: str | None = '"one"') -> None:
    target.parent.mkdir(parents=True)
    part_of(target).write_bytes(data)
    origin = {"url": server.url, "validator": validator}
    part_of(target).with_name(part_of(target).name + ".json").write_text(json.dumps(origin))


@pytest.mark.parametrize("length", [True, False])
def test_a_whole_file(start: Start, target: Path, length: bool) -> None:
    server = start(BODY, length=length)
    seen: list[tuple[int, int | None]] = []
    download(server.url, target, size_bytes=len(BODY), sha256=SHA256, on_progress=lambda *done: seen.append(done))
    assert target.read_bytes() == BODY
    assert files_beside(target) == {"model.bin"}
    assert seen[0] == (0, len(BODY))
    assert seen[-1] == (len(BODY), len(BODY))
    assert seen == sorted(seen)


def test_nothing_is_known_of_the_file(start: Start, target: Path) -> None:
    server = start(BODY, length=False, etag=None)
    seen: list[tuple[int, int | None]] = []
    download(server.url, target, on_progress=lambda *done: seen.append(done))
    assert target.read_bytes() == BODY
    assert seen[-1] == (len(BODY), None)


def test_broken_off_and_resumed(start: Start, target: Path) -> None:
    server = start(BODY, cut_at=[100_000, 200_000])
    download(server.url, target, sha256=SHA256)
    assert target.read_bytes() == BODY
    assert server.sent == [100_000, 200_000, 300_000]
    assert server.requests == [
        ("/model.bin", None, None),
        ("/model.bin", "bytes=100000-", '"one"'),
        ("/model.bin", "bytes=300000-", '"one"'),
    ]


def test_a_later_call_goes_on(start: Start, target: Path) -> None:
    server = start(BODY, cut_at=[250_000, 0, 0, 0])
    with pytest.raises(DownloadError, match=r"broke off at 250000 of 600000 bytes.*0\.2 MB have come and are kept"):
        download(server.url, target)
    assert not target.exists()
    assert part_of(target).stat().st_size == 250_000
    server.sent.clear()
    download(server.url, target)
    assert target.read_bytes() == BODY
    assert server.sent == [350_000]


def test_progress_starts_where_the_last_call_stopped(start: Start, target: Path) -> None:
    server = start(BODY)
    leave_part(target, server, BODY[:500_000])
    seen: list[tuple[int, int | None]] = []
    download(server.url, target, on_progress=lambda *done: seen.append(done))
    assert seen[0] == (500_000, 600_000)


def test_ctrl_c_keeps_what_came(start: Start, target: Path) -> None:
    server = start(BODY)

    def interrupt(done: int, total: int | None) -> None:
        if done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(server.url, target, on_progress=interrupt)
    kept = part_of(target).stat().st_size
    assert kept > 100_000
    assert part_of(target).read_bytes() == BODY[:kept]
    download(server.url, target)
    assert target.read_bytes() == BODY
    assert server.requests[-1][1] == f"bytes={kept}-"


def test_a_server_without_ranges_starts_over(start: Start, target: Path) -> None:
    server = start(BODY, ranges=False, cut_at=[400_000])
    download(server.url, target, sha256=SHA256)
    assert target.read_bytes() == BODY
    assert server.sent == [400_000, 600_000]


def test_a_file_that_changed_meanwhile_starts_over(start: Start, target: Path) -> None:
    newer = BODY[::-1]
    server = start(newer, etag='"two"')
    leave_part(target, server, BODY[:100_000])
    download(server.url, target)
    assert target.read_bytes() == newer
    assert server.requests == [("/model.bin", "bytes=100000-", '"one"')]


def test_parts_of_no_known_version_are_not_glued_together(start: Start, target: Path) -> None:
    server = start(BODY, etag=None)
    leave_part(target, server, b"x" * 1000, validator=None)
    download(server.url, target)
    assert target.read_bytes() == BODY
    assert server.requests == [("/model.bin", None, None)]


def test_parts_of_another_address_are_not_used(start: Start, target: Path) -> None:
    server = start(BODY)
    leave_part(target, server, b"x" * 1000)
    server.redirects["/other.bin"] = server.url
    download(server.url.replace("model.bin", "other.bin"), target)
    assert target.read_bytes() == BODY


def test_a_checksum_allows_to_resume_what_has_no_version(start: Start, target: Path) -> None:
    server = start(BODY, etag=None, cut_at=[100_000])
    download(server.url, target, sha256=SHA256)
    assert server.sent == [100_000, 500_000]


def test_a_damaged_part_is_fetched_again(start: Start, target: Path) -> None:
    server = start(BODY)
    leave_part(target, server, b"x" * 1000)
    download(server.url, target, sha256=SHA256)
    assert target.read_bytes() == BODY
    assert server.sent == [599_000, 600_000]


def test_a_part_that_is_whole_needs_no_network(target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(BODY)
    download("http://127.0.0.1:9/model.bin", target, size_bytes=len(BODY), sha256=SHA256)
    assert target.read_bytes() == BODY


def test_a_part_longer_than_the_file_starts_over(start: Start, target: Path) -> None:
    server = start(BODY[:1000])
    leave_part(target, server, BODY)
    download(server.url, target)
    assert target.read_bytes() == BODY[:1000]


def test_a_wrong_range_is_not_used(start: Start, target: Path) -> None:
    server = start(BODY, first_byte=7)
    leave_part(target, server, BODY[:1000])
    download(server.url, target, sha256=SHA256)
    assert target.read_bytes() == BODY


def test_a_wrong_checksum_names_both_and_keeps_nothing(start: Start, target: Path) -> None:
    server = start(BODY)
    with pytest.raises(DownloadError) as caught:
        download(server.url, target, sha256="0" * 64)
    assert SHA256 in str(caught.value)
    assert "0" * 64 in str(caught.value)
    assert files_beside(target) == set()


def test_a_wrong_size_is_told_before_it_is_fetched(start: Start, target: Path) -> None:
    server = start(BODY)
    with pytest.raises(DownloadError, match="offers 600000 bytes; the file that was expected has 12345"):
        download(server.url, target, size_bytes=12_345)
    assert files_beside(target) == set()


def test_a_wrong_size_that_was_not_announced(start: Start, target: Path) -> None:
    server = start(BODY, length=False)
    with pytest.raises(DownloadError, match=r"600000 bytes instead of 700000|broke off"):
        download(server.url, target, size_bytes=700_000)
    assert not target.exists()


def test_an_empty_file(start: Start, target: Path) -> None:
    with pytest.raises(DownloadError, match="empty"):
        download(start(b"").url, target)
    assert files_beside(target) == set()


def test_a_login_page(start: Start, target: Path) -> None:
    with pytest.raises(DownloadError, match="web page"):
        download(start(b"<html>", content_type="text/html").url, target)
    assert not target.exists()


def test_redirects_are_followed_with_the_range(start: Start, target: Path) -> None:
    server = start(BODY, cut_at=[100_000])
    server.redirects = {"/a": "/b", "/b": "/model.bin"}
    download(server.url.replace("model.bin", "a"), target)
    assert target.read_bytes() == BODY
    assert server.requests[-1] == ("/model.bin", "bytes=100000-", '"one"')


def test_redirects_in_a_circle(start: Start, target: Path) -> None:
    server = start(BODY)
    server.redirects = {"/model.bin": "/a", "/a": "/model.bin"}
    with pytest.raises(DownloadError, match="302"):
        download(server.url, target)


@pytest.mark.parametrize(("status", "tells"), [(404, "moved or withdrawn"), (403, "403 Forbidden")])
def test_refusals_are_final(start: Start, target: Path, status: int, tells: str) -> None:
    server = start(BODY, status=[status])
    with pytest.raises(DownloadError, match=tells):
        download(server.url, target)
    assert len(server.requests) == 1


def test_a_busy_server_is_asked_again(start: Start, target: Path) -> None:
    server = start(BODY, status=[503, 429])
    download(server.url, target)
    assert target.read_bytes() == BODY
    server = start(BODY, status=[500] * 9)
    with pytest.raises(DownloadError, match=r"500.*4 times in a row"):
        download(server.url, target.with_name("other.bin"))


def test_a_connection_is_refused(target: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with pytest.raises(DownloadError, match=f"http://127.0.0.1:{port}/model.bin cannot be reached"):
        download(f"http://127.0.0.1:{port}/model.bin", target)


def test_a_host_is_not_found(target: Path) -> None:
    with pytest.raises(DownloadError, match=r"models\.invalid.*cannot be reached: its host is not found"):
        download("https://models.invalid/model.bin", target)


def test_a_server_that_says_nothing_more(start: Start, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(module, "PAUSE_SECONDS", ())
    server = start(BODY, stall=True)
    with pytest.raises(DownloadError, match=r"sent nothing for 0\.2 seconds"):
        download(server.url, target)
    assert part_of(target).stat().st_size == 300_000


def test_a_server_that_never_answers(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(module, "PAUSE_SECONDS", ())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with pytest.raises(DownloadError, match=r"did not answer within 0\.2 seconds"):
            download(f"http://127.0.0.1:{listener.getsockname()[1]}/model.bin", target)


def test_a_proxy_of_the_environment(start: Start, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start(BODY)
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/model.bin"))
    download("http://models.invalid/model.bin", target)
    assert target.read_bytes() == BODY
    assert server.requests[0][0] == "http://models.invalid/model.bin"


def test_there_is_too_little_space_to_begin(start: Start, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: usage(1, 1, 1000))
    with pytest.raises(
        DownloadError, match=r"no space for model.bin in .*0\.0 MB free.*0\.6 MB have still to come.*TENSORTAP_CACHE"
    ):
        download(start(BODY).url, target)
    assert not target.exists()


def test_space_runs_out(start: Start, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start(BODY)
    write = module._write

    def full(file: object, data: bytes) -> None:
        write(file, data[:50_000])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as context:
        context.setattr(module, "_write", full)
        with pytest.raises(DownloadError, match=r"no space for model.bin.*kept"):
            download(server.url, target)
    kept = part_of(target).stat().st_size
    assert 0 < kept <= 50_000
    download(server.url, target, sha256=SHA256)
    assert server.requests[-1][1] == f"bytes={kept}-"


@pytest.mark.skipif(sys.platform == "win32", reason="limits of processes are POSIX")
def test_a_file_system_that_takes_no_more(start: Start, target: Path) -> None:
    server = start(BODY)
    code = (
        "import resource, sys; from pathlib import Path; from tensortap.zoo.download import download;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); download(sys.argv[1], Path(sys.argv[2]))"
    )
    run = subprocess.run([sys.executable, "-c", code, server.url, target], capture_output=True, text=True, check=False)
    assert "DownloadError: There is no space for model.bin" in run.stderr
    assert part_of(target).read_bytes() == BODY[:100_000]


def test_the_folder_cannot_be_made(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match=r"cannot be written.*TENSORTAP_CACHE"):
        download(start(BODY).url, tmp_path / "file" / "model.bin")


def test_a_redirect_to_something_unencrypted_is_not_followed() -> None:
    request = module.urllib.request.Request("https://host/model.bin")
    with pytest.raises(DownloadError, match="not encrypted"):
        module._NoDowngrade().redirect_request(request, None, 302, "Found", {}, "http://host/model.bin")  # type: ignore[arg-type]
