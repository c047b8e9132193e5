"""Rows with labels an encoding does not have are left out, whatever its kind; the others stay as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trunkline.build.task import make_encoding, open_source, reading
from trunkline.data.sources.known import Known
from trunkline.registry import TOKENIZERS
from trunkline.tasks.card import load_card

ROWS = {
    "classification": (["old", "new", None, "older", "old"], [0, 3, 4]),
    "multilabel": ([["old"], [], ["old", "new"], None, ["older", "old"]], [0, 1, 4]),
    "tagging": ([["old", "new"], ["older", "old"], None, ["old", "old"], ["new", "new"]], [1, 3]),
}


@pytest.mark.parametrize("kind", ROWS)
def test_only_rows_of_known_labels_are_left_and_labels_are_told_apart_from_nulls(tmp_path: Path, kind: str) -> None:
    targets, left = ROWS[kind]
    rows: list[dict[str, Any]] = [{"text": f"word{number} word", "label": label} for number, label in enumerate(targets)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stated = "name: task\ndata: {format: jsonl, train: rows.jsonl, on_null: drop}\ninputs: [text]\ntarget: label\n"
    (tmp_path / "card.yaml").write_text(f"{stated}head: {{kind: {kind}, labels: [old, older]}}\n")
    card = load_card(tmp_path)
    tokenizer = TOKENIZERS.get("wordpiece")(vocab_size=60).build(["word word0 word1 word2 word3 word4"] * 3, max_length=8)
    source = open_source(card, None)
    known = Known(source, make_encoding(card, tokenizer), reading(card))
    found = [
        text
        for chunk in known.read("train")
        for text, label in zip(*(chunk.columns[n] for n in ("text", "label")), strict=True)
        if label is not None
    ]
    assert found == [rows[number]["text"] for number in left]
    assert known.splits() == source.splits() and known.fingerprint("train") != source.fingerprint("train")
