"""A question, and the piece of a context that answers it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from trunkline.data.encoding.base import Columns, Encoding, Records, Where, noted, refuse
from trunkline.data.encoding.gold import MISPLACED, Gold, read_answers
from trunkline.data.rows import Ragged, Rows, Target, beside
from trunkline.data.spelling import from_bytes, to_bytes
from trunkline.data.tokenizer import Tokenizer, well_formed
from trunkline.data.windows import Windows, places, windows
from trunkline.errors import ConfigError
from trunkline.registry import ENCODINGS

NO_ANSWER = 0  # the first place of every row


@ENCODINGS.register("span")
class Span(Encoding):
    """Two inputs, question and context; the target is the answer's text, or a list of texts that are all right.

    starts: the column of the character of the context at which each answer begins, a number or a list; without it an answer is
    taken where its text stands first. A drawn row is one question: as many trunk rows as windows are needed to hold the
    context, `overlap` tokens of it shared by neighbours (at most half of what fits), at most `max_windows`. A question keeps at
    most half of a window; of a longer context the end is left out. Both are counted. unanswerable: questions may have no answer
    (an empty list or text); only then is none ever predicted. misplaced: an answer that does not stand where `starts` says (or
    anywhere) is an `error`, or `mend`: the nearest place at which its text stands is taken; a question none of whose answers
    stands in its context is left out.

    Learned is the first answer that one window holds whole, at every place at which windows show it; metrics take all answers.
    Where no window that was kept holds one, "no answer" is learned, for that is what they show, and counted as `answers_cut`.
    Where tokens hold more than the answer, they are learned whole, and counted as `answers_widened`.
    Targets: `positions`, the places an answer may start or end: the row's first token, which means no answer, then the tokens of
    the context, window by window; `is_start` and `is_end`, 1 at the gold ones. `place`: the number of a place in its row.
    """

    records_given: ClassVar[frozenset[str]] = frozenset({"answer", "answers"})
    default_loss: ClassVar[str] = "span"
    default_metrics: ClassVar[tuple[str, ...]] = ("exact_match", "answer_f1")
    aside: ClassVar[frozenset[str]] = frozenset({"text", "char_starts", "char_ends", "answers"})
    num_inputs: ClassVar[tuple[int, ...]] = (2,)

    def __init__(
        self,
        tokenizer: Tokenizer,
        inputs: Sequence[str],
        target: str | None,
        *,
        starts: str | None = None,
        overlap: int = 32,
        max_windows: int = 8,
        unanswerable: bool = False,
        misplaced: str = "error",
    ) -> None:
        super().__init__(tokenizer, inputs, target)
        for name, value, least in (("overlap", overlap, 0), ("max_windows", max_windows, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"{name}: a whole number from {least} up is needed, found {value!r}.")
        if misplaced not in MISPLACED:
            raise ConfigError(f"misplaced: found {misplaced!r}. Known: {', '.join(MISPLACED)}.")
        if not isinstance(unanswerable, bool):
            raise ConfigError(f"unanswerable: true or false is needed, found {unanswerable!r}.")
        self.starts, self.overlap, self.max_windows = starts, overlap, max_windows
        self.unanswerable, self.misplaced = unanswerable, misplaced

    @property
    def wanted(self) -> tuple[str, ...]:
        return super().wanted if self.starts is None else (*super().wanted, self.starts)

    def rows(self, columns: Columns, where: Where, with_targets: bool) -> Rows:
        questions, contexts = (self.texts(columns, name, where) for name in self.inputs)
        plain = contexts if all(map(str.isascii, contexts)) else [well_formed(text) for text in contexts]
        held = windows(self.tokenizer, questions, plain, overlap=self.overlap, max_windows=self.max_windows)
        token, targets = _layout(held, plain)
        notes = noted(held.encoded, self.tokenizer)
        notes["cut"], notes["questions_cut"] = int(held.context_cut.sum()), int(held.question_cut.sum())
        counts = np.ones(len(questions), np.int32)
        if with_targets and self.target is not None:
            gold = self._gold(columns, contexts, where)
            spans = _spans(held, plain, gold)
            targets |= _marks(held, token, spans)
            targets["answers"] = to_bytes([json.dumps(own.texts) for own in gold])
            counts = np.array([not own.lost for own in gold], np.int32)
            notes += _gold_notes(gold, spans, held, plain)
        starts = held.starts
        tokens = Ragged(held.encoded.tokens.values, held.encoded.tokens.starts[starts])
        lengths = Ragged(held.encoded.tokens.lengths.astype(np.int32), starts)
        return Rows(tokens, lengths, Ragged(held.encoded.seconds, starts), counts, targets, +notes)

    def _gold(self, columns: Columns, contexts: Sequence[str], where: Where) -> list[Gold]:
        assert self.target is not None
        values = self.column(columns, self.target)
        starts = None if self.starts is None else self.column(columns, self.starts)
        gold = read_answers(self.target, values, self.starts, starts, contexts, where)
        if not self.unanswerable:
            bad = [row for row, own in enumerate(gold) if not own.texts]
            if bad:
                refuse(
                    self.target, "has questions without an answer", bad, values, where, "If that is meant: unanswerable: true."
                )
        bad = [row for row, own in enumerate(gold) if own.misplaced]
        if bad and self.misplaced == "error":
            said = "anywhere" if self.starts is None else f"where '{self.starts}' says"
            what = f"has answers that do not stand in '{self.inputs[1]}' {said}"
            refuse(self.target, what, bad, [own.shown for own in gold], where, "Mend them, or set misplaced: mend.")
        return gold

    def collate(self, rows: Rows, keys: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        tokens, targets = super().collate(rows, keys)
        return tokens, {**targets, "place": places(_ragged(rows.targets, "positions").lengths)}

    def dummy(self) -> Rows:
        one = Ragged.of([self.tokenizer.normal_ids[:1]])
        encoded, begin = self.tokenizer.pairs(one, one)
        own = np.concatenate([[NO_ANSWER], begin[:1] + np.arange(len(one.values))])
        ends = np.arange(len(own), dtype=np.int32)
        gold = [[1, 0][: len(own)]]
        targets: dict[str, Target] = {
            "positions": Ragged.of([own]),
            "text": to_bytes(["a"]),
            "char_starts": Ragged.of([np.maximum(ends - 1, 0)]),
            "char_ends": Ragged.of([ends]),
            "is_start": Ragged.of(gold, np.uint8),
            "is_end": Ragged.of(gold, np.uint8),
            "answers": to_bytes(["[]"]),
        }
        return self.one_text_rows(encoded, np.ones(1), targets)

    def head_arguments(self) -> dict[str, Any]:
        return {}

    def records(self, outputs: np.ndarray, targets: Mapping[str, Any]) -> Records:
        """outputs [n, 4]: what the head's `answer` gives. answer [n]: the text, empty for none; answers: tuples of texts."""
        found = self._found(outputs, targets)
        gold = (tuple(json.loads(text)) for text in from_bytes(_ragged(targets, "answers")))
        return {
            "answer": np.fromiter((text for text, _ in found), object, len(found)),
            "answers": np.fromiter(gold, object, len(found)),
        }

    def _found(self, outputs: np.ndarray, targets: Mapping[str, Any]) -> list[tuple[str, int]]:
        """Each row's answer as it stands in the context, and its first character; none is ("", -1)."""
        first, last = (_ragged(targets, name) for name in ("char_starts", "char_ends"))
        found = []
        for row, (text, (start, end, score, none)) in enumerate(
            zip(from_bytes(_ragged(targets, "text")), outputs.tolist(), strict=True)
        ):
            if start == NO_ANSWER or (self.unanswerable and none >= score):
                found.append(("", -1))
                continue
            begin = int(first.values[first.starts[row] + int(start)])
            piece = text[begin : int(last.values[last.starts[row] + int(end)])]
            found.append((piece.strip(), begin + len(piece) - len(piece.lstrip())))
        return found

    def baseline(self, train: Rows, evaluated: Rows, keys: np.ndarray) -> Records:
        """No answer if most training questions have none, else the context's first tokens, as many as the median answer has."""
        del keys
        starts, ends = (_ragged(train.targets, name) for name in ("is_start", "is_end"))
        first, last = (
            np.array([int(own.argmax()) for own in np.split(part.values, part.starts[1:-1])]) for part in (starts, ends)
        )
        answered = first > NO_ANSWER
        longest = _ragged(evaluated.targets, "positions").lengths - 1
        outputs = np.zeros((len(evaluated), 4))
        if 2 * answered.sum() >= len(answered):
            outputs[:, 1] = np.minimum(int(np.median((last - first + 1)[answered])), longest)
            outputs[:, 0], outputs[:, 2] = longest > 0, 1
        return self.records(outputs, evaluated.targets)

    def decode(self, outputs: np.ndarray, rows: Rows) -> list[dict[str, Any]]:
        """answer: a piece of the context, or None; start: its first character; probability: its start's times its end's."""
        answers = []
        for (text, start), (_, _, score, none) in zip(self._found(outputs, rows.targets), outputs.tolist(), strict=True):
            given = start >= 0
            probability = float(np.exp(score if given else none))
            answers.append({"answer": text if given else None, "start": start if given else None, "probability": probability})
        return answers


