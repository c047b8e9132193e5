from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trunkline.data.sources.base import SourceContext, TaskText
from trunkline.data.sources.reading import Reading
from trunkline.data.sources.tasks import Tasks
from trunkline.data.sources.text import JsonLines
from trunkline.errors import ConfigError

FILES = {
    "one": {"train": ["a", "b", "shared", "A "], "validation": ["v", "seen"], "test": ["t", "deep"]},
    "two": {"train": ["seen", "b", "c", "T"], "validation": ["deep", "w"]},
}


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[str], TaskText]:
    for task, splits in FILES.items():
        for split, texts in splits.items():
            (tmp_path / f"{task}-{split}.jsonl").write_text("".join(f'{{"sentence": "{text}"}}\n' for text in texts))

    def open_task(name: str) -> TaskText:
        source = JsonLines(SourceContext(tmp_path), **{split: f"{name}-{split}.jsonl" for split in FILES[name]})
        return TaskText(source, ("text",), Reading({"text": "sentence"}))

    return open_task


def texts(source: Tasks, split: str) -> list[str]:
    return [text for chunk in source.read(split) for text in chunk.columns["text"]]


def test_every_text_stands_once_and_never_below_a_split_it_is_evaluated_in(
    opened: Callable[[str], TaskText], tmp_path: Path
) -> None:
    source = Tasks(SourceContext(tmp_path, opened), tasks=["one", "two"])
    assert source.splits() == ("train", "validation", "test")
    assert texts(source, "test") == ["t", "deep"]
    assert texts(source, "validation") == ["v", "seen", "w"]  # `deep` is tested in the other task
    assert texts(source, "train") == ["a", "b", "shared", "c"]  # without `A `, `seen`, the second `b`, and `T`


def test_its_fingerprint_is_made_of_the_tasks(opened: Callable[[str], TaskText], tmp_path: Path) -> None:
    def fingerprint(*tasks: str) -> str:
        return Tasks(SourceContext(tmp_path, opened), tasks=list(tasks)).fingerprint("train")

    before = fingerprint("one", "two")
    assert before == fingerprint("one", "two") != fingerprint("one")
    (tmp_path / "two-validation.jsonl").write_text('{"sentence": "other"}\n')
    assert fingerprint("one", "two") != before


@pytest.mark.parametrize("tasks", [[], ["one", "one"]])
def test_tasks_are_named_each_once(tasks: list[str], opened: Callable[[str], TaskText], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name tasks, each once"):
        Tasks(SourceContext(tmp_path, opened), tasks=tasks)


def test_without_a_catalog_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can not be opened from here"):
        Tasks(SourceContext(tmp_path), tasks=["one"])
