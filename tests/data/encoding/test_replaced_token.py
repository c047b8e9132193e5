"""Replacements are a function of the row's key: law 3, with planted-fault twins it must reject."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from trunkline.data.encoding.replaced_token import ReplacedToken
from trunkline.data.keys import row_keys
from trunkline.data.rows import Rows
from trunkline.data.tokenizer import Tokenizer
from trunkline.data.vocabulary import Words
from trunkline.errors import ConfigError

WORDS = [f"word{number}" for number in range(200)]
RNG = np.random.default_rng(0)
TEXTS = [" ".join(RNG.choice(WORDS, RNG.integers(1, 30))) for _ in range(60)]


@pytest.fixture(scope="module")
def wide() -> Tokenizer:
    return Words(vocab_size=1000).build([" ".join(WORDS)], max_length=40)


def make(tokenizer: Tokenizer, cls: type[ReplacedToken] = ReplacedToken, **given: float) -> ReplacedToken:
    return cls(tokenizer, ["text"], None, **given)


class ByPlaceInPack(ReplacedToken):
    """A planted fault: the stream runs on from row to row, as one generator per pack would."""

    def collate(self, rows: Rows, keys: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return super().collate(rows, keys + rows.tokens.starts[:-1].astype(np.uint64))


class FromWholePack(ReplacedToken):
    """A planted fault: the tokens of all rows of the pack may be put into any of them."""

    def collate(self, rows: Rows, keys: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        tokens, targets = super().collate(rows, keys)
        changed = targets["positions"][targets["labels"] == 1]
        tokens[changed] = np.roll(tokens[changed], 1)
        return tokens, targets


def replaced(encoding: ReplacedToken, rows: Rows, order: Sequence[int]) -> dict[int, tuple[list[int], list[int], list[int]]]:
    """Of each row of a pack: its tokens, and the positions and labels of its targets, relative to the row."""
    ids = np.array(order)
    part = rows.take(ids)
    tokens, targets = encoding.collate(part, row_keys(17, "words", ids, 2))
    ends = np.cumsum(part.counts)
    found = {}
    for number, row in enumerate(order):
        first, last = part.tokens.starts[number], part.tokens.starts[number + 1]
        own = slice(ends[number] - part.counts[number], ends[number])
        found[row] = (tokens[first:last].tolist(), (targets["positions"][own] - first).tolist(), targets["labels"][own].tolist())
    return found


def same_in_every_pack(encoding: ReplacedToken) -> bool:
    rows = encoding.encode({"text": TEXTS})
    whole = replaced(encoding, rows, range(60))
    packs: list[Sequence[int]] = [[7], [59, 3, 7], list(range(59, -1, -1)), [*range(0, 60, 2)], [*range(1, 60, 2)]]
    return all(found == whole[row] for pack in packs for row, found in replaced(encoding, rows, pack).items())


def test_a_row_is_replaced_alike_in_whatever_pack_it_lies(wide: Tokenizer) -> None:
    assert same_in_every_pack(make(wide))


@pytest.mark.parametrize("fault", [ByPlaceInPack, FromWholePack])
def test_replacements_that_depend_on_the_pack_are_seen(fault: type[ReplacedToken], wide: Tokenizer) -> None:
    assert not same_in_every_pack(make(wide, fault))


@pytest.mark.parametrize("turn", range(5))
def test_every_ordinary_token_is_asked_about_and_a_label_says_whether_it_changed(wide: Tokenizer, turn: int) -> None:
    encoding = make(wide, replace=0.5)
    rows = encoding.encode({"text": [*TEXTS, "word1 unheard word2 unheard"]})
    tokens, targets = encoding.collate(rows, row_keys(1, "a", np.arange(61), turn))
    written = rows.tokens.values
    np.testing.assert_array_equal(targets["positions"], np.flatnonzero(~np.isin(written, wide.special_ids)))
    changed = np.zeros(len(tokens), bool)
    changed[targets["positions"]] = targets["labels"]
    np.testing.assert_array_equal(changed, tokens != written)
    assert not np.isin(tokens[changed], wide.special_ids).any()


def test_the_share_replaced_is_the_stated_one_but_for_proposals_equal_to_the_original(wide: Tokenizer) -> None:
    encoding = make(wide, replace=0.3)
    rows = encoding.encode({"text": [" ".join(WORDS[:20]), "word1", "word1 word2", " ".join(WORDS[:10])]})
    assert rows.counts.tolist() == [20, 1, 2, 10]
    np.testing.assert_array_equal(rows.targets["replaced"], [6, 1, 1, 3])
    found = np.zeros(4)
    for turn in range(500):
        labels = encoding.collate(rows, row_keys(0, "a", np.arange(4), turn))[1]["labels"]
        found += np.add.reduceat(labels, [0, 20, 21, 23])
    # All words of a row differ here, so half the proposals always change something, the others but for one in 200.
    # For the row of one word a proposal from the row is the word itself.
    assert found / 500 == pytest.approx([6, 0.5, 1, 3], abs=0.06)


@pytest.mark.parametrize("from_row", [0.0, 0.5, 1.0])
def test_replacements_come_from_the_row_with_the_stated_chance(from_row: float, wide: Tokenizer) -> None:
    encoding = make(wide, replace=0.4, from_row=from_row)
    rows = encoding.encode({"text": [" ".join(WORDS[:10])]})
    own = set(rows.tokens.values.tolist())
    news: list[int] = []
    for turn in range(500):
        tokens, targets = encoding.collate(rows, row_keys(0, "a", np.array([0]), turn))
        news += tokens[targets["positions"][targets["labels"] == 1]].tolist()
    # About 2,000 replacements; one of any word is one of the row's in 9 of 199 cases.
    inside = np.mean([token in own for token in news])
    assert inside == pytest.approx(from_row + (1 - from_row) * 9 / 199, abs=0.04)


def test_a_repeated_word_put_in_its_own_place_counts_as_original(wide: Tokenizer) -> None:
    encoding = make(wide, replace=0.9, from_row=1.0)
    rows = encoding.encode({"text": ["word1 word1 word1 word1"]})
    tokens, targets = encoding.collate(rows, row_keys(0, "a", np.array([0]), 0))
    np.testing.assert_array_equal(tokens, rows.tokens.values)
    assert targets["labels"].tolist() == [0, 0, 0, 0]


def test_every_pass_replaces_anew_and_leaves_the_stored_rows_alone(wide: Tokenizer) -> None:
    encoding = make(wide)
    rows = encoding.encode({"text": TEXTS})
    before = rows.tokens.values.copy()
    rows.tokens.values.flags.writeable = False  # as the store maps them
    first, second = (encoding.collate(rows, row_keys(0, "a", np.arange(60), turn))[0] for turn in (0, 1))
    assert (first != second).any()
    np.testing.assert_array_equal(rows.tokens.values, before)


def test_rows_under_prediction_are_read_as_they_stand(wide: Tokenizer) -> None:
    encoding = make(wide)
    rows = encoding.encode({"text": TEXTS}, with_targets=False)
    tokens, targets = encoding.collate(rows, row_keys(0, "a", np.arange(60), 0))
    np.testing.assert_array_equal(tokens, rows.tokens.values)
    assert not targets["labels"].any() and len(targets["positions"]) == rows.counts.sum()


def test_rows_without_an_ordinary_token_have_nothing_to_learn(wide: Tokenizer) -> None:
    rows = make(wide).encode({"text": ["word1", "", "unheard"]})
    assert rows.counts.tolist() == [1, 0, 0]
    assert len(make(wide).collate(rows, row_keys(0, "a", np.arange(3), 0))[1]["positions"]) == 1


def test_the_baseline_says_original_of_every_token_with_the_share_of_the_training_rows(wide: Tokenizer) -> None:
    encoding = make(wide, replace=0.25)
    train = encoding.encode({"text": ["word1 word2 word3 word4", "word5"]})  # two of five
    evaluated = encoding.encode({"text": ["word6 word7"]})
    records = encoding.baseline(train, evaluated, row_keys(0, "a", np.array([0]), 0))
    np.testing.assert_allclose(np.exp(records["scores"]), [[0.6, 0.4]] * 2, rtol=1e-6)
    assert records["prediction"].tolist() == [0, 0]


def test_a_prediction_gives_each_token_with_its_chance_of_being_replaced(wide: Tokenizer) -> None:
    encoding = make(wide)
    rows = encoding.encode({"text": ["word5 unheard word7", ""]}, with_targets=False)
    answers = encoding.decode(np.array([[0.0, np.log(3)], [900.0, -900.0]]), rows)
    assert answers == [
        {"tokens": ["word5", "word7"], "replaced": [pytest.approx(0.75), pytest.approx(0)]},
        {"tokens": [], "replaced": []},
    ]


@pytest.mark.parametrize(
    ("given", "said"), [({"replace": 0}, "replace: "), ({"replace": 1}, "replace: "), ({"from_row": 1.5}, "from_row: ")]
)
def test_shares_that_make_no_sense_are_refused(given: dict[str, float], said: str, wide: Tokenizer) -> None:
    with pytest.raises(ConfigError, match=said):
        make(wide, **given)


def test_a_target_column_is_refused(wide: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="makes its own targets"):
        ReplacedToken(wide, ["text"], "label")
