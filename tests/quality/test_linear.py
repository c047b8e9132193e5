"""Bag of words learns what stands in the words, and gives outputs in the form of each kind's head."""

from __future__ import annotations

import numpy as np
import pytest

from trunkline.data.encoding.classification import Classification
from trunkline.data.encoding.regression import Regression
from trunkline.data.tokenizer import Tokenizer
from trunkline.data.vocabulary import WordPiece
from trunkline.quality.linear import linear, texts

WORDS = ["red", "blue", "green", "small", "large", "old", "new", "warm", "cold", "quick"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return WordPiece(vocab_size=80).build([" ".join(WORDS)], max_length=16)


def rows(count: int, seed: int) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [rng.choice(WORDS, 5, replace=False).tolist() for _ in range(count)]


def test_it_finds_the_word_that_decides_and_leaves_an_absent_class_out(tokenizer: Tokenizer) -> None:
    encoding = Classification(tokenizer, ["text"], "label", labels=["with", "without", "never"])
    train, asked = (
        encoding.encode({"text": [" ".join(r) for r in own], "label": ["with" if "red" in r else "without" for r in own]})
        for own in (rows(200, 0), rows(50, 1))
    )
    outputs = linear(train, asked, tokenizer, 3)
    assert outputs.shape == (50, 3) and np.mean(outputs.argmax(1) == asked.targets["labels"]) > 0.8
    assert (outputs[:, 2] < -20).all() and np.exp(outputs).sum(1) == pytest.approx(np.ones(50), abs=1e-4)


def test_it_learns_numbers(tokenizer: Tokenizer) -> None:
    encoding = Regression(tokenizer, ["text"], "value")
    own = rows(200, 2)
    train = encoding.encode({"text": [" ".join(r) for r in own], "value": [3.0 * ("red" in r) - ("old" in r) for r in own]})
    outputs = linear(train, train, tokenizer, None)
    assert np.corrcoef(outputs, train.targets["target"])[0, 1] > 0.9


def test_rows_are_read_as_the_words_they_were(tokenizer: Tokenizer) -> None:
    encoding = Regression(tokenizer, ["text"], "value")
    assert texts(encoding.encode({"text": ["red old warm"], "value": [0.0]}), tokenizer) == ["red old warm"]
