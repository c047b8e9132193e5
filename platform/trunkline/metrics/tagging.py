"""Metrics of spans of words."""

from __future__ import annotations

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
    most_draws = 200

    def value(self, *, tag: np.ndarray, predicted_tag: np.ndarray, place: np.ndarray) -> float:
        from nervaluate import Evaluator

        starts = np.flatnonzero(place == 0)[1:]
        true, predicted = (
            [[_bio(name) for name in row.tolist()] for row in np.split(names, starts)] for names in (tag, predicted_tag)
        )
        kinds = {name[2:] for row in [*true, *predicted] for name in row if name != "O"}
        found = Evaluator(true, predicted, tags=sorted(kinds), loader="list").evaluate()
        return float(found["overall"]["strict"].f1)


def _bio(tag: str) -> str:
    if tag == "O":
        return tag
    prefix, dash, name = tag.partition("-")
    if not dash or len(prefix) != 1 or prefix not in OPENS + GOES_ON:
        return f"I-{tag}"
    return f"B-{name}" if prefix in OPENS else f"I-{name}"
