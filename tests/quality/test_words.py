"""Word vectors: analogies and neighbours are gensim's, cosines by hand."""

from __future__ import annotations

import numpy as np
import pytest
from gensim.models import KeyedVectors

from trunkline.quality.words import Lexicon, analogies, cosines, neighbours


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon([f"w{n}" for n in range(60)], np.random.default_rng(0).normal(size=(60, 12)).astype(np.float32))


@pytest.fixture(scope="module")
def theirs(lexicon: Lexicon) -> KeyedVectors:
    made = KeyedVectors(12)
    made.add_vectors(list(lexicon.words), lexicon.values)
    return made


def questions() -> list[tuple[str, str, str, str]]:
    rng = np.random.default_rng(1)
    return [tuple(f"w{n}" for n in rng.choice(60, 4, replace=False)) for _ in range(50)]


@pytest.mark.parametrize("multiply", [False, True])
def test_the_answer_of_an_analogy_is_gensim_s(lexicon: Lexicon, theirs: KeyedVectors, multiply: bool) -> None:
    found, right = analogies(lexicon, questions(), multiply=multiply)
    ask = theirs.most_similar_cosmul if multiply else theirs.most_similar
    wanted = [ask(positive=[b, c], negative=[a], topn=1)[0][0] for a, b, c, _ in questions()]
    assert [lexicon.words[row] for row in found] == wanted
    assert [lexicon.words[row] for row in right] == [d for *_, d in questions()]


def test_the_two_rules_differ_and_a_question_s_own_words_are_never_the_answer(lexicon: Lexicon) -> None:
    add, multiply = (analogies(lexicon, questions(), multiply=m)[0] for m in (False, True))
    assert (add != multiply).any()
    assert all(lexicon.words[row] not in question[:3] for row, question in zip(add, questions(), strict=True))


def test_a_question_with_an_unknown_word_is_left_out_and_capitals_are_forgiven(lexicon: Lexicon) -> None:
    found, right = analogies(lexicon, [("w1", "w2", "nowhere", "w3"), ("W1", "w2", "w4", "w3")])
    assert (found[0], right[0]) == (-1, -1) and right[1] == 3


def test_neighbours_are_gensim_s(lexicon: Lexicon, theirs: KeyedVectors) -> None:
    found, wanted = neighbours(lexicon, "w7", 5), theirs.most_similar("w7", topn=5)
    assert [word for word, _ in found] == [word for word, _ in wanted]
    assert [cosine for _, cosine in found] == pytest.approx([cosine for _, cosine in wanted], abs=1e-6)
    assert neighbours(lexicon, "nowhere") == []


def test_a_cosine_by_hand_and_of_a_zero_vector() -> None:
    assert cosines(np.array([[3.0, 4.0], [0, 0]]), np.array([[4.0, 3.0], [1, 0]])).tolist() == pytest.approx([0.96, 0.0])
