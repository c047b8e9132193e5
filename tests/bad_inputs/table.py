"""The whole table, and the run that some of its inputs are made of."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from bad_inputs import cards, commands, data, recipes, saved
from bad_inputs.project import Case, Project

CASES: list[Case] = [*recipes.CASES, *cards.CASES, *data.CASES, *saved.CASES, *commands.CASES]


@functools.cache
def trained_once() -> Path:
    """A project with a finished run of two steps, for copies to be spoilt."""
    folder = Path(tempfile.mkdtemp(prefix="run", dir="/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    outcome = Project(folder, trained_once).run("train", "recipes/r.yaml", "--in-process", "-s", "train.save_every=2")
    assert outcome.code == 0, outcome.said
    return folder
