from __future__ import annotations

import numpy as np
import pytest

from trunkline.data.encoding.contrastive import Contrastive, ScoredPairs
from trunkline.data.rows import Ragged, join
from trunkline.data.sources.chunk import Chunk
from trunkline.data.sources.reading import Reading
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import ConfigError, DataError

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
    encoding = Contrastive(tokenizer, ["query"], "reply", negatives="wrong")
    rows = encoding.encode({**COLUMNS, "wrong": [None, ["x", "y"], "z"]})
    _, targets = encoding.collate(rows, np.zeros(3, np.uint64))
    vectors = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    records = encoding.records(vectors, targets)
    np.testing.assert_allclose(np.linalg.norm(records["query"], axis=1), 1, rtol=1e-6)
    candidates = vectors[[1, 3, 7]]
    np.testing.assert_allclose(records["candidate"] * np.linalg.norm(candidates, axis=1, keepdims=True), candidates, rtol=1e-5)
    tied = encoding.baseline(rows, rows, np.zeros(3, np.uint64))
    assert not (tied["query"] @ tied["candidate"].T).any()


def test_a_prediction_is_the_cosine(tokenizer: Tokenizer) -> None:
    outputs = np.array([[2.0, 0], [3, 0], [1, 0], [0, 5], [0, 0], [1, 1]])
    encoding = Contrastive(tokenizer, ["query"], "reply")
    answers = encoding.decode(outputs, encoding.encode(COLUMNS, with_targets=False))
    assert [answer["similarity"] for answer in answers] == pytest.approx([1, 0, 0])


@pytest.mark.parametrize(("inputs", "target"), [(["query"], None), (["query", "reply"], "label"), (["query"], "query")])
def test_anything_but_two_columns_is_refused(inputs: list[str], target: str | None, tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="two columns, the anchor and its positive"):
        Contrastive(tokenizer, inputs, target)


def test_negatives_follow_their_row_and_may_be_none_one_or_several(tokenizer: Tokenizer) -> None:
    encoding = Contrastive(tokenizer, ["query"], "reply", negatives="wrong")
    rows = encoding.encode({**COLUMNS, "wrong": ["a mat", None, ["the dog", "cat"]]})
    assert rows.lengths.lengths.tolist() == [3, 2, 4] and rows.counts.tolist() == [1, 1, 1]
    texts = [tokenizer.decode(part) for part in np.split(rows.tokens.values, np.cumsum(rows.lengths.values)[:-1])]
    assert texts == ["the cat", "sat", "a mat", "a dog", "on the mat and the cat", "mat", "sat", "the dog", "cat"]
    tokens, targets = encoding.collate(rows.take(np.array([2, 0])), np.zeros(2, np.uint64))
    assert targets["vectors"].tolist() == [4, 3] and len(targets["negative_key"]) == 3
    keys = encoding.encode({"query": ["a"] * 3, "reply": ["the dog", "cat", "a mat"], "wrong": [""] * 3}).targets["key"]
    assert isinstance(keys, np.ndarray) and targets["negative_key"].tolist() == keys.tolist()
    assert len(tokens) == rows.tokens.lengths[[2, 0]].sum() and rows.notes["without_negatives"] == 1


def test_a_negative_that_is_the_positive_is_left_out_and_counted(tokenizer: Tokenizer) -> None:
    encoding = Contrastive(tokenizer, ["query"], "reply", negatives="wrong")
    rows = encoding.encode({**COLUMNS, "wrong": ["sat", ["cat", "on the mat and the cat"], []]})
    assert rows.lengths.lengths.tolist() == [2, 3, 2]
    assert rows.notes["negatives_like_positive_dropped"] == 2 and rows.notes["without_negatives"] == 2


def test_rows_without_negatives_anywhere_are_pairs(tokenizer: Tokenizer) -> None:
    rows = Contrastive(tokenizer, ["query"], "reply", negatives="wrong").encode({**COLUMNS, "wrong": [None] * 3})
    pairs = Contrastive(tokenizer, ["query"], "reply").encode(COLUMNS)
    np.testing.assert_array_equal(rows.tokens.values, pairs.tokens.values)
    assert isinstance(rows.targets["negative_key"], Ragged) and not len(rows.targets["negative_key"].values)


def test_chunks_with_and_without_negatives_join(tokenizer: Tokenizer) -> None:
    encoding, columns = Contrastive(tokenizer, ["query"], "reply", negatives="wrong"), {**COLUMNS, "wrong": [None, "x", ["y"]]}
    parts = [encoding.encode({name: values[a:b] for name, values in columns.items()}) for a, b in ((0, 1), (1, 3))]
    joined, whole = join([*parts, encoding.dummy()]), encoding.encode(columns)
    np.testing.assert_array_equal(joined.lengths.values[:-2], whole.lengths.values)
    assert joined.tokens.values.dtype == whole.tokens.values.dtype and joined.lengths.values.dtype == np.int32


