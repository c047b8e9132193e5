from __future__ import annotations

import numpy as np
import pytest

from trunkline.data.encoding.base import Encoding
from trunkline.data.encoding.bilm import Bilm
from trunkline.data.encoding.causal_language import CausalLanguage
from trunkline.data.encoding.classification import Classification
from trunkline.data.encoding.contrastive import Contrastive
from trunkline.data.encoding.generation import Generation
from trunkline.data.encoding.masked_language import MaskedLanguage
from trunkline.data.encoding.multilabel import Multilabel
from trunkline.data.encoding.ranking import Ranking
from trunkline.data.encoding.regression import Regression
from trunkline.data.encoding.replaced_token import ReplacedToken
from trunkline.data.encoding.tagging import Tagging
from trunkline.data.rows import Ragged, join
from trunkline.data.tokenizer import Tokenizer
from trunkline.data.vocabulary import Words
from trunkline.errors import ConfigError, DataError
from trunkline.registry import ENCODINGS

KINDS = (
    "classification",
    "multilabel",
    "regression",
    "tagging",
    "contrastive",
    "ranking",
    "masked_language",
    "causal_language",
    "bilm",
    "replaced_token",
    "generation",
)
COLUMNS = {
    "text": ["the cat sat", "a dog", "walking and talking", "猫坐在垫子上"],
    "label": ["yes", "no", "no", "yes"],
    "labels": [["yes"], "no, yes", [], ""],
    "value": [1.0, 2.0, 3.0, 4.0],
    "tags": [[1, 2, 1], [2, 2], [1, 1, 2], [1]],
    "other": ["a", "the dog", "cats", "狗"],
    "candidates": [["a", "mat"], ["the dog", "cats"], ["狗", "cat"], ["", "a dog"]],
    "grades": [[0, 1], [2, 1], ["3", "0.5"], [1, 0]],
}


