from __future__ import annotations

import numpy as np
import pytest

from trunkline.data.encoding.contrastive import Contrastive
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import ConfigError

COLUMNS = {"query": ["the cat", "a dog", "mat"], "reply": ["sat", "on the mat and the cat", "sat"]}


@pytest.mark.parametrize(("inputs", "target"), [(["query"], "reply"), (["query", "reply"], None)])
def test_a_row_is_its_query_and_then_its_candidate(inputs: list[str], target: str | None, tokenizer: Tokenizer) -> None:
    rows = Contrastive(tokenizer, inputs, target).encode(COLUMNS)
    assert len(rows) == 3 and rows.counts.tolist() == [1, 1, 1] and len(rows.lengths.values) == 6
    ends = np.cumsum(rows.lengths.values)[:-1]
    texts = [tokenizer.decode(part) for part in np.split(rows.tokens.values, ends)]
    assert texts == [text for pair in zip(COLUMNS["query"], COLUMNS["reply"], strict=True) for text in pair]
    np.testing.assert_array_equal(rows.seconds.values, rows.lengths.values)


def test_equal_candidates_have_equal_keys_and_others_do_not(tokenizer: Tokenizer) -> None:
    targets = Contrastive(tokenizer, ["query"], "reply").encode(COLUMNS).targets
    key, query = targets["key"], targets["query_key"]
    assert isinstance(key, np.ndarray) and isinstance(query, np.ndarray)
    assert key[0] == key[2] != key[1] and len(set(query.tolist())) == 3 and key.dtype == np.int64


def test_taken_rows_keep_both_texts_together(tokenizer: Tokenizer) -> None:
    rows = Contrastive(tokenizer, ["query"], "reply").encode(COLUMNS)
    taken = rows.take(np.array([2, 0]))
    again = Contrastive(tokenizer, ["query"], "reply").encode({name: [values[2], values[0]] for name, values in COLUMNS.items()})
    np.testing.assert_array_equal(taken.tokens.values, again.tokens.values)
    np.testing.assert_array_equal(taken.lengths.values, again.lengths.values)


def test_records_are_at_unit_length_and_the_baseline_ties_all(tokenizer: Tokenizer) -> None:
    encoding = Contrastive(tokenizer, ["query"], "reply")
    rows = encoding.encode(COLUMNS)
    targets = {name: value for name, value in rows.targets.items() if isinstance(value, np.ndarray)}
    vectors = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)
    records = encoding.records(vectors, targets)
    np.testing.assert_allclose(np.linalg.norm(records["query"], axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(
        records["candidate"] * np.linalg.norm(vectors[:, 1], axis=1, keepdims=True), vectors[:, 1], rtol=1e-5
    )
    tied = encoding.baseline(rows, rows, np.zeros(3, np.uint64))
    assert not (tied["query"] @ tied["candidate"].T).any()


def test_a_prediction_is_the_cosine(tokenizer: Tokenizer) -> None:
    outputs = np.array([[[2.0, 0], [3, 0]], [[1, 0], [0, 5]], [[0, 0], [1, 1]]])
    encoding = Contrastive(tokenizer, ["query"], "reply")
    answers = encoding.decode(outputs, encoding.dummy())
    assert [answer["similarity"] for answer in answers] == pytest.approx([1, 0, 0])


@pytest.mark.parametrize(("inputs", "target"), [(["query"], None), (["query", "reply"], "label"), (["query"], "query")])
def test_anything_but_two_columns_is_refused(inputs: list[str], target: str | None, tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="two columns, the query and its right candidate"):
        Contrastive(tokenizer, inputs, target)
