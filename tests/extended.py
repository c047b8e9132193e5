"""A trained model of three tasks, and what is asked of it before and after a fourth is added."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import trunkline
from small_project import write_project
from trunkline.cli.app import main

OLD = ["topic", "score", "tags"]
ROWS = ["river stone light", "old house", "warm bread paper wind glass"]


def train_three(folder: Path) -> Path:
    """The project, with one finished run."""
    recipe = write_project(folder)
    trunkline.train(recipe, in_process=True, overrides=[f"tasks=[{', '.join(OLD)}]", "train.steps=12"])
    return recipe.parent.parent


def model_of(project: Path) -> Path:
    return next(project.glob("outputs/small-*/model"))


def answers(model: Path) -> dict[str, Any]:
    opened = trunkline.load(model)
    scores = {name: opened.scores(name, ROWS) for name in ("topic", "score")}
    return {**scores, "tags": opened.predict("tags", [{"words": row.split()} for row in ROWS])}


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def extend(project: Path, *arguments: str) -> int:
    return main(["extend", str(model_of(project)), "--in-process", "--steps", "6", *arguments])


def same_answers(a: Path, b: Path) -> bool:
    one, two = answers(a), answers(b)
    return one["tags"] == two["tags"] and all((one[name] == two[name]).all() for name in ("topic", "score"))