@pytest.mark.parametrize("wrong", [5, [5], ["a", None], {"a": 1}])
def test_a_negative_that_is_no_text_is_named(wrong: object, tokenizer: Tokenizer) -> None:
    encoding = Contrastive(tokenizer, ["query"], "reply", negatives="wrong")
    with pytest.raises(DataError, match=r"a\.csv:11: column 'wrong' is neither a text nor a list of texts"):
        encoding.encode({**COLUMNS, "wrong": [None, wrong, "x"]}, where=lambda row: f"a.csv:{row + 10}")


def test_a_missing_column_of_negatives_is_told_with_the_nearest(tokenizer: Tokenizer) -> None:
    encoding = Contrastive(tokenizer, ["query"], "reply", negatives="wrong")
    chunk = Chunk({**COLUMNS, "wrnog": ["a"] * 3})
    with pytest.raises(DataError, match=r"no column 'wrong'\. Did you mean 'wrnog'"):
        Reading().select(chunk, encoding.wanted, encoding.optional)
    picked = Reading(nulls=["-"]).select(Chunk({**COLUMNS, "wrong": ["-", "b", None]}), encoding.wanted, encoding.optional)
    assert list(picked.columns["wrong"]) == [None, "b", None]


SCORED = {"query": ["a cat", "a dog", "mat"], "reply": ["sat", "the dog", "on"], "score": ["5", 2.5, 0]}


def test_two_inputs_and_a_target_are_pairs_with_a_score(tokenizer: Tokenizer) -> None:
    made = Contrastive.suited(["query", "reply"], "score")
    assert made is ScoredPairs and Contrastive.suited(["query"], "reply") is Contrastive.suited(["a", "b"], None) is Contrastive
    encoding = made(tokenizer, ["query", "reply"], "score", score_range=[0, 5])
    rows = encoding.encode(SCORED)
    assert rows.targets["score"].tolist() == [1.0, 0.5, 0.0] and rows.targets.keys() == {"score"}
    _, targets = encoding.collate(rows, np.zeros(3, np.uint64))
    records = encoding.records(np.array([[1.0, 0], [2, 0], [0, 1], [1, 1], [0, 0], [1, 0]]), targets)
    assert records["prediction"].tolist() == pytest.approx([1, 0.5**0.5, 0]) and records["target"].tolist() == [1, 0.5, 0]
    guess = encoding.baseline(rows, rows, np.zeros(3, np.uint64))
    assert guess["prediction"].tolist() == [0.5] * 3 and guess.keys() == encoding.records_given
    assert encoding.dummy().targets.keys() == rows.targets.keys()
    asked = encoding.encode({"query": ["a"], "reply": ["b"]}, with_targets=False)
    assert encoding.decode(np.array([[1.0, 0], [1, 0]]), asked) == [{"similarity": pytest.approx(1.0)}]


def test_scores_that_are_no_cosines_are_counted(tokenizer: Tokenizer) -> None:
    rows = ScoredPairs(tokenizer, ["query", "reply"], "score").encode(SCORED)
    assert rows.targets["score"].tolist() == [5.0, 2.5, 0.0] and rows.notes["scores_beyond_cosine"] == 2


@pytest.mark.parametrize(
    ("score", "said"),
    [
        ("alike", "column 'score' has values that are no number from -1e6 to 1e6: 'alike' \\(row 1\\)"),
        (float("nan"), "no number"),
        (True, "no number"),
        (5.5, r"scores outside of score_range \[0, 5\]: 5.5"),
    ],
)
def test_a_score_that_is_no_number_or_out_of_its_range_is_named(score: object, said: str, tokenizer: Tokenizer) -> None:
    encoding = ScoredPairs(tokenizer, ["query", "reply"], "score", score_range=[0, 5])
    with pytest.raises(DataError, match=said):
        encoding.encode({**SCORED, "score": [1, score, 2]})


@pytest.mark.parametrize(
    ("make", "given", "said"),
    [
        (Contrastive, {"negatives": "reply"}, "negatives: a third column is needed, found 'reply'"),
        (Contrastive, {"negatives": 3}, "negatives: a third column is needed"),
        (Contrastive, {"score_range": [0, 5]}, "score_range: these rows have no score"),
        (ScoredPairs, {"negatives": "x"}, "negatives: pairs with a score have none"),
        (ScoredPairs, {"score_range": [5, 0]}, r"score_range: the lowest and the highest score are needed, .* found \[5, 0\]"),
        (ScoredPairs, {"score_range": 5}, "score_range: the lowest and the highest"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    make: type[Contrastive], given: dict[str, object], said: str, tokenizer: Tokenizer
) -> None:
    inputs, target = (["query"], "reply") if make is Contrastive else (["query", "reply"], "score")
    with pytest.raises(ConfigError, match=said):
        make(tokenizer, inputs, target, **given)


def test_negatives_and_the_range_of_scores_are_in_the_key(tokenizer: Tokenizer) -> None:
    keys = {Contrastive(tokenizer, ["query"], "reply", negatives=name).key() for name in (None, "a", "b")}
    keys |= {ScoredPairs(tokenizer, ["query", "reply"], "x", score_range=given).key() for given in (None, [0, 1], [0, 5])}
    assert len(keys) == 6
