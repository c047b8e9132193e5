"""Commands of the pages, typed in this process as a reader types them, and what they say held against what the page shows."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path

from trunkline.cli.app import main

FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"\s+# .*$")
MEASURED = re.compile(r"(?<![\w.])\d+\\\.\d+(?:e-\d+)?")  # in an escaped line


@dataclass(frozen=True)
class File:
    """A block that names its place: what stands there from now on."""

    place: str
    text: str


@dataclass(frozen=True)
class Command:
    """A line to be typed, and what the page shows below it. measured: numbers with a point may be others."""

    line: str
    shown: str = ""
    measured: bool = False


def steps(page: str) -> Iterator[File | Command]:
    """What a reader of the page does, in order: files of blocks that name a place, lines of `sh` and `console` blocks."""
    for kind, marks, text in FENCE.findall(page):
        place = next((mark for mark in marks.split() if "." in mark), None)
        if place:
            yield File(place, text)
        elif kind == "sh":
            yield from (Command(COMMENT.sub("", line)) for line in text.splitlines())
        elif kind == "console":
            for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                line, _, shown = step.partition("\n")
                yield Command(line, shown, "measured" in marks.split())


def words_of(line: str) -> list[str]:
    """As a shell reads them: a word with a star is what it matches, unless it is quoted."""
    found = []
    for word in shlex.split(line, posix=False):
        (plain,) = shlex.split(word)
        matches = sorted(map(str, Path().glob(word))) if "*" in word and plain == word else []
        found += matches or [plain]
    return found


def typed(line: str, *more: str) -> tuple[int, str]:
    """Exit code and all that was said by `trunkline ...`, also behind `echo WORDS | ` and before `> FILE`. more: words."""
    line, _, place = line.partition(" > ")
    before, _, after = line.rpartition(" | ")
    given = " ".join(words_of(before.removeprefix("echo "))) if before else ""
    command, *words = words_of(after)
    assert command == "trunkline", line
    said = io.StringIO()
    out = io.StringIO() if place else said
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said), _stdin(given):
        code = main([*words, *more])
    if place:
        Path(place).write_text(out.getvalue())
    return code, said.getvalue()


@contextlib.contextmanager
def _stdin(text: str) -> Iterator[None]:
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(text.encode()))
    try:
        yield
    finally:
        sys.stdin = before


def told(wanted: str, said: str, measured: bool = False) -> bool:
    """Whether these lines come in what was said, in this order; `...` is anything, alone on a line any lines."""
    lines = [re.sub(" +", " ", line) for line in wanted.strip().splitlines() if line != "..."]
    parts = [re.escape(line).replace(r"\.\.\.", ".*") for line in lines]
    if measured:
        parts = [MEASURED.sub(r"\\d+\\.\\d+(?:e-\\d+)?", part) for part in parts]
    spaced = [part.replace(r"\ ", " +") for part in parts]
    return re.search(r"(?s:.*?)".join(f"^{part} *$" for part in spaced), said, re.MULTILINE) is not None


def walk(
    page: str,
    elsewhere: Container[str] = (),
    filled: Callable[[str], str] = str,
    more: Callable[[str], list[str]] = lambda _: [],
    arrived: Callable[[], None] = lambda: None,
) -> list[str]:
    """Goes through a page in the current folder; the commands that fail or do not say what it says.

    elsewhere: lines that are not typed here. filled: a line with names of this place, not a page's RUN-ID. more: words to be
    typed behind a line. arrived: what is done once after a `cd`.
    """
    wrong = []
    with contextlib.ExitStack() as stack:
        for step in steps(page):
            if isinstance(step, File):
                Path(step.place).parent.mkdir(parents=True, exist_ok=True)
                Path(step.place).write_text(step.text)
            elif step.line.startswith("cd "):
                stack.enter_context(contextlib.chdir(step.line[3:]))
                arrived()
            elif step.line not in elsewhere:
                code, said = typed(filled(step.line), *more(step.line))
                if code or not told(step.shown, said, step.measured):
                    wrong.append(f"{step.line}: {code}\n{said[-2000:]}")
    return wrong
