"""Rows under evaluation that are training rows, of the same task or another, are found and named."""

from __future__ import annotations

import json
from pathlib import Path

from trunkline.build.task import open_source, reading
from trunkline.data.sources.base import TaskText
from trunkline.quality.leaks import Leak, leaks
from trunkline.tasks.card import load_card


def task(folder: Path, name: str, train: list[str], test: list[str]) -> TaskText:
    place = folder / name
    place.mkdir()
    for split, rows in (("train", train), ("test", test)):
        (place / f"{split}.jsonl").write_text("".join(json.dumps({"text": row, "label": "a"}) + "\n" for row in rows))
    (place / "card.yaml").write_text(
        f"name: {name}\ndata: {{format: jsonl, train: train.jsonl, test: test.jsonl}}\ninputs: [text]\ntarget: label\n"
        "head: {kind: classification, labels: [a, b]}\n"
    )
    card = load_card(place / "card.yaml")
    return TaskText(open_source(card, None), tuple(card.inputs), reading(card))


def test_a_leak_between_two_tasks_is_found_whatever_its_capitals_and_punctuation(tmp_path: Path) -> None:
    first = task(tmp_path, "first", ["The cat sat.", "a dog ran", "one more"], ["nothing of it", "the  CAT sat!"])
    second = task(tmp_path, "second", ["far away"], ["a dog, ran", "one more", "new", "far away"])
    found = leaks({"first": first, "second": second})
    assert found == [
        Leak("first", "test", "first", 1, 2),
        Leak("second", "test", "first", 2, 4),
        Leak("second", "test", "second", 1, 4),
    ]
    assert found[1].sentence.startswith("leak: 2 of 4 test rows of second stand in the training of first.")
    assert "decontaminate" in found[1].sentence and "its own training" in found[2].sentence


def test_tasks_that_share_no_row_leak_nothing(tmp_path: Path) -> None:
    first, second = task(tmp_path, "first", ["a b"], ["c d"]), task(tmp_path, "second", ["b a"], ["d c"])
    assert leaks({"first": first, "second": second}) == []