def _layout(held: Windows, contexts: Sequence[str]) -> tuple[np.ndarray, dict[str, Target]]:
    """Which token of its context each place after the first is, window by window; and the targets that need no answer."""
    token = np.repeat(held.first, held.length) + places(held.length)
    owner = held.owner
    before = held.encoded.tokens.starts[:-1] - held.encoded.tokens.starts[held.starts[:-1]][owner]
    positions = np.repeat(before + held.begin, held.length) + places(held.length)
    at = np.repeat(held.spelled.ids.starts[held.context[owner]], held.length) + token
    starts = np.concatenate([[0], np.cumsum(held.length)])[held.starts]
    last = [int(own[-1]) if len(own) else 0 for own in (held.characters(row)[1] for row in range(len(contexts)))]
    return token, {
        "positions": _behind_first(positions, starts),
        "char_starts": _behind_first(held.spelled.starts[at], starts),
        "char_ends": _behind_first(held.spelled.ends[at], starts),
        "text": to_bytes([text[:end] for text, end in zip(contexts, last, strict=True)]),
    }


def _behind_first(values: np.ndarray, starts: np.ndarray, first: np.ndarray | None = None) -> Ragged:
    """Values of the places of the context, behind that of "no answer" (0 by default)."""
    none = np.zeros(len(starts) - 1, values.dtype) if first is None else first.astype(values.dtype)
    found = beside([Ragged.single(none), Ragged(values, starts.astype(np.int64))])
    return Ragged(found.values.astype(np.uint8 if values.dtype == np.uint8 else np.int32), found.starts)


