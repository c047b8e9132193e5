"""Targets of generation: what is kept, cut, left out and counted; texts come back."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trunkline.data.encoding.generation import Generation
from trunkline.data.rows import Ragged
from trunkline.data.tokenizer import Tokenizer
from trunkline.data.vocabulary import Words
from trunkline.errors import ConfigError, DataError

COLUMNS = {"en": ["a b", "b", "c a", "a"], "de": ["x y", "z", " ", "x y z x y"]}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Words(vocab_size=100).build(["a b c x y z"], max_length=20)


def make(tokenizer: Tokenizer, **given: object) -> Generation:
    return Generation(tokenizer, ["en"], "de", **given)


def labels(encoding: Generation, columns: dict[str, list[str]] = COLUMNS) -> list[list[int]]:
    found = encoding.encode(columns).targets["labels"]
    assert isinstance(found, Ragged)
    return [part.tolist() for part in np.split(found.values, found.starts[1:-1])]


def test_labels_are_the_target_s_tokens_then_the_end(tokenizer: Tokenizer) -> None:
    encoding = make(tokenizer, max_target=4)
    x, y, z = (tokenizer.plain([letter]).values[0] for letter in "xyz")
    end = tokenizer.vocab_size
    assert labels(encoding) == [[x, y, end], [z, end], [], [x, y, z, x]]
    assert encoding.head_arguments() == {"num_outputs": end + 1, "max_target": 4}


def test_a_cut_target_has_no_end_and_an_empty_one_nothing_to_learn(tokenizer: Tokenizer) -> None:
    rows = make(tokenizer, max_target=4).encode(COLUMNS)
    assert rows.counts.tolist() == [3, 2, 0, 4]
    assert rows.notes["targets_cut"] == 1 and rows.notes["targets_empty"] == 1 and "unknown_target_tokens" not in rows.notes
    assert make(tokenizer).encode({"en": ["a"], "de": ["nowhere seen"]}).notes["unknown_target_tokens"] == 2


def test_bytes_spell_every_text(tokenizer: Tokenizer) -> None:
    encoding = make(tokenizer, vocabulary="bytes")
    texts = ["Schöne Grüße, 世界", "a\ud800b", "naïve  space "]
    rows = encoding.encode({"en": ["a"] * 3, "de": texts})
    found = rows.targets["labels"]
    assert isinstance(found, Ragged) and rows.counts.tolist() == [
        len(t.encode("utf-8", "replace")) + 1 + 2 * (t[1] == "\ud800") for t in texts
    ]
    written = [encoding.spelling.text(part[:-1].tolist()) for part in np.split(found.values, found.starts[1:-1])]
    assert written == [texts[0], "a\ufffdb", texts[2]]
    assert encoding.spelling.text([0xC3]) == "\ufffd"


def answers(encoding: Generation, texts: list[list[int]], losses: list[list[float]]) -> np.ndarray:
    steps = encoding.limit + 1
    found = np.zeros((len(texts), 1 + 2 * steps), np.float32)
    found[:, 1 : 1 + steps] = -1
    for row, (text, loss) in enumerate(zip(texts, losses, strict=True)):
        found[row, 0] = -0.5 * row
        found[row, 1 : 1 + len(text)] = text
        found[row, 1 + steps : 1 + steps + len(loss)] = loss
    return found


def test_records_hold_one_loss_a_target_token_and_one_text_a_row(tokenizer: Tokenizer) -> None:
    encoding = make(tokenizer, max_target=4)
    rows = encoding.encode(COLUMNS).take(np.array([1, 0]))
    _, targets = encoding.collate(rows, np.zeros(2, np.uint64))
    assert targets["place"].tolist() == [0, 1, 0, 1, 2] and "reference" not in targets
    given = {**targets, **encoding.aside_of(rows, np.array([0, 1]))}
    z, end = rows.targets["labels"].values[:2].tolist()
    records = encoding.records(answers(encoding, [[z, end], [z, z, z, z, end]], [[1, 2], [3, 4, 5]]), given)
    assert records.keys() == encoding.records_given
    assert records["loss"].tolist() == [1, 2, 3, 4, 5] and records["place"].tolist() == [0, 1, 0, 1, 2]
    assert records["text"].tolist() == ["z", "", "z z z z", "", ""]
    assert records["reference"].tolist() == ["z", "", "x y", "", ""]


def test_a_prediction_is_a_text_and_its_score(tokenizer: Tokenizer) -> None:
    encoding = make(tokenizer, vocabulary="bytes")
    rows = encoding.encode({"en": ["a", "b"]}, with_targets=False)
    assert encoding.collate(rows, np.zeros(2, np.uint64))[1] == {}
    found = encoding.decode(answers(encoding, [[*"grün".encode(), 256], [256]], [[], []]), rows)
    assert found == [{"text": "grün", "score": 0.0}, {"text": "", "score": -0.5}]


def test_the_baseline_copies_the_source_and_knows_how_frequent_tokens_are(tokenizer: Tokenizer) -> None:
    encoding = make(tokenizer, vocabulary="bytes")
    train, asked = (encoding.encode({"en": ["A b"], "de": [text]}) for text in ("aaab", "a"))
    records = encoding.baseline(train, asked, np.zeros(1, np.uint64))
    assert records["text"].tolist() == ["A b", ""] and records["reference"].tolist() == ["a", ""]
    seen = 5 + 257  # four letters and an end, one more for everything
    assert records["loss"].tolist() == pytest.approx([-math.log(4 / seen), -math.log(2 / seen)])


def test_the_dummy_row_is_a_row(tokenizer: Tokenizer) -> None:
    for vocabulary in ("trunk", "bytes"):
        encoding = make(tokenizer, vocabulary=vocabulary)
        assert encoding.dummy().targets.keys() == encoding.encode(COLUMNS).targets.keys()
        assert encoding.dummy().targets["labels"].values.tolist() == [encoding.end]


def test_the_key_is_made_of_the_vocabulary_and_the_limit(tokenizer: Tokenizer) -> None:
    given = [{}, {"vocabulary": "bytes"}, {"max_target": 9}]
    assert len({make(tokenizer, **arguments).key() for arguments in given}) == 3


def test_a_tokenizer_of_its_own_is_made_of_the_targets_and_is_part_of_the_key(tokenizer: Tokenizer) -> None:
    encoding = make(tokenizer, vocabulary={"kind": "byte_bpe", "vocab_size": 300})
    assert make(tokenizer).own_wanted is None and encoding.own_wanted is not None
    bare = encoding.key()
    keys = set()
    for texts in (["größer, größer"], ["Zwei Zweige"]):
        encoding.adopt(encoding.own_wanted.build(texts))
        keys.add(encoding.key())
        assert encoding.head_arguments()["num_outputs"] == encoding.own.vocab_size + 1
        row = labels(encoding, {"en": ["a"], "de": ["Größe, zwei"]})[0]
        assert row[-1] == encoding.end and encoding.spelling.text(row[:-1]) == "Größe, zwei"
    assert len(keys | {bare}) == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"vocabulary": "byte"}, "vocabulary: no such one, found 'byte'. Did you mean 'bytes'"),
        ({"vocabulary": {"vocab_size": 9}}, r"vocabulary: no such one, found {'vocab_size': 9}.*Or a tokenizer, such as"),
        ({"vocabulary": {"kind": "byte_bqe"}}, "no tokenizer named 'byte_bqe'. Did you mean 'byte_bpe'"),
        ({"vocabulary": {"kind": "bpe", "size": 9}}, "tokenizer 'bpe' takes no 'size'"),
        ({"max_target": 0}, "max_target: a whole number from 1 up is needed, found 0"),
        ({"max_target": True}, "max_target: a whole number from 1 up is needed, found True"),
    ],
)
def test_arguments_that_can_not_be_are_refused(given: dict[str, object], message: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match=message):
        make(tokenizer, **given)


def test_a_target_that_is_no_text_is_refused_with_its_row(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"column 'de' is no text: 7 \(row 1\)"):
        make(tokenizer).encode({"en": ["a", "b"], "de": ["x", 7]})
