"""Masks are a function of the row's key: law 3, with planted-fault twins it must reject."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from trunkline.data.encoding.masked_language import MaskedLanguage
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


def make(tokenizer: Tokenizer, cls: type[MaskedLanguage] = MaskedLanguage, **given: float) -> MaskedLanguage:
    return cls(tokenizer, ["text"], None, **given)


class ByPlaceInPack(MaskedLanguage):
    """A planted fault: the stream runs on from row to row, as one generator per pack would."""

    def collate(self, rows: Rows, keys: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        shift = rows.tokens.starts[:-1].astype(np.uint64)
        return super().collate(rows, keys + shift)


class ByRowInPack(MaskedLanguage):
    """A planted fault: one key for the pack, its rows told apart by their number in it."""

    def collate(self, rows: Rows, keys: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return super().collate(rows, np.full_like(keys, keys[0]) + np.arange(len(keys), dtype=np.uint64))


def masked(encoding: MaskedLanguage, rows: Rows, order: Sequence[int]) -> dict[int, tuple[list[int], list[int], list[int]]]:
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


def same_in_every_pack(encoding: MaskedLanguage) -> bool:
    rows = encoding.encode({"text": TEXTS})
    whole = masked(encoding, rows, range(60))
    packs: list[Sequence[int]] = [[7], [59, 3, 7], list(range(59, -1, -1)), [*range(0, 60, 2)], [*range(1, 60, 2)]]
    return all(found == whole[row] for pack in packs for row, found in masked(encoding, rows, pack).items())


def test_a_row_is_masked_alike_in_whatever_pack_it_lies(wide: Tokenizer) -> None:
    assert same_in_every_pack(make(wide))


@pytest.mark.parametrize("fault", [ByPlaceInPack, ByRowInPack])
def test_masks_that_depend_on_the_pack_are_seen(fault: type[MaskedLanguage], wide: Tokenizer) -> None:
    assert not same_in_every_pack(make(wide, fault))


def test_the_count_is_known_before_and_is_the_stated_share(wide: Tokenizer) -> None:
    encoding = make(wide, mask_share=0.15)
    texts = [" ".join(WORDS[:count]) for count in (1, 3, 4, 9, 10, 17, 30)]
    rows = encoding.encode({"text": texts})
    assert rows.counts.tolist() == [1, 1, 1, 1, 2, 3, 4]
    _, targets = encoding.collate(rows, row_keys(0, "a", np.arange(7), 0))
    assert len(targets["positions"]) == len(targets["labels"]) == rows.counts.sum()


def test_only_ordinary_tokens_are_chosen_and_labels_are_what_stood_there(wide: Tokenizer) -> None:
    encoding = make(wide, mask_share=0.9)
    rows = encoding.encode({"text": [*TEXTS, "word1 unheard word2 unheard"]})
    tokens, targets = encoding.collate(rows, row_keys(1, "a", np.arange(61), 0))
    original = rows.tokens.values
    np.testing.assert_array_equal(original[targets["positions"]], targets["labels"])
    assert not np.isin(targets["labels"], wide.special_ids).any()
    assert (np.diff(targets["positions"]) > 0).all()
    untouched = np.setdiff1d(np.arange(len(tokens)), targets["positions"])
    np.testing.assert_array_equal(tokens[untouched], original[untouched])


def test_of_the_chosen_eight_in_ten_are_hidden_one_replaced_one_kept(wide: Tokenizer) -> None:
    encoding = make(wide)
    rows = encoding.encode({"text": TEXTS})
    hidden = replaced = kept = 0
    for turn in range(200):
        tokens, targets = encoding.collate(rows, row_keys(0, "a", np.arange(60), turn))
        now = tokens[targets["positions"]]
        hidden += int((now == wide.mask_id).sum())
        kept += int((now == targets["labels"]).sum())
        replaced += int(((now != wide.mask_id) & (now != targets["labels"])).sum())
        assert not np.isin(now[now != wide.mask_id], wide.special_ids).any()
    total = hidden + replaced + kept
    # About 28,000 targets; a standard deviation is under 0.003.
    assert hidden / total == pytest.approx(0.8, abs=0.01)
    assert kept / total == pytest.approx(0.1, abs=0.01) == replaced / total


@pytest.mark.parametrize(("keep", "random"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
def test_the_shares_are_those_the_card_gives(keep: float, random: float, wide: Tokenizer) -> None:
    encoding = make(wide, keep=keep, random=random, mask_share=0.5)
    rows = encoding.encode({"text": TEXTS})
    tokens, targets = encoding.collate(rows, row_keys(0, "a", np.arange(60), 0))
    now = tokens[targets["positions"]]
    assert ((now == wide.mask_id).all()) == (keep == random == 0)
    assert (now == targets["labels"]).all() == (keep == 1)


def test_every_token_is_hidden_about_equally_often_and_every_pass_anew(wide: Tokenizer) -> None:
    encoding = make(wide, mask_share=0.2)
    rows = encoding.encode({"text": [" ".join(WORDS[:20])]})
    times, sets = np.zeros(22), set()
    for turn in range(2000):
        _, targets = encoding.collate(rows, row_keys(0, "a", np.array([0]), turn))
        times[targets["positions"]] += 1
        sets.add(tuple(targets["positions"]))
    # 4 of 20 places, 2,000 times: 400 each, a standard deviation about 18.
    assert times[0] == times[-1] == 0 and np.abs(times[1:-1] - 400).max() < 90
    assert len(sets) > 1200


def test_collating_leaves_the_stored_rows_alone(wide: Tokenizer) -> None:
    encoding = make(wide)
    rows = encoding.encode({"text": TEXTS})
    before = rows.tokens.values.copy()
    rows.tokens.values.flags.writeable = False  # as the store maps them
    encoding.collate(rows, row_keys(0, "a", np.arange(60), 0))
    np.testing.assert_array_equal(rows.tokens.values, before)


def test_rows_without_an_ordinary_token_have_nothing_to_learn(wide: Tokenizer) -> None:
    texts = ["word1", "", "unheard", "word2 word3"]
    rows = make(wide).encode({"text": texts})
    assert rows.counts.tolist() == [1, 0, 0, 1]
    tokens, targets = make(wide).collate(rows, row_keys(0, "a", np.arange(4), 0))
    assert len(tokens) == len(rows.tokens.values) and len(targets["positions"]) == 2


def test_the_baseline_is_the_unigram_model_of_the_training_rows(wide: Tokenizer) -> None:
    encoding = make(wide, mask_share=1.0)
    train = encoding.encode({"text": ["word1 word1 word2", "word1"]})
    evaluated = encoding.encode({"text": ["word1 word2 word9"]})
    keys = row_keys(0, "a", np.array([0]), 0)
    records = encoding.baseline(train, evaluated, keys)
    # 4 training tokens and one more of each of 200 words.
    wanted = [-math.log(count / 204) for count in (4, 2, 1)]
    np.testing.assert_allclose(records["loss"], wanted, rtol=1e-6)
    assert wide.token(int(records["prediction"][0])) == "word1"
    np.testing.assert_array_equal(records["target"], encoding.collate(evaluated, keys)[1]["labels"])


def test_a_prediction_gives_perplexity_and_guesses(wide: Tokenizer) -> None:
    ids = wide.encode(["word5 word7"]).tokens.values[1:-1]
    outputs = np.array([[math.log(2), ids[0]], [math.log(8), ids[1]]])
    encoding = make(wide, mask_share=1.0)
    answers = encoding.decode(outputs, encoding.encode({"text": ["word5 word7", ""]}))
    assert answers[0]["perplexity"] == pytest.approx(4) and answers[0]["guesses"] == ["word5", "word7"]
    assert answers[1] == {"perplexity": None, "guesses": []}


@pytest.mark.parametrize(("given", "said"), [
    ({"mask_share": 0}, "mask_share"), ({"mask_share": 1.5}, "mask_share"),
    ({"keep": 0.6, "random": 0.6}, "keep, random"), ({"keep": -0.1}, "keep"),
])  # fmt: skip
def test_shares_that_make_no_sense_are_refused(given: dict[str, float], said: str, wide: Tokenizer) -> None:
    with pytest.raises(ConfigError, match=said):
        make(wide, **given)


def test_a_target_column_or_a_tokenizer_without_mask_is_refused(wide: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="makes its own targets"):
        MaskedLanguage(wide, ["text"], "label")
    without = Tokenizer(wide.inner, {name: text for name, text in wide.special.items() if name != "mask"})
    with pytest.raises(ConfigError, match="mask token"):
        make(without)
