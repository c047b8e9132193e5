"""A project of one small task, and what a command did to it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LINE = "red blue green small large old new warm cold quick slow river house stone light"
WORDS = LINE.split()
TEXTS = [(first, second, third) for first in WORDS for second in WORDS[:4] for third in WORDS[:2]]
ROWS: list[dict[str, Any]] = [
    {
        "text": f"{first} {second} {third}",
        "other": f"{third} {first}",
        "label": "warm" if number % 2 else "cold",
        "value": float(number % 7),
        "tags": ["a", "b", "a"],
    }
    for number, (first, second, third) in enumerate(TEXTS)
]
TOPIC = "inputs: [text]\ntarget: label\nhead: {kind: classification, labels: [warm, cold]}"
SCORE = "inputs: [text]\ntarget: value\nhead: regression"
TAGS = "inputs: [text]\ntarget: tags\nhead: {kind: tagging, labels: [a, b]}"
PAIR = "inputs: [text, other]\ntarget: label\nhead: {kind: classification, labels: [warm, cold]}"
REPLY = "inputs: [text]\ntarget: other\nhead: contrastive\nloss: {kind: infonce, group: 8}"
DATA = "format: jsonl, train: rows.jsonl"
RECIPE = """
seed: 1
trunk: {kind: transformer, hidden_size: 16, layers: 1, heads: 2}
tokenizer: {kind: wordpiece, vocab_size: 80}
tasks: [one]
sampling: uniform
train: {steps: 2, tokens_per_step: 128, max_length: 16}
"""
CANARY = "canary"


@dataclass(frozen=True)
class Outcome:
    """What a command ended with and said, and which files of the project are new or changed since.

    seconds: of the processor, or of the clock where it ran in a process of its own.
    """

    code: int
    said: str
    left: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Case:
    """One bad input. row: its number in the table of 64; act: makes it and gives it to a command; code, says: what must follow.

    says: a regular expression. keeps: whether files may change, for an input that is accepted.
    """

    row: int
    what: str
    act: Callable[[Project], Outcome]
    code: int
    says: str
    keeps: bool = False
    slow: bool = False

    def faults(self, outcome: Outcome, project: Project) -> list[str]:
        """What is not as it must be."""
        found = []
        if outcome.code != self.code:
            found.append(f"exit code {outcome.code}, not {self.code}")
        if not re.search(self.says, outcome.said):
            found.append(f"does not say {self.says!r}")
        if "Traceback" in outcome.said:
            found.append("a traceback")
        if (project.folder / CANARY).exists():
            found.append("the canary was touched")
        if outcome.left and not self.keeps:
            found.append(f"left {', '.join(outcome.left[:5])}")
        return found


class Project:
    """The folder, with the means to spoil it and to run a command in it. trained: makes the folder of a run of two steps."""

    def __init__(self, folder: Path, trained: Callable[[], Path]) -> None:
        self.folder, self._trained = folder, trained
        folder.mkdir(parents=True, exist_ok=True)
        self.write("recipes/r.yaml", RECIPE.lstrip())
        self.card(TOPIC)
        self.rows(ROWS)

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def card(self, parts: str, data: str = DATA, name: str = "one") -> None:
        self.write("tasks/one/card.yaml", f"name: {name}\ndata: {{{data}}}\n{parts}\n")

    def rows(self, given: list[Any], name: str = "rows.jsonl") -> None:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in given]
        self.write(f"tasks/one/{name}", "\n".join(lines) + "\n")

    def recipe(self, old: str, new: str) -> None:
        """The recipe with one stretch of it replaced."""
        assert old in RECIPE, old
        self.write("recipes/r.yaml", RECIPE.lstrip().replace(old, new, 1))

    def run(self, *arguments: str) -> Outcome:
        """The command in this process."""
        from trunkline.cli.app import main

        before, start = self.files(), time.process_time()
        said = io.StringIO()
        with inside(self.folder), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main(list(arguments))
        spent = time.process_time() - start
        return Outcome(code, said.getvalue(), self._changed(before), spent)

    def shell(self, line: str, **environment: str | None) -> Outcome:
        """A line of bash, in which `trunkline` is this one; for what a process of its own has."""
        import subprocess

        before, start = self.files(), time.monotonic()
        values = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **environment}
        held = {name: value for name, value in values.items() if value is not None}
        command = f'trunkline() {{ {sys.executable} -m trunkline "$@"; }}; set -o pipefail; {line}'
        done = subprocess.run(["bash", "-c", command], cwd=self.folder, env=held, capture_output=True, timeout=120, check=False)
        said = (done.stdout + done.stderr).decode(errors="replace")
        return Outcome(done.returncode, said, self._changed(before), time.monotonic() - start)

    def trained(self) -> Path:
        """A copy in this project of a run that was trained, with its project."""
        source = self._trained()
        shutil.copytree(source, self.folder, dirs_exist_ok=True)
        return next((self.folder / "outputs").iterdir())

    def files(self) -> dict[str, str]:
        """Every file with its hash. Stored rows count; locks and tokenizers, whole and kept by what they were made of, do not."""
        found = {}
        for path in self.folder.rglob("*"):
            if path.is_file() and path.suffix != ".lock" and path.name != ".lock" and "tokenizers" not in path.parts:
                found[str(path.relative_to(self.folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def _changed(self, before: dict[str, str]) -> list[str]:
        return sorted(name for name, content in self.files().items() if before.get(name) != content)


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def changed(number: int, **values: Any) -> list[dict[str, Any]]:
    """The rows, one of them with other values."""
    return [{**row, **values} if place == number else row for place, row in enumerate(ROWS)]
