"""A text to be written for a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from trunkline.data.encoding.base import Columns, Encoding, Records, Where
from trunkline.data.rows import Ragged, Rows, Target, beside
from trunkline.data.spelling import Bytes, Pieces, Spelling, from_bytes, to_bytes
from trunkline.data.tokenizer import Tokenizer
from trunkline.data.vocabulary import Vocabulary
from trunkline.errors import ConfigError, nearest
from trunkline.registry import ENCODINGS, TOKENIZERS

VOCABULARIES = ("trunk", "bytes")


@ENCODINGS.register("generation")
class Generation(Encoding):
    """One text or a pair, and the text to be written for it.

    vocabulary: what the target is written in. `trunk`: tokens of the trunk's tokenizer (one that drops case and accents drops
    them here too); `bytes`: UTF-8; a mapping such as {kind: byte_bpe, vocab_size: 4000}: a tokenizer of its own, as a recipe's
    `tokenizer` names one, trained on the targets of the training rows. max_target: tokens of a target at most, 64 by default,
    256 of bytes. labels hold the target's ids, then an end token, whose id is the last; a longer target is cut, counted and has
    no end token, for it does not end there. A row whose target is empty (or space alone) is left out and counted. The texts
    themselves lie aside.
    """

    records_given: ClassVar[frozenset[str]] = frozenset({"text", "reference", "loss", "place"})
    default_loss: ClassVar[str] = "cross_entropy"
    default_metrics: ClassVar[tuple[str, ...]] = ("bleu", "chrf", "perplexity")
    aside: ClassVar[frozenset[str]] = frozenset({"source", "reference"})
    target_is_text: ClassVar[bool] = True

    def __init__(
        self,
        tokenizer: Tokenizer,
        inputs: Sequence[str],
        target: str | None,
        *,
        vocabulary: str | Mapping[str, Any] = "trunk",
        max_target: int | None = None,
    ) -> None:
        super().__init__(tokenizer, inputs, target)
        self._vocabulary = _vocabulary(vocabulary)
        if max_target is not None and (isinstance(max_target, bool) or not isinstance(max_target, int) or max_target < 1):
            raise ConfigError(f"max_target: a whole number from 1 up is needed, found {max_target!r}.")
        self.vocabulary = vocabulary if isinstance(vocabulary, str) else dict(vocabulary)
        self.max_target = max_target
        self.spelling: Spelling = Bytes() if vocabulary == "bytes" else Pieces(tokenizer)

    @property
    def own_wanted(self) -> Vocabulary | None:
        return self._vocabulary

    def adopt(self, tokenizer: Tokenizer) -> None:
        super().adopt(tokenizer)
        self.spelling = Pieces(tokenizer)

    @property
    def limit(self) -> int:
        """Tokens of a target at most, beside the end token."""
        return self.max_target or self.spelling.max_target

    @property
    def end(self) -> int:
        """The end token's id."""
        return self.spelling.size

    def rows(self, columns: Columns, where: Where, with_targets: bool) -> Rows:
        encoded = self.encode_inputs(columns, where)
        if not with_targets or self.target is None:
            return self.one_text_rows(encoded, np.ones(len(encoded.cut)), {})
        texts = self.texts(columns, self.target, where)
        ids = self.spelling.ids(texts)
        empty = np.array([not text.strip() for text in texts], bool) | (ids.lengths == 0)
        cut = ids.lengths > self.limit
        ended = (~empty & ~cut).astype(np.int64)
        ends = Ragged(np.full(int(ended.sum()), self.end), np.concatenate([[0], np.cumsum(ended)]).astype(np.int64))
        body = ids.keep(np.where(empty, 0, np.minimum(ids.lengths, self.limit)))
        labels = beside([Ragged(body.values.astype(np.int32), body.starts), Ragged(ends.values.astype(np.int32), ends.starts)])
        source = to_bytes(self.texts(columns, self.inputs[0], where))
        targets: dict[str, Target] = {"labels": labels, "source": source, "reference": to_bytes(texts)}
        rows = self.one_text_rows(encoded, labels.lengths, targets)
        rows.notes["targets_cut"], rows.notes["targets_empty"] = int(cut.sum()), int(empty.sum())
        rows.notes["unknown_target_tokens"] = int((body.values == self.spelling.unknown).sum())
        notes = +rows.notes
        rows.notes.clear()
        rows.notes.update(notes)
        return rows

    def collate(self, rows: Rows, keys: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """`place` beside the labels: each one's number within its row, from 0."""
        tokens, targets = super().collate(rows, keys)
        return tokens, {**targets, "place": _places(rows)} if targets else targets

    def dummy(self) -> Rows:
        labels, text = Ragged.of([[self.end]]), to_bytes([""])
        return self.one_text_rows(self.dummy_tokens(), np.ones(1), {"labels": labels, "source": text, "reference": text})

    def head_arguments(self) -> dict[str, Any]:
        return {"num_outputs": self.end + 1, "max_target": self.limit}

    def records(self, outputs: np.ndarray, targets: Mapping[str, Any]) -> Records:
        """outputs: [n, 2 T + 1], as the head answers: score, T ids, T losses of the reference. One record a target token."""
        place = np.asarray(targets["place"])
        losses = outputs[np.cumsum(place == 0) - 1, self.limit + 2 + place]
        return _records([self._text(row) for row in outputs], from_bytes(targets["reference"]), place, losses)

    def baseline(self, train: Rows, evaluated: Rows, keys: np.ndarray) -> Records:
        """A copy of the (first) source text; every target token at its frequency in the training rows (add-one)."""
        del keys
        counts = np.bincount(_ragged(train, "labels").values, minlength=self.end + 1) + 1.0
        asked = _ragged(evaluated, "labels")
        losses = -np.log(counts[asked.values] / counts.sum())
        copied, references = (from_bytes(_ragged(evaluated, name)) for name in ("source", "reference"))
        return _records(copied, references, _places(evaluated), losses)

    def decode(self, outputs: np.ndarray, rows: Rows) -> list[dict[str, Any]]:
        """text, and its score: the sum of its tokens' log-probabilities over the length penalty."""
        del rows
        return [{"text": self._text(row), "score": float(row[0])} for row in outputs]

    def _text(self, output: np.ndarray) -> str:
        ids = output[1 : self.limit + 2].astype(np.int64)
        return self.spelling.text(ids[(ids >= 0) & (ids < self.end)].tolist())


def _vocabulary(given: str | Mapping[str, Any]) -> Vocabulary | None:
    """The maker of the tokenizer a card asks for; None for a name. Raises ConfigError for what is neither."""
    if isinstance(given, Mapping) and isinstance(given.get("kind"), str):
        arguments = {name: value for name, value in given.items() if name != "kind"}
        TOKENIZERS.check(given["kind"], arguments)
        made: Vocabulary = TOKENIZERS.get(given["kind"])(**arguments)
        return made
    if given not in VOCABULARIES:
        advice = "Or a tokenizer, such as {kind: byte_bpe, vocab_size: 4000}."
        raise ConfigError(f"vocabulary: no such one, found {given!r}. {nearest(str(given), VOCABULARIES)} {advice}")
    return None


def _records(texts: Sequence[str], references: Sequence[str], place: np.ndarray, losses: np.ndarray) -> Records:
    """A row's two texts stand at its first target, nothing at the others."""
    both = np.full((2, len(place)), "", object)
    both[:, place == 0] = texts, references
    return {"text": both[0], "reference": both[1], "loss": losses.astype(np.float32), "place": place}


def _places(rows: Rows) -> np.ndarray:
    labels = _ragged(rows, "labels")
    return np.arange(len(labels.values)) - np.repeat(labels.starts[:-1], labels.lengths)


def _ragged(rows: Rows, name: str) -> Ragged:
    value = rows.targets[name]
    assert isinstance(value, Ragged)
    return value
