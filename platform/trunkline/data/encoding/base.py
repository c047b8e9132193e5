"""What every encoding of a kind of task offers; numpy only, so that cards are checked without torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NoReturn

import numpy as np

from trunkline.data.encoded import Encoded
from trunkline.data.fingerprint import configuration, digest
from trunkline.data.rows import Ragged, Rows, Target
from trunkline.data.tokenizer import Tokenizer
from trunkline.data.vocabulary import Vocabulary
from trunkline.errors import ConfigError, DataError, nearest

Columns = Mapping[str, Sequence[Any]]
Records = dict[str, np.ndarray]
Where = Callable[[int], str]
SHOWN = 5


class Place(str):
    """Where a row stands, as a message says it. row: its number in the chunk."""

    row: int = -1

    @classmethod
    def of(cls, text: str, row: int) -> Place:
        place = cls(text)
        place.row = row
        return place


class Encoding(ABC):
    """Columns of one kind of task -> Rows, and back from head outputs to predictions.

    tokenizer: how text becomes tokens. inputs: column names (one text, or two for a pair). target: column name or None.
    Keyword-only arguments of a subclass come from the card's `head:` mapping; each is kept under its own name, because the
    store's key is made of them. A subclass writes `rows`, which gives one row per row of the columns, in order; one without
    anything to learn has count 0 (the store leaves it out).

    records_given: the arrays `records()` gives, which a metric's `needs` must be among. default_loss, default_metrics: what
    a card that names none gets. aside: targets that only `records` and `decode` read (such as an answer's text), which never go
    into a pack. sight: which way each trunk row of a drawn row is read, in order: 0 whole, -1 looking back only, 1 ahead only.
    target_is_text: the target column is text the trunk reads. keeps_tokens: a pack gets a row's tokens as they are stored, which
    tasks that share rows need. learns_from_teacher: `teacher_scores` is written. version: raised when the same columns become
    other rows than before.
    """

    records_given: ClassVar[frozenset[str]]
    default_loss: ClassVar[str]
    default_metrics: ClassVar[tuple[str, ...]]
    aside: ClassVar[frozenset[str]] = frozenset()
    sight: ClassVar[tuple[int, ...]] = (0,)
    num_inputs: ClassVar[tuple[int, ...]] = (1, 2)
    needs_target: ClassVar[bool] = True
    target_is_text: ClassVar[bool] = False
    keeps_tokens: ClassVar[bool] = True
    learns_from_teacher: ClassVar[bool] = False
    version: ClassVar[int] = 1
    own: Tokenizer | None = None

    def __init__(self, tokenizer: Tokenizer, inputs: Sequence[str], target: str | None) -> None:
        self.tokenizer, self.inputs, self.target = tokenizer, tuple(inputs), target
        if len(self.inputs) not in self.num_inputs:
            wanted = " or ".join(map(str, self.num_inputs))
            raise ConfigError(
                f"inputs: this kind of task takes {wanted} column(s), found {len(self.inputs)}: {', '.join(self.inputs)}."
            )
        if self.needs_target and target is None:
            raise ConfigError("target: this kind of task needs a target column, none is named.")

    @classmethod
    def suited(cls, inputs: Sequence[str], target: str | None) -> type[Encoding]:
        """The class that reads these columns: this one, unless the kind has rows of several forms."""
        del inputs, target
        return cls

    @property
    def wanted(self) -> tuple[str, ...]:
        """The columns a row must have for training."""
        return self.inputs if self.target is None else (*self.inputs, self.target)

    @property
    def optional(self) -> tuple[str, ...]:
        """The columns that must be there too, in which a row may have no value (None)."""
        return ()

    @property
    def own_wanted(self) -> Vocabulary | None:
        """How a tokenizer for its targets is to be made, of the target column's training texts. Whoever composes makes it, keeps
        it with the card and hands it to `adopt` before the first row."""
        return None

    def adopt(self, tokenizer: Tokenizer) -> None:
        """Takes the tokenizer it wanted."""
        self.own = tokenizer

    def key(self) -> str:
        """A hash of all that decides what tokens and targets the same columns become."""
        kind = f"{type(self).__module__}.{type(self).__qualname__}"
        tokenizer = [self.tokenizer.key, self.tokenizer.max_length, self.tokenizer.truncate]
        if self.own is not None:
            tokenizer.append(self.own.key)
        return digest([kind, self.version, self.inputs, self.target, configuration(self), tokenizer])

    def encode(self, columns: Columns, *, first_row: int = 0, where: Where | None = None, with_targets: bool = True) -> Rows:
        """Tokenise a chunk. where: names the file and line of a row of the chunk; without it rows are called by number.

        Raises DataError that names up to five bad rows when a value does not fit, and knows them all.
        """
        tell = where or (lambda row: f"row {first_row + row}")
        try:
            return self.rows(columns, lambda row: Place.of(tell(row), row), with_targets)
        except DataError as error:
            if not error.rows and isinstance(error.where, Place):
                error.rows = {error.where.row: error.message}
            raise

    @abstractmethod
    def rows(self, columns: Columns, where: Where, with_targets: bool) -> Rows:
        """The work of `encode`."""

    @abstractmethod
    def dummy(self) -> Rows:
        """One short valid row with targets, for a pack in which the task has none."""

    @abstractmethod
    def head_arguments(self) -> dict[str, Any]:
        """What the head of the same name must know from here, such as num_labels."""

    def drawn(self, rows: Rows) -> Rows:
        """What of these rows training draws from; evaluation and prediction keep them whole."""
        return rows

    def collate(self, rows: Rows, keys: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Tokens [n] and targets of gathered rows, flat, `positions` made relative to the slice.

        keys: one uint64 per row from (seed, task, row id, pass), the only source of randomness allowed here.
        """
        del keys  # nothing here is random
        targets: dict[str, np.ndarray] = {}
        for name, value in rows.targets.items():
            if name in self.aside:
                continue
            if not isinstance(value, Ragged):
                targets[name] = value
            elif name == "positions":
                targets[name] = value.values.astype(np.int64) + np.repeat(rows.tokens.starts[:-1], value.lengths)
            else:
                targets[name] = value.values
        return rows.tokens.values, targets

    @abstractmethod
    def records(self, outputs: np.ndarray, targets: Mapping[str, Any]) -> Records:
        """Small arrays per target that metrics read, from what the head's `answer` gave.

        targets: the pack's, as arrays, and those that lie aside, as `aside_of` gives them.
        """

    @abstractmethod
    def baseline(self, train: Rows, evaluated: Rows, keys: np.ndarray) -> Records:
        """The records a constant guess (majority, mean, unigram, chance) gives on `evaluated`, having seen `train`.

        keys: of the evaluated rows, the same as `collate` gets there.
        """

    @abstractmethod
    def decode(self, outputs: np.ndarray, rows: Rows) -> list[dict[str, Any]]:
        """One prediction per row in the user's words, from what the head's `answer` gave for these rows."""

    def teacher_scores(self, column: str, values: Sequence[Any], where: Where, *, form: str) -> np.ndarray:
        """A column of another model's scores as the target `teacher`, of the shape of the head's outputs. form: logits or
        probabilities, where the kind has both. Raises DataError for values that do not fit."""
        raise NotImplementedError(f"{column}, {len(values)} {form}: {type(self).__name__} learns from no teacher")

    def unseen(self, rows: Rows) -> Sequence[str]:
        """What the card promises and no target of these rows is, such as labels, in the user's words."""
        del rows
        return ()

    def aside_of(self, rows: Rows, row_ids: np.ndarray) -> dict[str, Target]:
        """The targets of these rows that lie aside."""
        found = {name: rows.targets[name] for name in self.aside}
        return {name: value.take(row_ids) if isinstance(value, Ragged) else value[row_ids] for name, value in found.items()}

    def texts(self, columns: Columns, name: str, where: Where) -> list[str]:
        """A column's values, each a str."""
        values = self.column(columns, name)
        if not set(map(type, values)) <= {str}:
            refuse(name, "is no text", [row for row, value in enumerate(values) if not isinstance(value, str)], values, where)
        return list(values)

    def column(self, columns: Columns, name: str) -> Sequence[Any]:
        if name not in columns:
            raise DataError(f"no column '{name}'. {nearest(name, columns)}")
        return columns[name]

    def one_text_rows(self, encoded: Encoded, counts: np.ndarray, targets: Mapping[str, Target]) -> Rows:
        """Rows of one trunk row each."""
        lengths = encoded.tokens.lengths.astype(np.int32)
        return Rows(
            encoded.tokens,
            Ragged.single(lengths),
            Ragged.single(encoded.seconds),
            counts.astype(np.int32),
            targets,
            noted(encoded, self.tokenizer),
        )

    def encode_inputs(self, columns: Columns, where: Where) -> Encoded:
        """The input columns, as one text or as a pair. A single column may hold lists of words instead."""
        if len(self.inputs) == 1 and _are_words(values := self.column(columns, self.inputs[0])):
            return self.tokenizer.encode_words(values)
        first, *rest = (self.texts(columns, name, where) for name in self.inputs)
        return self.tokenizer.encode(first, rest[0] if rest else None)

    def dummy_tokens(self) -> Encoded:
        """One row with a single ordinary token (or a pair of them)."""
        return self.tokenizer.frame([self.tokenizer.normal_ids[:1]] * len(self.inputs))


def _are_words(values: Sequence[Any]) -> bool:
    return len(values) > 0 and all(isinstance(words, list) and set(map(type, words)) <= {str} for words in values)


def noted(encoded: Encoded, tokenizer: Tokenizer) -> Counter[str]:
    """What a reader of the notes wants to know of tokenised rows: cut ones, empty ones, unknown tokens."""
    notes = Counter(
        cut=int(encoded.cut.sum()),
        empty=int((encoded.tokens.lengths <= tokenizer.num_special(encoded.pair)).sum()),
        unknown_tokens=int((encoded.tokens.values == tokenizer.unk_id).sum()),
    )
    return +notes


def refuse(
    name: str, what: str, bad: Sequence[int], values: Sequence[Any], where: Where, advice: str = "", *, each: str | None = None
) -> NoReturn:
    """Raises the DataError that shows the first bad values of a column and where they stand. each: `what`, said of one."""
    shown = ", ".join(f"{shorten(values[row])} ({where(row)})" for row in bad[:SHOWN])
    more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    raise DataError(
        f"column '{name}' {what}: {shown}{more}.{' ' if advice else ''}{advice}",
        where=where(bad[0]),
        rows=chunk_rows({row: f"column '{name}' {each or what}: {shorten(values[row])}" for row in bad}, where),
    )


def chunk_rows(reasons: Mapping[int, str], where: Where) -> dict[int, str]:
    """What is wrong, by the row of the chunk that `where` leads to; the first of several in one row."""
    found: dict[int, str] = {}
    for number, reason in reasons.items():
        place = where(number)
        if isinstance(place, Place):
            found.setdefault(place.row, reason)
    return found


def shorten(value: Any) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