def make(kind: str, tokenizer: Tokenizer) -> Encoding:
    made: dict[str, Encoding] = {
        "classification": Classification(tokenizer, ["text"], "label", labels=["no", "yes"]),
        "multilabel": Multilabel(tokenizer, ["text"], "labels", labels=["no", "yes"]),
        "regression": Regression(tokenizer, ["text", "other"], "value"),
        "tagging": Tagging(tokenizer, ["text"], "tags", labels=[1, 2]),
        "contrastive": Contrastive(tokenizer, ["text"], "other"),
        "ranking": Ranking(tokenizer, ["text", "candidates"], "grades"),
        "masked_language": MaskedLanguage(tokenizer, ["text"], None),
        "causal_language": CausalLanguage(tokenizer, ["text"], None),
        "bilm": Bilm(tokenizer, ["text"], None),
        "replaced_token": ReplacedToken(tokenizer, ["text"], None),
        "generation": Generation(tokenizer, ["text"], "other"),
    }
    return made[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_has_as_many_targets_as_it_counts(kind: str, tokenizer: Tokenizer) -> None:
    encoding = make(kind, tokenizer)
    rows = encoding.encode(COLUMNS)
    assert len(rows) == 4 and rows.counts.min() >= 1
    for name, value in rows.targets.items():
        # grades: one for each candidate of a list, which counts once; replaced: how many of a row's tokens are.
        if name not in {"grades", "replaced", *encoding.aside}:
            np.testing.assert_array_equal(value.lengths if isinstance(value, Ragged) else np.ones(len(value)), rows.counts)
    _, targets = encoding.collate(rows, np.arange(4, dtype=np.uint64))
    assert {len(value) for value in targets.values()} == {int(rows.counts.sum())}


@pytest.mark.parametrize("kind", KINDS)
def test_trunk_rows_fill_the_tokens_and_know_where_they_end(kind: str, tokenizer: Tokenizer) -> None:
    rows = make(kind, tokenizer).encode(COLUMNS)
    starts = np.concatenate([[0], np.cumsum(rows.lengths.values)])
    np.testing.assert_array_equal(starts[rows.lengths.starts], rows.tokens.starts)
    assert (rows.tokens.values[starts[:-1]] == tokenizer.cls_id).all() and (
        rows.tokens.values[starts[1:] - 1] == tokenizer.sep_id
    ).all()
    assert (rows.seconds.values <= rows.lengths.values).all()


@pytest.mark.parametrize("kind", KINDS)
def test_encoding_in_chunks_is_encoding_at_once(kind: str, tokenizer: Tokenizer) -> None:
    encoding = make(kind, tokenizer)
    parts = [encoding.encode({name: values[a:b] for name, values in COLUMNS.items()}) for a, b in ((0, 1), (1, 4))]
    whole, joined = encoding.encode(COLUMNS), join(parts)
    np.testing.assert_array_equal(whole.tokens.values, joined.tokens.values)
    np.testing.assert_array_equal(whole.counts, joined.counts)
    assert whole.notes == joined.notes


@pytest.mark.parametrize("kind", KINDS)
def test_the_dummy_is_one_row_that_collates_like_any_other(kind: str, tokenizer: Tokenizer) -> None:
    encoding = make(kind, tokenizer)
    dummy, real = encoding.dummy(), encoding.encode(COLUMNS)
    assert len(dummy) == 1 and dummy.counts.min() >= 1
    assert len(dummy.lengths.values) == len(real.lengths.values) // 4
    tokens, targets = encoding.collate(dummy, np.zeros(1, np.uint64))
    _, others = encoding.collate(real, np.zeros(4, np.uint64))
    assert len(tokens) == dummy.lengths.values.sum()
    assert {name: (value.dtype, value.shape) for name, value in targets.items()} == {
        name: (value.dtype, (int(dummy.counts.sum()), *value.shape[1:])) for name, value in others.items()
    }
    assert join([real, dummy]).targets.keys() == real.targets.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_without_ordinary_tokens_has_a_dummy_too(kind: str) -> None:
    encoding = make(kind, Words().build(()))
    tokens, targets = encoding.collate(encoding.dummy(), np.zeros(1, np.uint64))
    assert len({len(value) for value in targets.values()}) == 1
    assert (targets.get("positions", np.zeros(1)) < len(tokens)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_positions_are_relative_to_the_slice(kind: str, tokenizer: Tokenizer) -> None:
    encoding = make(kind, tokenizer)
    rows = encoding.encode(COLUMNS)
    _, targets = encoding.collate(rows, np.arange(4, dtype=np.uint64))
    if "positions" in targets:
        owner = np.searchsorted(rows.tokens.starts, targets["positions"], side="right") - 1
        np.testing.assert_array_equal(owner, np.repeat(np.arange(4), rows.counts))


@pytest.mark.parametrize("kind", KINDS)
def test_records_are_those_the_class_says_and_the_baseline_gives_them_too(kind: str, tokenizer: Tokenizer) -> None:
    encoding = make(kind, tokenizer)
    rows = encoding.encode(COLUMNS)
    given = encoding.baseline(rows, rows, np.arange(4, dtype=np.uint64))
    assert given.keys() == encoding.records_given
    assert {len(value) for value in given.values()} == {int(rows.counts.sum())}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_targets_are_encoded_for_prediction(kind: str, tokenizer: Tokenizer) -> None:
    encoding = make(kind, tokenizer)
    rows = encoding.encode({name: COLUMNS[name] for name in ("text", "other", "candidates")}, with_targets=False)
    np.testing.assert_array_equal(rows.tokens.values, encoding.encode(COLUMNS).tokens.values)
    assert rows.targets.keys() <= {"positions", "replaced"}


@pytest.mark.parametrize("kind", KINDS)
def test_empty_and_odd_texts_are_encoded_and_counted(kind: str, tokenizer: Tokenizer) -> None:
    encoding = make(kind, tokenizer)
    texts = ["", "   ", "[SEP]", "\u200b\u200d", "x" * 1_000_000]
    rows = encoding.encode({"text": texts, "other": texts, "candidates": [[t, t] for t in texts]}, with_targets=False)
    assert len(rows) == 5 and rows.lengths.values.min() >= 2 and rows.lengths.values.max() <= tokenizer.max_length
    assert rows.notes["empty"] >= 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_is_missing_or_no_text_is_named(kind: str, tokenizer: Tokenizer) -> None:
    encoding = make(kind, tokenizer)
    with pytest.raises(DataError, match=r"no column 'text'"):
        encoding.encode({name if name != "text" else "txt": values for name, values in COLUMNS.items()})
    columns = {**COLUMNS, "text": ["the cat", 5, None, "a"]}
    with pytest.raises(DataError, match=r"^a\.csv:11: column 'text' is n.* 5 \(a\.csv:11\), None \(a\.csv:12\)"):
        encoding.encode(columns, where=lambda row: f"a.csv:{row + 10}")
    with pytest.raises(DataError, match=r"^row 101: "):
        encoding.encode(columns, first_row=100)


@pytest.mark.parametrize("kind", KINDS)
def test_the_key_holds_everything_that_decides_the_rows(kind: str, tokenizer: Tokenizer, make_tokenizer) -> None:
    first = make(kind, tokenizer).key()
    assert first == make(kind, tokenizer).key()
    assert len({first, *(make(kind, make_tokenizer(max_length=n)).key() for n in (9, 10))}) == 3
    assert len({make(other, tokenizer).key() for other in KINDS}) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_registry_knows_every_kind_and_its_arguments(kind: str, tokenizer: Tokenizer) -> None:
    assert ENCODINGS.get(kind) is type(make(kind, tokenizer))
    assert ("labels" in ENCODINGS.arguments(kind)) == (kind in ("classification", "multilabel", "tagging"))


def test_too_many_inputs_or_no_target_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match=r"takes 1 or 2 column\(s\), found 3"):
        Regression(tokenizer, ["a", "b", "c"], "value")
    with pytest.raises(ConfigError, match="needs a target column"):
        Regression(tokenizer, ["a"], None)
