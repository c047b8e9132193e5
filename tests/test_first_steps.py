"""The page of first steps, typed as it stands: every command, in order, and what it says."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
from pathlib import Path

import pytest

from trunkline.cli.app import main

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "first-steps.md"
WAITS = "trunkline serve "  # asked over a real socket and Ray in tests/serve/test_served.py
FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def typed(line: str) -> tuple[int, str]:
    """Exit code and all that was said. A word with a star is what it matches, as in a shell."""
    command, *words = shlex.split(line)
    assert command == "trunkline", line
    given = [match for word in words for match in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(given)
    return code, said.getvalue()


def told(wanted: str, said: str) -> bool:
    """Whether these lines come in what was said, in this order; `...` is anything, alone on a line any lines."""
    lines = [re.sub(" +", " ", line) for line in wanted.strip().splitlines() if line != "..."]
    parts = [re.escape(line).replace(r"\.\.\.", ".*") for line in lines]
    spaced = [part.replace(r"\ ", " +") for part in parts]
    return re.search(r"(?s:.*?)".join(f"^{part} *$" for part in spaced), said, re.MULTILINE) is not None


def walk(page: str) -> list[str]:
    """Goes through the page in the current folder; the commands that did not say what it says."""
    wrong = []
    with contextlib.ExitStack() as stack:
        for kind, place, text in FENCE.findall(page):
            if place:
                Path(place).write_text(text)
                continue
            assert kind == "console"
            for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                line, _, wanted = step.partition("\n")
                if line.startswith(WAITS):
                    continue
                if line.startswith("cd "):
                    stack.enter_context(contextlib.chdir(line[3:]))
                    continue
                code, said = typed(line)
                if code or not told(wanted, said):
                    wrong.append(f"{line}: {code}\n{said[-2000:]}")
    return wrong


@pytest.mark.timeout(600)
def test_every_command_of_the_first_steps_does_and_says_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    assert walk(page) == []
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
