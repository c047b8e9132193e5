"""The model card: where a model comes from in words that mean something elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.export.card import model_card

BEGAN = {"trunk": {"kind": "transformer", "pretrained": "/home/ann/weights/base", "layers": 6}, "seed": 18}
PARENT = {"model": "/home/ann/models/first/model", "run_id": "first-1", "manifest_sha256": "ab" * 32}
ALL = {
    "run_id": "second-2",
    "parent": PARENT,
    "began": BEGAN,
    "aside": ["old_news"],
    "cards": {"topic": "cd" * 32},
    "data": {"topic/train": "train-0123"},
    "strategy": "isolate",
    "merged": ["/home/ann/models/a", "/home/ann/models/b"],
    "removed": ["tone"],
}


def lines(lineage: dict[str, Any]) -> list[str]:
    manifest = {"tasks": {"topic": {}}, "results": [], "max_length": 64, "lineage": lineage}
    card = model_card(manifest, [], ["topic"], "open()", "transformers")
    return card.partition("## Lineage\n\n")[2].partition("\n\n")[0].splitlines()


def test_lineage_is_told_in_words_and_names_no_folder_of_the_machine() -> None:
    assert lines(ALL) == [
        "- run: `second-2`",
        "- goes on from: run `first-1`, manifest SHA-256 `abababababab`",
        "- trunk began as: transformer from `base`, seed 18",
        "- strategy: isolate",
        "- merged: 2 models",
        "- removed: tone",
        "- trained on, but of no use by itself: old_news",
    ]
    assert not any("/home" in line or "{" in line for line in lines(ALL))


@pytest.mark.parametrize(
    ("lineage", "told"),
    [
        ({}, ["- not stated"]),
        ({"run_id": "first-1", "parent": None, "began": None, "aside": []}, ["- run: `first-1`"]),
        ({"run_id": None, "parent": {"model": "/x/a/model"}}, ["- goes on from: a model of no run"]),
        ({"began": {"trunk": {"kind": "gru", "pretrained": None}, "seed": 3}}, ["- trunk began as: gru, seed 3"]),
        ({"began": {"trunk": {"kind": "transformer", "pretrained": "package:p/model"}, "seed": 1}},
         ["- trunk began as: transformer from `package:p/model`, seed 1"]),
    ],
)  # fmt: skip
def test_what_is_not_known_is_left_out(lineage: dict[str, Any], told: list[str]) -> None:
    assert lines(lineage) == told