def _spans(held: Windows, contexts: Sequence[str], gold: Sequence[Gold]) -> np.ndarray:
    """First and last token of the context of the answer that is learned [n, 2]; -1 for none."""
    spans = np.full((len(contexts), 2), -1, np.int64)
    for row, own in enumerate(gold):
        firsts, lasts = held.characters(row)
        for begin, end in own.places:
            start = int(np.searchsorted(lasts, begin, side="right"))
            stop = int(np.searchsorted(firsts, end, side="left")) - 1
            whole = len(lasts) and (end <= lasts[-1] or not held.context_cut[row])
            if whole and held.hold(row, start, stop):
                spans[row] = start, stop
                break
    return spans


def _marks(held: Windows, token: np.ndarray, spans: np.ndarray) -> dict[str, Target]:
    """is_start and is_end: the places of the learned answer in every window that holds it whole, or the first place."""
    start, stop = spans[held.owner].T
    holds = (start >= held.first) & (stop < held.first + held.length) & (start >= 0)
    starts = np.concatenate([[0], np.cumsum(held.length)])[held.starts]
    none = spans[:, 0] < 0
    return {
        name: _behind_first((token == np.repeat(np.where(holds, wanted, -1), held.length)).astype(np.uint8), starts, none)
        for name, wanted in (("is_start", start), ("is_end", stop))
    }


def _gold_notes(gold: Sequence[Gold], spans: np.ndarray, held: Windows, contexts: Sequence[str]) -> Counter[str]:
    notes = Counter(
        answers_mended=sum(own.mended for own in gold),
        answers_unplaced=sum(len(own.texts) - len(own.places) for own in gold),
        questions_unplaced_dropped=sum(own.lost for own in gold),
        unanswerable=sum(not own.texts for own in gold),
    )
    for row, (own, (start, stop)) in enumerate(zip(gold, spans.tolist(), strict=True)):
        if start < 0:
            notes["answers_cut"] += bool(own.places)
            continue
        firsts, lasts = held.characters(row)
        piece = contexts[row][firsts[start] : lasts[stop]].strip()
        notes["answers_widened"] += all(piece != contexts[row][a:b].strip() for a, b in own.places)
    return notes


def _ragged(targets: Mapping[str, Any], name: str) -> Ragged:
    found = targets[name]
    assert isinstance(found, Ragged)
    return found
