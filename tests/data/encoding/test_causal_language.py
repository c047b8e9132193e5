"""Every token guesses its neighbour: the next one, or the one before in a row that looks ahead."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trunkline.data.encoding.bilm import Bilm
from trunkline.data.encoding.causal_language import CausalLanguage
from trunkline.data.packing import Table, pack
from trunkline.data.tokenizer import Tokenizer
from trunkline.data.units import Unit
from trunkline.data.vocabulary import Words
from trunkline.errors import ConfigError

WORDS = [f"w{number}" for number in range(50)]
KINDS = (CausalLanguage, Bilm)


def tokenizer(truncate: str = "right", max_length: int = 6) -> Tokenizer:
    return Words(vocab_size=100).build([" ".join(WORDS)], max_length=max_length, truncate=truncate)


def pairs(cls: type[CausalLanguage], texts: list[str], truncate: str = "right") -> list[list[tuple[str, str]]]:
    """Of each row: the tokens that guess, each with what it is to guess."""
    known = tokenizer(truncate)
    rows = cls(known, ["text"], None).encode({"text": texts})
    tokens, targets = cls(known, ["text"], None).collate(rows, np.zeros(len(texts), np.uint64))
    np.testing.assert_array_equal(tokens, rows.tokens.values)
    assert len(targets["positions"]) == len(targets["labels"]) == rows.counts.sum()
    named = [
        (known.token(tokens[place]), known.token(label))
        for place, label in zip(targets["positions"].tolist(), targets["labels"].tolist(), strict=True)
    ]
    ends = np.cumsum(rows.counts).tolist()
    return [named[end - count : end] for end, count in zip(ends, rows.counts.tolist(), strict=True)]


def test_every_token_guesses_the_next_one_and_the_last_one_the_end() -> None:
    assert pairs(CausalLanguage, ["w1 w2 w3", "", "w4", "w5 unheard"]) == [
        [("[CLS]", "w1"), ("w1", "w2"), ("w2", "w3"), ("w3", "[SEP]")],
        [],
        [("[CLS]", "w4"), ("w4", "[SEP]")],
        [("[CLS]", "w5"), ("w5", "[UNK]"), ("[UNK]", "[SEP]")],
    ]


def test_in_both_directions_the_second_trunk_row_guesses_the_one_before() -> None:
    assert pairs(Bilm, ["w1 w2", "", "w3"]) == [
        [("[CLS]", "w1"), ("w1", "w2"), ("w2", "[SEP]"), ("w1", "[CLS]"), ("w2", "w1"), ("[SEP]", "w2")],
        [],
        [("[CLS]", "w3"), ("w3", "[SEP]"), ("w3", "[CLS]"), ("[SEP]", "w3")],
    ]


def test_a_text_that_was_cut_is_not_said_to_begin_or_end_there() -> None:
    text = "w1 w2 w3 w4 w5"  # of which four fit
    assert pairs(CausalLanguage, [text]) == [[("[CLS]", "w1"), ("w1", "w2"), ("w2", "w3"), ("w3", "w4")]]
    assert pairs(CausalLanguage, [text], "left") == [[("w2", "w3"), ("w3", "w4"), ("w4", "w5"), ("w5", "[SEP]")]]
    assert pairs(Bilm, [text], "left")[0][4:] == [("w3", "w2"), ("w4", "w3"), ("w5", "w4"), ("[SEP]", "w5")]


@pytest.mark.parametrize("cls", KINDS)
def test_a_row_has_the_same_targets_in_whatever_pack_it_lies(cls: type[CausalLanguage]) -> None:
    encoding = cls(tokenizer(), ["text"], None)
    rows = encoding.encode({"text": [" ".join(WORDS[a : a + 1 + a % 6]) for a in range(20)]})
    for order in ([3], [7, 3, 19], list(range(19, -1, -1))):
        part = rows.take(np.array(order))
        targets = encoding.collate(part, np.zeros(len(order), np.uint64))[1]
        number = order.index(3)
        own = slice(part.counts[:number].sum(), part.counts[: number + 1].sum())
        alone = encoding.collate(rows.take(np.array([3])), np.zeros(1, np.uint64))[1]
        np.testing.assert_array_equal(targets["positions"][own] - part.tokens.starts[number], alone["positions"])
        np.testing.assert_array_equal(targets["labels"][own], alone["labels"])


@pytest.mark.parametrize(("cls", "sights"), [(CausalLanguage, [-1, -1, -1]), (Bilm, [-1, 1, -1, 1, -1, 1])])
def test_a_pack_knows_which_way_its_trunk_rows_look(cls: type[CausalLanguage], sights: list[int]) -> None:
    encoding = cls(tokenizer(), ["text"], None)
    table = Table.of(encoding.encode({"text": ["w1 w2", "w3", "w4 w5 w6"]}), encoding)
    whole = Table(table.rows, table.collate, table.dummy, (0,) * len(cls.sight))
    units = [Unit("one", np.arange(3), np.zeros(3, np.int64), 30)]
    batch = pack(units, {"one": table, "other": whole}, seed=0)
    assert batch.sight is not None and batch.sight.tolist() == sights + [0] * len(cls.sight)
    assert batch.to("cpu").sight is batch.sight
    assert pack(units, {"one": whole}, seed=0).sight is None


@pytest.mark.parametrize("cls", KINDS)
def test_the_baseline_is_the_unigram_model_of_the_training_targets(cls: type[CausalLanguage]) -> None:
    known = tokenizer()
    encoding = cls(known, ["text"], None)
    train, evaluated = (encoding.encode({"text": texts}) for texts in (["w1 w1 w2", "w1"], ["w1 w9"]))
    records = encoding.baseline(train, evaluated, np.zeros(1, np.uint64))
    size = known.vocab_size
    if cls is CausalLanguage:  # of six targets three are w1, one w2, two the end; and one more of each token there is
        wanted = [4 / (6 + size), 1 / (6 + size), 3 / (6 + size)]
    else:  # twice that, but the beginning instead of the end in the other direction
        wanted = [7 / (12 + size), 1 / (12 + size), 3 / (12 + size), 3 / (12 + size), 7 / (12 + size), 1 / (12 + size)]
    np.testing.assert_allclose(records["loss"], -np.log(wanted), rtol=1e-6)
    assert {known.token(number) for number in records["prediction"]} == {"w1"}


def test_a_prediction_gives_perplexities() -> None:
    losses = np.log([[2.0, 1], [8.0, 1], [4.0, 1], [2.0, 1]])
    encoding = CausalLanguage(tokenizer(), ["text"], None)
    answers = encoding.decode(losses, encoding.encode({"text": ["w1", "", "w2"]}))
    assert answers == [{"perplexity": pytest.approx(4)}, {"perplexity": None}, {"perplexity": pytest.approx(math.sqrt(8))}]
    both = Bilm(tokenizer(), ["text"], None)
    (answer,) = both.decode(losses, both.encode({"text": ["w1"]}))
    assert answer == {name: pytest.approx(v) for name, v in (("perplexity", 128**0.25), ("next", 4), ("previous", math.sqrt(8)))}
    assert encoding.decode(np.full((2, 2), 800, np.float32), encoding.encode({"text": ["w1"]})) == [{"perplexity": math.inf}]


@pytest.mark.parametrize("cls", KINDS)
def test_a_target_column_or_a_pair_is_refused(cls: type[CausalLanguage]) -> None:
    with pytest.raises(ConfigError, match="makes its own targets, found 'label'"):
        cls(tokenizer(), ["text"], "label")
    with pytest.raises(ConfigError, match=r"takes 1 column\(s\), found 2"):
        cls(tokenizer(), ["first", "second"], None)
