"""Names and paths, the cache, archives, and what Ultralytics exports."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import random
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fileserver import FileServer
from tensortap.errors import DownloadError, ModelError
from tensortap.zoo import ZOO, ZooModel, cache_folder, find, models_folder, resolve, state_of

BODY = random.Random(2).randbytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
NOWHERE = "http://127.0.0.1:9"
Start = Callable[..., FileServer]


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ZooModel]:
    """`add(kind="zip", url=...)`: a model called `tiny` in the table, for this test."""

    def add_one(name: str = "tiny", **fields: Any) -> ZooModel:
        fields = {"kind": "onnx", "licence": "MIT", "homepage": "https://host/", "note": "small", "url": NOWHERE} | fields
        monkeypatch.setitem(ZOO, name, ZooModel(name=name, **fields))
        return ZOO[name]

    return add_one


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def archive(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as files:
        for name, data in members.items():
            files.writestr(name.replace("__", "/"), data)
    return packed.getvalue()


def put(name: str, data: bytes) -> Path:
    models_folder().mkdir(parents=True, exist_ok=True)
    path = models_folder() / name
    path.write_bytes(data)
    return path


# Names and paths


@pytest.mark.parametrize("text", ["model.onnx", "./tiny", "folder/tiny", "tiny/", "/a/tiny.onnx"])
def test_paths_come_back_as_they_are(add: Callable[..., ZooModel], text: str) -> None:
    add()
    assert resolve(text) == Path(text)


def test_a_path_object_is_a_path(add: Callable[..., ZooModel]) -> None:
    add()
    assert resolve(Path("tiny")) == Path("tiny")


def test_a_bare_word_that_exists_is_a_path() -> None:
    Path("folder").mkdir()
    assert resolve("folder") == Path("folder")


def test_the_zoo_wins_over_a_file_of_the_same_name_and_says_so(add: Callable[..., ZooModel]) -> None:
    add()
    Path("tiny").mkdir()
    ready = put("tiny.onnx", BODY)
    notices: list[str] = []
    assert resolve("tiny", on_notice=notices.append) == ready
    assert f".{os.sep}tiny" in notices[0]


def test_an_unknown_name_is_told_what_is_close() -> None:
    with pytest.raises(ModelError, match=r"'YOLOv8n-pse'.*Did you mean yolov8n-pose.*tensortap models"):
        resolve("YOLOv8n-pse")
    with pytest.raises(ModelError, match=r"no name of the zoo\. tensortap models"):
        resolve("qqqqqqqqqqqq")


def test_a_missing_file_called_like_a_name_is_hinted_at() -> None:
    notices: list[str] = []
    assert resolve("rtmo-s.onnx", on_notice=notices.append) == Path("rtmo-s.onnx")
    assert "rtmo-s is a model that tensortap fetches" in notices[0]


def test_a_bundled_model(add: Callable[..., ZooModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = add("small", kind="bundled", url="")
    monkeypatch.setattr(find, "__file__", str(tmp_path / "find.py"))
    with pytest.raises(ModelError, match="installation is incomplete"):
        resolve("small")
    (tmp_path / "small-pose.onnx").touch()
    assert resolve("small") == tmp_path / "small-pose.onnx"
    assert state_of(model) == ("bundled", tmp_path / "small-pose.onnx")


# The cache


@pytest.mark.parametrize(
    ("environ", "platform", "expected"),
    [
        ({"TENSORTAP_CACHE": "/c", "XDG_CACHE_HOME": "/x"}, "linux", Path("/c")),
        ({"XDG_CACHE_HOME": "/x"}, "linux", Path("/x/tensortap")),
        ({"XDG_CACHE_HOME": "relative"}, "linux", Path.home() / ".cache" / "tensortap"),
        ({}, "linux", Path.home() / ".cache" / "tensortap"),
        ({}, "darwin", Path.home() / "Library" / "Caches" / "tensortap"),
        ({"LOCALAPPDATA": "/local"}, "win32", Path("/local/tensortap/Cache")),
    ],
)
def test_where_the_cache_is(environ: dict[str, str], platform: str, expected: Path) -> None:
    assert cache_folder(environ, platform) == expected


def test_fetched_once_then_never_again(start: Start, add: Callable[..., ZooModel]) -> None:
    server = start(BODY)
    model = add(url=server.url, sha256=SHA256, size_bytes=len(BODY))
    assert state_of(model)[0] == "not downloaded"
    notices: list[str] = []
    path = resolve("tiny", on_notice=notices.append)
    assert path == models_folder() / "tiny.onnx"
    assert path.read_bytes() == BODY
    assert state_of(model) == ("ready", path)
    assert "MIT" in notices[0]
    assert server.url in notices[1]
    notices.clear()
    assert resolve("tiny", on_notice=notices.append) == path
    assert notices == []
    assert len(server.requests) == 1


def test_notices_are_logged_by_default(
    start: Start, add: Callable[..., ZooModel], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("tensortap"), "propagate", True)
    caplog.set_level(logging.INFO, "tensortap")
    add(url=start(BODY).url, licence="AGPL-3.0")
    resolve("tiny")
    assert "AGPL-3.0" in caplog.text
    assert "ultralytics.com/license" in caplog.text


def test_put_there_by_hand(add: Callable[..., ZooModel]) -> None:
    add(kind="checkpoint", url=f"{NOWHERE}/tiny.pt")
    path = put("tiny.onnx", b"by hand")
    assert resolve("tiny") == path


@pytest.mark.parametrize(("kind", "member"), [("onnx", ""), ("zip", "end2end.onnx"), ("checkpoint", "")])
def test_offline_says_what_goes_where(add: Callable[..., ZooModel], kind: str, member: str) -> None:
    model = add(kind=kind, url=f"{NOWHERE}/tiny.bin", member=member)
    with pytest.raises(DownloadError) as caught:
        resolve("tiny")
    text = str(caught.value)
    assert "cannot be reached" in text
    assert f"download {NOWHERE}/tiny.bin elsewhere and save it as {models_folder() / model.download_name}" in text
    assert str(models_folder() / "tiny.onnx") in text
    assert state_of(model)[0] == "not downloaded"


def test_a_partly_downloaded_model_is_told(start: Start, add: Callable[..., ZooModel]) -> None:
    model = add(url=start(BODY, cut_at=[1000] + [0] * 4).url)
    with pytest.raises(DownloadError):
        resolve("tiny")
    assert state_of(model)[0] == "partly downloaded"


def test_the_cache_cannot_be_written(add: Callable[..., ZooModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add()
    (tmp_path / "file").touch()
    monkeypatch.setenv("TENSORTAP_CACHE", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match=r"cannot be written.*TENSORTAP_CACHE"):
        resolve("tiny")


def test_threads_at_once_fetch_once(start: Start, add: Callable[..., ZooModel]) -> None:
    server = start(BODY)
    add(url=server.url, sha256=SHA256)
    found: list[bytes] = []
    together = threading.Barrier(4)

    def fetch() -> None:
        together.wait(10)
        found.append(resolve("tiny").read_bytes())

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [BODY] * 4
    assert len(server.requests) == 1


def test_processes_at_once_fetch_once(start: Start) -> None:
    server = start(BODY)
    code = (
        "import sys; from tensortap.zoo import ZOO, ZooModel, resolve;"
        "ZOO['tiny'] = ZooModel('tiny', 'onnx', 'MIT', '', '', sys.argv[1]); print(len(resolve('tiny').read_bytes()))"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, server.url], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [run.communicate(timeout=60)[0].strip() for run in runs] == [str(len(BODY))] * 3
    assert len(server.requests) == 1


def test_the_second_waits_until_the_first_is_done(start: Start, add: Callable[..., ZooModel]) -> None:
    server = start(BODY)
    add(url=server.url)
    waiting = threading.Event()
    notices: list[str] = []

    def notice(text: str) -> None:
        notices.append(text)
        waiting.set()

    second = threading.Thread(target=resolve, args=("tiny",), kwargs={"on_notice": notice})

    def hold(done: int, total: int | None) -> None:
        if done == 0:
            second.start()
            assert waiting.wait(10)

    resolve("tiny", on_progress=hold)
    second.join(10)
    assert notices == ["Waiting for another process that fetches tiny."]
    assert len(server.requests) == 1


# Archives


def test_the_model_is_taken_out_of_a_zip(start: Start, add: Callable[..., ZooModel]) -> None:
    server = start(archive(sdk__deploy_json=b"{}", **{"sdk__20231211__end2end.onnx": BODY}))
    add(kind="zip", url=server.url, member="end2end.onnx")
    assert resolve("tiny").read_bytes() == BODY
    assert {path.name for path in models_folder().iterdir()} == {"tiny.onnx", ".tiny.lock"}


def test_a_zip_put_there_by_hand(add: Callable[..., ZooModel]) -> None:
    add(kind="zip", url=f"{NOWHERE}/sdk.zip", member="end2end.onnx")
    put("sdk.zip", archive(**{"end2end.onnx": BODY}))
    assert resolve("tiny").read_bytes() == BODY


def test_a_zip_without_the_model(start: Start, add: Callable[..., ZooModel]) -> None:
    add(kind="zip", url=start(archive(readme_txt=b"hello")).url, member="end2end.onnx")
    with pytest.raises(DownloadError, match=r"should hold one end2end\.onnx; it holds readme_txt"):
        resolve("tiny")


@pytest.mark.parametrize("damage", ["cut", "changed", "no zip"])
def test_a_damaged_zip_is_deleted(start: Start, add: Callable[..., ZooModel], damage: str) -> None:
    packed = bytearray(archive(**{"end2end.onnx": BODY}))
    packed[1000] ^= 0xFF
    data = {"cut": bytes(packed[:-100]), "changed": bytes(packed), "no zip": b"hello"}[damage]
    model = add(kind="zip", url=start(data).url, member="end2end.onnx")
    with pytest.raises(DownloadError, match="is damaged"):
        resolve("tiny")
    assert state_of(model)[0] == "not downloaded"
    assert {path.name for path in models_folder().iterdir()} == {".tiny.lock"}


# Checkpoints


@pytest.fixture
def ultralytics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`ultralytics(body)`: a package of that name whose `YOLO(path).export(...)` does this."""

    def install(body: str) -> None:
        package = tmp_path / "packages" / "ultralytics"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(
            "from pathlib import Path\nclass YOLO:\n    def __init__(self, path): self.path = Path(path)\n"
            f"    def export(self, format, dynamic):\n        assert format == 'onnx' and dynamic is True\n        {body}\n"
        )
        monkeypatch.syspath_prepend(package.parent)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package.parent), os.environ.get("PYTHONPATH", "")]))

    return install


