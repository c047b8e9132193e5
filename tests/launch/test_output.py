"""What a rank writes is kept in the run folder, C libraries and the error that ends it included."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trunkline.launch.output import file_of
from trunkline.launch.ray_train import same_folder

PROGRAM = """
import os, pathlib, sys
from trunkline.errors import Stopped
from trunkline.launch.output import kept
try:
    with kept(pathlib.Path(sys.argv[1]), 3, 4):
        print("from Python")
        os.system("echo from a child >&2")
        raise {error}
except (Stopped, ValueError):
    print("after")
"""


def attempt(folder: Path, error: str = "ValueError('the end')") -> str:
    """What is written where it always was."""
    words = [sys.executable, "-c", PROGRAM.format(error=error), str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stderr == ""
    return done.stdout


def test_a_stop_is_a_line_and_no_traceback(tmp_path: Path) -> None:
    attempt(tmp_path / "logs", "Stopped('asked to stop')")
    text = file_of(tmp_path / "logs", 3).read_text()
    assert text.endswith("Stopped: asked to stop\n") and "File " not in text


def test_what_a_rank_writes_goes_to_its_file_and_each_attempt_is_added(tmp_path: Path) -> None:
    assert [attempt(tmp_path / "logs") for _ in range(2)] == ["after\n", "after\n"]
    lines = file_of(tmp_path / "logs", 3).read_text().splitlines()
    begins = [number for number, line in enumerate(lines) if line.startswith("--- rank 3 of 4: process ")]
    assert len(begins) == 2 and begins[0] == 0
    for first in begins:
        own = lines[first : first + len(lines) // 2]
        assert "from a child" in own and "from Python" in own and own[-1] == "ValueError: the end"


def test_a_job_whose_folder_was_laid_anew_under_it_still_works_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with same_folder():
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "recipe.yaml").touch()
    assert Path("recipe.yaml").is_file() and Path.cwd() == folder
