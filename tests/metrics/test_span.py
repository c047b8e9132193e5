"""Answers that are pieces of text, worked by hand after SQuAD's definition."""

from __future__ import annotations

import numpy as np
import pytest

from trunkline.errors import ConfigError
from trunkline.metrics.span import AnswerF1, ExactMatch


def scores(given: str, right: list[str], **arguments: str) -> tuple[float, float]:
    """exact_match, answer_f1 of one row."""
    found = []
    for metric in (ExactMatch(), AnswerF1(**arguments)):
        metric.update(np.zeros(1), answer=np.array([given], object), answers=np.fromiter([tuple(right)], object, 1))
        found.append(metric.compute())
    return found[0], found[1]


@pytest.mark.parametrize(
    ("given", "right", "exact", "f1"),
    [
        ("the Eiffel Tower!", ["Eiffel tower"], 1, 1),  # case, punctuation, articles
        ("red  river\tbed", ["Red River Bed"], 1, 1),  # white space
        ("a-b", ["ab"], 1, 1),  # punctuation goes without leaving a space
        ("theatre", ["atre"], 0, 0),  # an article is a word of its own
        ("big red house", ["red house door step"], 0, 4 / 7),  # 2 common of 3 and 4
        ("red red red", ["red blue"], 0, 2 / 5),  # a word counts as often as it stands in both
        ("Paris", ["London", "in Paris", "Paris, France"], 0, 2 / 3),  # the best of all
        ("London", ["Paris", "London."], 1, 1),
        ("", ["Paris"], 0, 0),
        ("Paris", [], 0, 0),  # there is no answer
        ("", [], 1, 1),
        ("the", [], 1, 1),  # nothing is left of it, as the script of SQuAD 2.0 has it
        ("the", ["a", "an"], 1, 1),
        ("the", ["a", "red"], 0, 0),  # a right answer of which nothing is left counts only if all are such
        ("10–12", ["1012"], 0, 0),  # a dash beyond ASCII stays
    ],
)
def test_words_are_compared_as_squad_does(given: str, right: list[str], exact: float, f1: float) -> None:
    assert scores(given, right) == pytest.approx((exact, f1))


@pytest.mark.parametrize(
    ("given", "right", "exact", "f1", "run"),
    [
        ("《红楼梦》", ["红楼梦。"], 1, 1, 1),  # punctuation of all of Unicode
        ("楼梦", ["红楼梦"], 0, 4 / 5, 4 / 5),
        ("北上京海", ["北京上海"], 0, 1, 2 / 8),  # in any order; one side by side
        ("1990年", ["1990"], 0, 2 / 3, 2 / 3),  # a number is one word
        ("在 Paris 的", ["paris"], 0, 2 / 4, 2 / 4),
        ("とうきょう", ["きょう"], 0, 6 / 8, 6 / 8),
        ("the 猫", ["猫"], 0, 2 / 3, 2 / 3),  # no articles in Chinese
    ],
)
def test_chinese_and_kana_are_compared_by_character(given: str, right: list[str], exact: float, f1: float, run: float) -> None:
    assert scores(given, right) == pytest.approx((exact, f1))
    assert scores(given, right, overlap="run") == pytest.approx((exact, run))


def test_the_figure_is_the_mean_over_questions() -> None:
    metric = AnswerF1()
    answer, answers = np.array(["red house", "x", ""], object), np.fromiter([("red",), ("x",), ("y",)], object, 3)
    metric.update(np.arange(3), answer=answer, answers=answers)
    assert metric.compute() == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_an_overlap_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"overlap: found 'lcs'\. Known: bag, run"):
        AnswerF1(overlap="lcs")
