"""A query and its graded candidates, scored together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from trunkline.data.encoded import Encoded
from trunkline.data.encoding.base import Columns, Encoding, Records, Where, noted, refuse
from trunkline.data.rows import Ragged, Rows, Target, beside
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import ConfigError
from trunkline.registry import ENCODINGS

LARGEST = 1e6  # of a grade


@ENCODINGS.register("ranking")
class Ranking(Encoding):
    """A query column and a column of candidates, a list of texts in each row; the target is a list of as many grades.

    A row is one list, of one trunk row `query, candidate` for each candidate, in order. A grade is a number from 0 (irrelevant)
    to 1e6, more is better. grades: what else stands in the column -> its grade, such as {'1': 2, '2': 1, '-1': 0}.
    A list of which no candidate is above 0, or all have one grade, ranks nothing: it has count 0 (left out of training and
    evaluation, as TREC's clean test sets do) and is counted, `queries_without_relevant` or `queries_without_irrelevant`.

    max_candidates: of a list training draws, None for all; evaluation and prediction keep every list whole. The best grades stay,
    earlier ones first, in their order; the last place is for the lowest grade if it would have none. `candidates_cut` counts.
    Targets of a pack: `slots` [n, K], which score is the list's, and `grades` [n, K]; -1 fills lists of less than K.
    """

    records_given: ClassVar[frozenset[str]] = frozenset({"scores", "grades"})
    default_loss: ClassVar[str] = "pairwise_logistic"
    default_metrics: ClassVar[tuple[str, ...]] = ("ndcg", "map")
    num_inputs: ClassVar[tuple[int, ...]] = (2,)

    def __init__(
        self,
        tokenizer: Tokenizer,
        inputs: Sequence[str],
        target: str | None,
        *,
        max_candidates: int | None = None,
        grades: Mapping[Any, float] | None = None,
    ) -> None:
        super().__init__(tokenizer, inputs, target)
        if max_candidates is not None and (
            isinstance(max_candidates, bool) or not isinstance(max_candidates, int) or max_candidates < 2
        ):
            raise ConfigError(f"max_candidates: a whole number of at least 2 is needed, found {max_candidates!r}.")
        self.max_candidates = max_candidates
        self.grades = None if grades is None else _checked(grades)

    def rows(self, columns: Columns, where: Where, with_targets: bool) -> Rows:
        query, lists = self.texts(columns, self.inputs[0], where), self._candidates(columns, where)
        sizes = np.fromiter(map(len, lists), np.int64, len(lists))
        repeated = [text for text, own in zip(query, lists, strict=True) for _ in own]
        encoded = self.tokenizer.encode(repeated, [text for own in lists for text in own])
        counts, notes = np.ones(len(lists), np.int32), noted(encoded, self.tokenizer)
        targets: dict[str, Target] = {}
        if with_targets and self.target is not None:
            grades = targets["grades"] = self._grades(self.column(columns, self.target), sizes, where)
            best, worst = (at.reduceat(grades.values, grades.starts[:-1]) for at in (np.maximum, np.minimum))
            counts[(best == worst) | (best <= 0)] = 0
            barren = {"relevant": best <= 0, "irrelevant": (best == worst) & (best > 0)}
            notes += Counter({f"queries_without_{name}": int(without.sum()) for name, without in barren.items()})
        return _lists(encoded, sizes, counts, targets, notes)

    def drawn(self, rows: Rows) -> Rows:
        grades, sizes = rows.targets["grades"], rows.lengths.lengths
        if self.max_candidates is None or sizes.max(initial=0) <= self.max_candidates:
            return rows
        assert isinstance(grades, Ragged)
        kept = _best(grades, self.max_candidates)
        lengths = rows.lengths.values[kept]
        starts = np.concatenate([[0], np.cumsum(np.add.reduceat(kept, grades.starts[:-1], dtype=np.int64))])
        tokens = rows.tokens.values[np.repeat(kept, rows.lengths.values)]
        ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        return Rows(
            Ragged(tokens, ends[starts]),
            Ragged(lengths, starts),
            Ragged(rows.seconds.values[kept], starts),
            rows.counts,
            {"grades": Ragged(grades.values[kept], starts)},
            rows.notes + Counter(candidates_cut=int((~kept).sum())),
        )

    def collate(self, rows: Rows, keys: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        del keys  # nothing here is random
        grades = rows.targets.get("grades")
        if grades is None:
            return rows.tokens.values, {}
        assert isinstance(grades, Ragged)
        place = np.arange(grades.lengths.max())
        slots = np.where(place < grades.lengths[:, None], grades.starts[:-1, None] + place, -1)
        return rows.tokens.values, {"slots": slots, "grades": np.where(slots >= 0, grades.values[slots], np.float32(-1))}

    def dummy(self) -> Rows:
        one = self.dummy_tokens()
        tokens, both = beside([one.tokens] * 2), np.tile(one.seconds, 2)
        lengths = Ragged.of([[len(one.tokens.values)] * 2])
        return Rows(
            tokens, lengths, Ragged(both, lengths.starts), np.ones(1, np.int32), {"grades": Ragged.of([[1.0, 0.0]], np.float32)}
        )

    def head_arguments(self) -> dict[str, Any]:
        return {}

    def records(self, outputs: np.ndarray, targets: Mapping[str, np.ndarray]) -> Records:
        """outputs: [R], a score for each candidate. scores, grades [n]: an array for each list."""
        own = [slots[slots >= 0] for slots in targets["slots"]]
        scores = [outputs[slots].astype(np.float32) for slots in own]
        grades = [given[: len(slots)].astype(np.float32) for given, slots in zip(targets["grades"], own, strict=True)]
        return {"scores": _boxed(scores), "grades": _boxed(grades)}

    def baseline(self, train: Rows, evaluated: Rows, keys: np.ndarray) -> Records:
        """The same score for every candidate: what chance gets."""
        del train
        _, targets = self.collate(evaluated, keys)
        return self.records(np.zeros(len(evaluated.lengths.values), np.float32), targets)

    def decode(self, outputs: np.ndarray, rows: Rows) -> list[dict[str, Any]]:
        """scores: one for each candidate, comparable within its list; order: numbers of the candidates, from 0, best first."""
        lists = np.split(outputs.astype(np.float64), rows.lengths.starts[1:-1])
        return [{"scores": own.tolist(), "order": np.argsort(-own, kind="stable").tolist()} for own in lists]

    def _candidates(self, columns: Columns, where: Where) -> list[list[str]]:
        name = self.inputs[1]
        values = self.column(columns, name)
        bad = [row for row, own in enumerate(values) if not isinstance(own, list | tuple) or not len(own)]
        if bad:
            advice = "A row holds all candidates of its query; `data.gather` makes such rows of lines of one candidate each."
            refuse(name, "has values that are no list of candidates", bad, values, where, advice)
        bad = [row for row, own in enumerate(values) if not all(isinstance(text, str) for text in own)]
        if bad:
            refuse(name, "has candidates that are no text", bad, values, where)
        return [list(own) for own in values]

    def _grades(self, values: Sequence[Any], sizes: np.ndarray, where: Where) -> Ragged:
        assert self.target is not None
        bad = [row for row, own in enumerate(values) if not isinstance(own, list | tuple) or len(own) != sizes[row]]
        if bad:
            refuse(self.target, f"has no grade for each candidate of '{self.inputs[1]}'", bad, values, where)
        flat = np.array([self._grade(value) for own in values for value in own], np.float64)
        grades = Ragged(flat.astype(np.float32), np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))
        wrong = np.flatnonzero(~((flat >= 0) & (flat <= LARGEST)))
        if len(wrong):
            rows = np.unique(np.searchsorted(grades.starts, wrong, side="right") - 1).tolist()
            known = f"one of {', '.join(map(str, self.grades))}" if self.grades else "a number from 0 to 1e6"
            advice = "" if self.grades else "`head.grades` maps what the column holds to such grades."
            refuse(self.target, f"has grades that are not {known}", rows, values, where, advice)
        return grades

    def _grade(self, value: Any) -> float:
        """NaN for what is no grade."""
        plain = _plain(value)
        if self.grades is not None:
            return self.grades.get(plain, math.nan)
        return math.nan if isinstance(value, bool) else _number(plain)


def _lists(encoded: Encoded, sizes: np.ndarray, counts: np.ndarray, targets: Mapping[str, Target], notes: Counter[str]) -> Rows:
    """Rows of `sizes` trunk rows each."""
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    lengths = encoded.tokens.lengths.astype(np.int32)
    tokens = Ragged(encoded.tokens.values, encoded.tokens.starts[starts])
    return Rows(tokens, Ragged(lengths, starts), Ragged(encoded.seconds, starts), counts, targets, notes)


def _best(grades: Ragged, limit: int) -> np.ndarray:
    """Which candidates stay of lists of at most `limit`, bool [V]."""
    owner = np.repeat(np.arange(len(grades)), grades.lengths)
    order = np.lexsort((-grades.values, owner))  # stable: of one grade the earlier first
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) - grades.starts[owner]
    kept = place < limit
    worst = np.minimum.reduceat(grades.values, grades.starts[:-1])[owner] == grades.values
    lost = ~np.logical_or.reduceat(kept & worst, grades.starts[:-1])[owner]  # of lists that keep none of their lowest grade
    _, first = np.unique(np.where(worst, owner, -1), return_index=True)
    chosen = np.zeros(len(kept), bool)
    chosen[first] = True
    return (kept & ~(lost & (place == limit - 1))) | (lost & chosen & worst)


def _checked(grades: Any) -> dict[str, float]:
    fine = isinstance(grades, Mapping) and grades
    bad = [key for key, value in grades.items() if isinstance(value, bool) or not 0 <= _number(value) <= LARGEST] if fine else []
    if not fine or bad:
        what = f"'{bad[0]}' has {grades[bad[0]]!r}" if bad else f"found {grades!r}"
        raise ConfigError(f"grades: a mapping of what the column holds to numbers from 0 to 1e6 is needed, {what}.")
    return {_plain(key): float(value) for key, value in grades.items()}


def _plain(value: Any) -> str:
    """What a column or a card says, as text: 1, 1.0 and '1' are one grade."""
    text = str(value).strip()
    number = _number(text)
    return f"{number:g}" if number.is_integer() else text


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _boxed(lists: Sequence[np.ndarray]) -> np.ndarray:
    """An array of arrays, whatever their lengths."""
    made = np.empty(len(lists), object)
    for number, own in enumerate(lists):
        made[number] = own
    return made
