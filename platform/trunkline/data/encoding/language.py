"""What the kinds share that take a text's own tokens for targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from trunkline.data.encoding.base import Encoding, Records
from trunkline.data.keys import GOLDEN, splitmix64
from trunkline.data.rows import Ragged
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import ConfigError


class Language(Encoding):
    """Tokens are to be guessed: no target column, a loss in nats for each, a unigram model as baseline."""

    records_given: ClassVar[frozenset[str]] = frozenset({"loss", "prediction", "target"})
    default_loss: ClassVar[str] = "cross_entropy"
    default_metrics: ClassVar[tuple[str, ...]] = ("perplexity", "accuracy")
    needs_target: ClassVar[bool] = False

    def __init__(self, tokenizer: Tokenizer, inputs: Sequence[str], target: str | None) -> None:
        super().__init__(tokenizer, inputs, target)
        refuse_target(target)

    def head_arguments(self) -> dict[str, Any]:
        return {"vocab_size": self.tokenizer.vocab_size}

    def records(self, outputs: np.ndarray, targets: Mapping[str, np.ndarray]) -> Records:
        """outputs: [K, 2], the loss in nats and the number of the most probable token."""
        return {
            "loss": outputs[:, 0].astype(np.float32),
            "prediction": outputs[:, 1].astype(np.int64),
            "target": targets["labels"].astype(np.int64),
        }

    def unigram(self, counts: np.ndarray, targets: Mapping[str, np.ndarray]) -> Records:
        """The records of every token at its share of `counts` [V], whatever stands around it."""
        losses = -np.log(counts[targets["labels"]] / counts.sum())
        return self.records(np.stack([losses, np.full(len(losses), counts.argmax())], axis=1), targets)


def refuse_target(target: str | None) -> None:
    """Raises ConfigError if a target column is named."""
    if target is not None:
        raise ConfigError(f"target: this kind of task makes its own targets, found '{target}'. Leave it out.")


def perplexity(losses: np.ndarray) -> float | None:
    """exp of the mean loss in nats, infinite where that passes float64; None of no token at all."""
    with np.errstate(over="ignore"):
        return float(np.exp(losses.astype(np.float64).mean())) if len(losses) else None


def ordinary(tokenizer: Tokenizer) -> np.ndarray:
    """Which token ids are no special ones: [V] bool."""
    found = np.zeros(tokenizer.vocab_size, bool)
    found[tokenizer.normal_ids] = True
    return found


def num_ordinary(tokens: Ragged, among: np.ndarray) -> np.ndarray:
    """How many tokens of each row are `among` [V] bool."""
    before = np.concatenate([[0], np.cumsum(among[tokens.values])])
    return np.diff(before[tokens.starts])


@dataclass(frozen=True)
class Choice:
    """Some ordinary tokens of gathered rows. place [P]: where all ordinary ones lie, in order; owner [P]: their rows.

    chosen [K]: numbers into them, in order; scores [K] uint64: a random word for each, a function of its row's key and place.
    """

    place: np.ndarray
    owner: np.ndarray
    chosen: np.ndarray
    scores: np.ndarray


def choose(tokens: Ragged, among: np.ndarray, counts: np.ndarray, keys: np.ndarray) -> Choice:
    """`counts` [n] ordinary tokens of each row; which ones is a function of the row's key and the places in the row alone."""
    place = np.flatnonzero(among[tokens.values])
    owner = np.repeat(np.arange(len(tokens)), tokens.lengths)[place]
    local = (place - tokens.starts[owner]).astype(np.uint64)
    scores = splitmix64(keys.astype(np.uint64)[owner] + local * GOLDEN)
    # Lowest scores first within each row; lexsort is stable, so an (unheard of) tie goes to the earlier place.
    order = np.lexsort((scores, owner))
    per_row = np.bincount(owner, minlength=len(tokens))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(per_row) - per_row, per_row)
    chosen = np.sort(order[rank < np.repeat(counts, per_row)])
    return Choice(place.astype(np.int64), owner, chosen, scores[chosen])
