"""Windows: every token of a context stands in one, in order; the characters of tokens are those of the text."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from trunkline.data.tokenizer import Tokenizer
from trunkline.data.windows import windows

LONG = "the cat sat on the mat and the dogs walked on and on, talking to cats; a dog sat on that mat too, walking cats"
QUESTIONS = ["who sat", "what sat on the mat", "谁坐", "who talks"]
CONTEXTS = ["the cat sat", LONG, "猫坐在垫子上，狗不在", "a 😀 cat é talks, a 😀 dog too"]


@pytest.mark.parametrize(("overlap", "max_length"), list(itertools.product((0, 3, 50), (6, 9, 16))))
def test_windows_hold_every_token_of_the_context_in_order_and_share_the_overlap(
    overlap: int, max_length: int, make_tokenizer: Callable[..., Tokenizer]
) -> None:
    tokenizer = make_tokenizer(max_length=max_length)
    held = windows(tokenizer, QUESTIONS, CONTEXTS, overlap=overlap, max_windows=99)
    whole = tokenizer.spell(CONTEXTS, 999).ids
    assert not held.context_cut.any() and held.encoded.tokens.lengths.max() <= max_length
    for row in range(4):
        context = whole.values[whole.starts[row] : whole.starts[row + 1]]
        mine = range(held.starts[row], held.starts[row + 1])
        for window in mine:
            begin = held.encoded.tokens.starts[window] + held.begin[window]
            piece = held.encoded.tokens.values[begin : begin + held.length[window]]
            np.testing.assert_array_equal(piece, context[held.first[window] :][: held.length[window]])
            assert held.encoded.tokens.values[held.encoded.tokens.starts[window + 1] - 1] == tokenizer.sep_id
        room = int(held.room[row])
        shared = [held.first[a] + held.length[a] - held.first[b] for a, b in itertools.pairwise(mine)]
        assert set(shared) <= {min(overlap, room // 2)}
        assert held.first[mine[0]] == 0 and held.first[mine[-1]] + held.length[mine[-1]] == len(context)
        assert all(held.length[window] == room for window in mine[:-1])


def test_a_window_holds_an_answer_exactly_if_one_does(make_tokenizer: Callable[..., Tokenizer]) -> None:
    held = windows(make_tokenizer(max_length=12), ["who sat"], [LONG], overlap=3, max_windows=3)
    spans = list(zip(held.first, held.first + held.length, strict=True))
    assert len(spans) == 3 and held.context_cut[0]
    for start, end in itertools.product(range(30), repeat=2):
        assert held.hold(0, start, end) == any(a <= start <= end < b for a, b in spans)


def test_a_context_that_stands_twice_is_tokenised_once(tokenizer: Tokenizer) -> None:
    held = windows(tokenizer, ["who", "what"], [LONG, LONG], overlap=2, max_windows=2)
    assert len(held.spelled.ids) == 1 and held.context.tolist() == [0, 0] and held.count.tolist() == [2, 2]


def test_a_question_keeps_at_most_half_of_a_window(make_tokenizer: Callable[..., Tokenizer]) -> None:
    held = windows(make_tokenizer(max_length=13), [LONG, "who", ""], [LONG] * 3, overlap=0, max_windows=2)
    assert held.room[0] == 5 and held.question_cut.tolist() == [True, False, False]
    assert held.room[2] == 10 and held.context_cut.all()


def test_characters_of_a_huge_text_are_those_of_its_beginning(make_tokenizer: Callable[..., Tokenizer]) -> None:
    tokenizer = make_tokenizer(max_length=16)
    texts = [f"the cat {word} " * 50_000 for word in ("sat", " " * 60)] + ["the cat"]
    short, whole = tokenizer.spell(texts, 7), tokenizer.spell(texts, 10**7)
    assert short.cut.tolist() == [True, True, False] and not whole.cut.any()
    np.testing.assert_array_equal(short.ids.values, whole.ids.keep(short.ids.lengths).values)
    for row, text in enumerate(texts):
        own = slice(short.ids.starts[row], short.ids.starts[row + 1])
        pieces = [text[a:b] for a, b in zip(short.starts[own], short.ends[own], strict=True)]
        assert "".join(pieces) == "".join(tokenizer.token(n).removeprefix("##") for n in short.ids.values[own])