def test_ultralytics_exports_a_checkpoint(
    start: Start, add: Callable[..., ZooModel], ultralytics: Callable[[str], None]
) -> None:
    ultralytics("self.path.with_suffix('.onnx').write_bytes(b'onnx of ' + self.path.read_bytes()[:4])")
    server = start(BODY)
    server.url = server.url.replace("model.bin", "tiny.pt")
    add(kind="checkpoint", url=server.url, sha256=SHA256)
    notices: list[str] = []
    path = resolve("tiny", on_notice=notices.append)
    assert path.read_bytes() == b"onnx of " + BODY[:4]
    assert "exports tiny.pt" in notices[-1]
    assert {each.name for each in models_folder().iterdir()} == {"tiny.onnx", "tiny.pt", ".tiny.lock"}


@pytest.mark.parametrize("body", ["raise RuntimeError('no such operator')", "print('no such operator')"])
def test_an_export_that_fails(add: Callable[..., ZooModel], ultralytics: Callable[[str], None], body: str) -> None:
    ultralytics(body)
    model = add(kind="checkpoint", url=f"{NOWHERE}/tiny.pt")
    put("tiny.pt", BODY)
    with pytest.raises(ModelError, match="could not export") as caught:
        resolve("tiny")
    assert "no such operator" in str(caught.value)
    assert str(models_folder() / "tiny.onnx") in str(caught.value)
    assert state_of(model)[0] == "not converted"
    assert {each.name for each in models_folder().iterdir()} == {"tiny.pt", ".tiny.lock"}


