"""Metrics of spans of words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trunkline.metrics.base import Metric
from trunkline.registry import METRICS

# What opens and what goes on with a span, in the schemes BIO, IOB1, BIOES, BILOU and BMES.
OPENS, GOES_ON = "BSU", "IMEL"


@METRICS.register("span_f1")
class SpanF1(Metric):
    """F1 over spans of words, right if both ends and the type are: 2 right / (predicted + true); 0 where there is no span.

    tag, predicted_tag [n] text; place [n] int64: the word's number within its row. A span is a B-X and the I-X behind it; an I-X
    behind anything else opens one, as in the CoNLL evaluation. S- and U- are read as B-, E-, L- and M- as I-. Tags without such a
    prefix make a span of each run of the same tag; O is no span.
    Source: nervaluate's strict scheme, which is SemEval 2013 task 9.1 (Segura-Bedmar et al.).
    """

    needs = frozenset({"tag", "predicted_tag", "place"})

    def value(self, *, tag: np.ndarray, predicted_tag: np.ndarray, place: np.ndarray) -> float:
        true, predicted = (_rows(names, place) for names in (tag, predicted_tag))
        return _f1(_counts(true, predicted, _types(true, predicted)))

    def values(self, draws: Sequence[np.ndarray], **records: np.ndarray) -> np.ndarray:
        """Spans are counted row by row once: F1 is made of their sums."""
        place = records["place"]
        true, predicted = (_rows(records[name], place) for name in ("tag", "predicted_tag"))
        types = _types(true, predicted)
        each = np.array([_counts([one], [other], types) for one, other in zip(true, predicted, strict=True)])
        row = np.cumsum(place == 0) - 1
        return np.array([_f1(each[row[taken[place[taken] == 0]]].sum(axis=0)) for taken in draws])


def _rows(names: np.ndarray, place: np.ndarray) -> list[list[str]]:
    return [[_bio(name) for name in row.tolist()] for row in np.split(names, np.flatnonzero(place == 0)[1:])]


def _types(true: list[list[str]], predicted: list[list[str]]) -> list[str]:
    return sorted({name[2:] for row in [*true, *predicted] for name in row if name != "O"})


def _counts(true: list[list[str]], predicted: list[list[str]], types: list[str]) -> np.ndarray:
    """Spans that are right, predicted and true."""
    from nervaluate import Evaluator

    found = Evaluator(true, predicted, tags=types, loader="list").evaluate()["overall"]["strict"]
    return np.array([found.correct, found.actual, found.possible], np.int64)


def _f1(counts: np.ndarray) -> float:
    right, predicted, true = counts.tolist()
    return 2 * right / max(predicted + true, 1)


def _bio(tag: str) -> str:
    if tag == "O":
        return tag
    prefix, dash, name = tag.partition("-")
    if not dash or len(prefix) != 1 or prefix not in OPENS + GOES_ON:
        return f"I-{tag}"
    return f"B-{name}" if prefix in OPENS else f"I-{name}"
