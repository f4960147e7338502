"""Functions named on the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tensortap.errors import UsageError
from tensortap.loading import load_callable


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "beside_it.py").write_text("ANSWER = 42\n")
    path = tmp_path / "mine.py"
    path.write_text(
        "from beside_it import ANSWER\n"
        "calls = []\n"
        "def look(frame):\n    calls.append(frame)\n    return ANSWER\n"
        "def late(frame):\n    import late_helper\n    return late_helper.ANSWER\n"
        "class Decoder:\n    def __call__(self, frame):\n        return calls\n"
        "class Needy:\n    def __init__(self, what): ...\n"
        "number = 3\n"
    )
    (tmp_path / "late_helper.py").write_text("ANSWER = 43\n")
    return path


def test_a_function_of_a_file(mine: Path) -> None:
    look, decoder = load_callable(f"{mine}:look", "--tap"), load_callable(f"{mine}:Decoder", "--decoder")
    assert look("a frame") == 42
    assert decoder(None) == ["a frame"], "one file is one module, whoever names it"
    assert load_callable(f"{mine}:late", "--tap")(None) == 43
    assert "mine" not in sys.modules


def test_a_file_that_was_edited_is_another_module(mine: Path) -> None:
    before = load_callable(f"{mine}:look", "--tap")
    mine.write_text("def look(frame):\n    return 'edited'\n")
    assert before(None) == 42
    assert load_callable(f"{mine}:look", "--tap")(None) == "edited"


def test_a_function_of_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package_of_mine"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "taps.py").write_text("class Group:\n    @staticmethod\n    def look(frame):\n        return 7\n")
    monkeypatch.chdir(tmp_path)
    assert load_callable("package_of_mine.taps:Group.look", "--tap")(None) == 7
    with pytest.raises(UsageError, match=r"no module 'package_of_mine.other'"):
        load_callable("package_of_mine.other:look", "--tap")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", r"say which function.*mine.py has look, late, Decoder, Needy"),
        (":", "say which function"),
        (":lok", r"has no 'lok'. It has look, late, Decoder, Needy. Did you mean 'look'\?"),
        (":number", "number is int, not a function"),
        (":Needy", r"Needy is a class; it is made without arguments, which failed: TypeError"),
    ],
)
def test_what_is_not_there(mine: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=rf"--tap .*{message}"):
        load_callable(f"{mine}{name}", "--tap")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def look(frame:\n", r"line 1 of .*broken.py is not Python"),
        ("a = 1\nb = a / 0\n", r"cannot be imported in line 2: ZeroDivisionError"),
        (
            "\n\nimport no_such_package\n",
            r"cannot be imported in line 3: ModuleNotFoundError: No module named 'no_such_package'",
        ),
    ],
)
def test_files_that_cannot_be_imported(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "broken.py").write_text(text)
    with pytest.raises(UsageError, match=message):
        load_callable(f"{tmp_path / 'broken.py'}:look", "--decoder")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--tap .*gone.py: there is no such file"):
        load_callable(f"{tmp_path / 'gone.py'}:look", "--tap")
