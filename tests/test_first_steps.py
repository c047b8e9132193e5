"""The page of first steps, typed as it stands: every command, in order, and what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from typed import told, walk

PAGE = Path(__file__).parent.parent / "docs" / "first-steps.md"
WAITS = ("trunkline serve outputs/extend-*/model",)  # asked over a real socket and Ray in tests/serve/test_served.py


@pytest.mark.timeout(600)
def test_every_command_of_the_first_steps_does_and_says_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    assert walk(page, WAITS) == []
    assert json.loads((tmp_path / "support" / "exported" / "config.json").read_text())["hidden_size"] == 64


@pytest.mark.parametrize(
    ("wanted", "said", "holds"),
    [
        ("a  1 ...", "x\na 1 2.5 yes\ny", True),
        ("a\n...\nb", "a\nc\nd\nb\n", True),
        ("a\nb", "b\na\n", False),
        ("a 2 ...", "a 1 2.5", False),
        ("kept", "not kept", False),
    ],
)
def test_a_line_that_was_not_said_is_found(wanted: str, said: str, holds: bool) -> None:
    assert told(wanted, said) == holds


def test_a_command_that_fails_or_says_something_else_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = "```console\n$ trunkline init one\none/README.md\n$ trunkline init one\n$ trunkline parts heads\nno such line\n```\n"
    assert [line.splitlines()[0] for line in walk(page)] == ["trunkline init one: 2", "trunkline parts heads: 0"]
