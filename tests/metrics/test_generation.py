"""Metrics of written texts: sacrebleu's figures, whatever order the rows come in."""

from __future__ import annotations

import numpy as np
import pytest
import sacrebleu

from trunkline.errors import ConfigError
from trunkline.metrics.base import Metric
from trunkline.metrics.generation import Bleu, ChrF, TextMatch

TEXTS = ["the cat sat on the mat .", "a dog", "it rains in the green park today", ""]
REFERENCES = ["the cat is on the mat .", "a dog", "it rained in the green park", "nothing"]


def compute(
    metric: Metric, order: list[int] | None = None, texts: list[str] = TEXTS, references: list[str] = REFERENCES
) -> float:
    for row in order or range(len(texts)):
        text, reference = (np.array([value, "", ""], object) for value in (texts[row], references[row]))
        metric.update(np.full(3, row), text=text, reference=reference, place=np.arange(3))
    return metric.compute()


def test_bleu_is_sacrebleu_s() -> None:
    assert compute(Bleu()) == sacrebleu.corpus_bleu(TEXTS, [REFERENCES]).score
    assert 0 < compute(Bleu()) < 100


def test_bleu_worked_by_hand() -> None:
    # 5 words; matches 4 of 5, 3 of 4, 2 of 3, 1 of 2; as long as the reference: no brevity penalty.
    found = compute(Bleu(tokenize="none"), texts=["a b c d x"], references=["a b c d e"])
    assert found == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)


def test_options_reach_sacrebleu() -> None:
    texts, references = ["Ein Hund", "今天天气很好"], ["ein Hund", "今天天气不好"]
    both = {"texts": texts, "references": references}
    assert (
        compute(Bleu(tokenize="zh", lowercase=True), **both)
        == sacrebleu.corpus_bleu(texts, [references], tokenize="zh", lowercase=True).score
    )
    assert compute(Bleu(tokenize="zh"), **both) < compute(Bleu(tokenize="zh", lowercase=True), **both)
    assert compute(ChrF(word_order=2), **both) == sacrebleu.corpus_chrf(texts, [references], word_order=2).score


def test_chrf_is_sacrebleu_s() -> None:
    assert compute(ChrF()) == sacrebleu.corpus_chrf(TEXTS, [REFERENCES]).score


def test_a_text_matches_letter_by_letter() -> None:
    assert compute(TextMatch(), texts=["a b ", "A b", "a"], references=["a b", "a b", "b"]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("metric", [Bleu, ChrF, TextMatch])
def test_a_perfect_text_gets_the_best_and_order_is_no_matter(metric: type[Metric]) -> None:
    assert compute(metric(), texts=REFERENCES, references=REFERENCES) == pytest.approx(metric.best)
    assert compute(metric(), [2, 0, 3, 1]) == compute(metric())


def test_options_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"tokenize: BLEU does not know '13b'\. Did you mean '13a'"):
        Bleu(tokenize="13b")
    with pytest.raises(ConfigError, match="word_order: 0 or more is needed, found -1"):
        ChrF(word_order=-1)
