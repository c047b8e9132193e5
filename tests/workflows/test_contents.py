"""The same job goes on with its run; a job on other cards, code or rows is another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from small_project import write_project
from trunkline.tasks.catalog import Catalog
from trunkline.workflows.contents import contents
from trunkline.workflows.extend import Job, key_of

JOB = Job(Path("model"), ["answer", "words"], "replay")


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    return write_project(tmp_path).parent.parent / "tasks"


def edited(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def card_changed(tasks: Path) -> None:
    edited(tasks / "answer" / "card.yaml", "group: 4", "group: 2")


def rows_changed(tasks: Path) -> None:
    edited(tasks / "topic" / "rows.jsonl", '"value": 3.0', '"value": 2.0')


def old_card_changed(tasks: Path) -> None:
    edited(tasks / "score" / "card.yaml", "weight: 0.5", "weight: 0.6")


def code_changed(tasks: Path) -> None:
    (tasks / "answer" / "plugin.py").write_text("# code of its own\n")


CHANGES = [card_changed, rows_changed, old_card_changed, code_changed]


def other_job_law(tasks: Path, change: Callable[[Path], None], read: Callable[[Catalog], list[list[str]]]) -> bool:
    """The key stays as long as nothing changes, and changes with what is learned from."""
    keys = [key_of({"files": {}}, JOB, read(Catalog([tasks]))) for _ in range(2)]
    change(tasks)
    return keys[0] == keys[1] != key_of({"files": {}}, JOB, read(Catalog([tasks])))


@pytest.mark.parametrize("change", CHANGES, ids=lambda own: own.__name__)
def test_other_cards_code_or_rows_are_another_job(tasks: Path, change: Callable[[Path], None]) -> None:
    assert other_job_law(tasks, change, lambda catalog: contents(["score", *JOB.tasks], catalog))


def test_a_key_of_names_alone_is_caught(tasks: Path) -> None:
    assert not other_job_law(tasks, card_changed, lambda _: [["score"], ["answer"], ["words"]])
