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
    Source: the strict scheme of SemEval 2013 task 9.1 (Segura-Bedmar et al.), as nervaluate reads tags, which is its reference
    in the tests and takes a second where this takes milliseconds: an interval needs it hundreds of times.
    """

    needs = frozenset({"tag", "predicted_tag", "place"})
    most_draws = 200

    def value(self, *, tag: np.ndarray, predicted_tag: np.ndarray, place: np.ndarray) -> float:
        true, predicted = spans(tag, place), spans(predicted_tag, place)
        return 2 * len(true & predicted) / max(1, len(true) + len(predicted))


def spans(tags: np.ndarray, place: np.ndarray) -> set[tuple[int, int, str]]:
    """First word, the word behind the last, type. tags [n] text; place [n]: 0 where a row begins."""
    names, numbers = np.unique(tags, return_inverse=True)
    read = [_read(name) for name in names.tolist()]
    kinds = np.unique([kind for _, kind in read], return_inverse=True)[1][numbers]
    outside = np.array([opens is None for opens, _ in read])[numbers]
    opens = np.array([bool(opens) for opens, _ in read])[numbers] | (place == 0)
    opens[1:] |= outside[:-1] | (kinds[1:] != kinds[:-1])
    opens &= ~outside
    starts = np.flatnonzero(opens)
    stops = np.flatnonzero(np.append(opens | outside, True))
    ends = stops[np.searchsorted(stops, starts, side="right")]
    return {(start, end, read[numbers[start]][1]) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)}


def _read(tag: str) -> tuple[bool | None, str]:
    """Whether a tag opens a span even behind one of its type, None if it is none, and the type."""
    if tag == "O":
        return None, ""
    prefix, dash, name = tag.partition("-")
    if not dash or len(prefix) != 1 or prefix not in OPENS + GOES_ON:
        return False, tag
    return prefix in OPENS, name