def test_without_ultralytics(start: Start, add: Callable[..., ZooModel], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    server = start(BODY)
    server.url = server.url.replace("model.bin", "tiny.pt")
    add(kind="checkpoint", url=server.url)
    with pytest.raises(ModelError) as caught:
        resolve("tiny")
    text = str(caught.value)
    assert str(models_folder() / "tiny.pt") in text
    assert str(models_folder() / "tiny.onnx") in text
    assert "pip install ultralytics" in text
    assert f"yolo export model={models_folder() / 'tiny.pt'} format=onnx dynamic=True" in text
    with pytest.raises(ModelError, match="pip install"):
        resolve("tiny")
    assert len(server.requests) == 1  # the checkpoint stays


def test_a_checkpoint_put_there_by_hand_is_checked(add: Callable[..., ZooModel]) -> None:
    add(kind="checkpoint", url=f"{NOWHERE}/tiny.pt", sha256=SHA256)
    path = put("tiny.pt", b"something else")
    with pytest.raises(DownloadError, match=f"instead of {SHA256}.*Delete it"):
        resolve("tiny")
    assert path.exists()


# The table


def test_the_table_is_sound() -> None:
    assert list(ZOO) == sorted(ZOO)
    for name, model in ZOO.items():
        assert model.name == name
        assert model.licence
        assert model.note
        if model.kind == "bundled":
            assert not model.url
            continue
        assert model.url.startswith("https://")
        assert model.download_name.startswith(name)
        assert model.sha256 is None or len(bytes.fromhex(model.sha256)) == 32
        assert (model.member != "") == (model.kind == "zip")
    downloads = [model.download_name for model in ZOO.values() if model.url]
    assert len(downloads) == len(set(downloads))


def test_every_name_is_documented() -> None:
    docs = Path(__file__).parents[3] / "docs" / "models.md"
    text = docs.read_text(encoding="utf-8")
    for name in ZOO:
        assert f"`{name}`" in text, f"{name} is not mentioned in docs/models.md"
