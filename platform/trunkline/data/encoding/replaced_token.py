"""Text in which some tokens are not the ones that were written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from trunkline.data.encoding.base import Columns, Encoding, Records, Where
from trunkline.data.encoding.language import choose, num_ordinary, ordinary, refuse_target
from trunkline.data.keys import splitmix64, unit
from trunkline.data.rows import Rows
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import ConfigError
from trunkline.registry import ENCODINGS


@ENCODINGS.register("replaced_token")
class ReplacedToken(Encoding):
    """One text or a pair; some of its ordinary tokens are replaced each time the row is drawn; of every ordinary one it is asked:
    was it? Labels: 0 original, 1 replaced; a replacement that happens to equal what stood there counts as original.

    max(1, round(replace * ordinary tokens)) tokens of a row get a replacement: with the chance `from_row` another ordinary token
    of the same row, drawn evenly over its places, else any ordinary token of the vocabulary, drawn evenly. Which, and by what, is
    a function of the row's key and the place alone. Rows without an ordinary token have nothing to learn.
    Source: Clark et al., ELECTRA, arXiv:2003.10555, section 2. Departure: ELECTRA's replacements are samples of a small masked
    language model trained beside it, which makes them plausible; these come without a generator, are easier to tell, and teach
    less. A row under prediction is read as it stands: nothing is replaced.
    """

    keeps_tokens: ClassVar[bool] = False
    records_given: ClassVar[frozenset[str]] = frozenset({"scores", "prediction", "target"})
    default_loss: ClassVar[str] = "cross_entropy"
    default_metrics: ClassVar[tuple[str, ...]] = ("auroc", "macro_f1", "accuracy")
    needs_target: ClassVar[bool] = False

    def __init__(
        self,
        tokenizer: Tokenizer,
        inputs: Sequence[str],
        target: str | None,
        *,
        replace: float = 0.15,
        from_row: float = 0.5,
    ) -> None:
        super().__init__(tokenizer, inputs, target)
        refuse_target(target)
        if not 0 < replace < 1:
            raise ConfigError(f"replace: above 0 and below 1, found {replace}.")
        if not 0 <= from_row <= 1:
            raise ConfigError(f"from_row: from 0 to 1, found {from_row}.")
        self.replace, self.from_row = replace, from_row
        self._ordinary = ordinary(tokenizer)

    def rows(self, columns: Columns, where: Where, with_targets: bool) -> Rows:
        encoded = self.encode_inputs(columns, where)
        counts = num_ordinary(encoded.tokens, self._ordinary)
        replaced = np.where(counts > 0, np.maximum(1, np.rint(self.replace * counts)), 0) * with_targets
        return self.one_text_rows(encoded, counts, {"replaced": replaced.astype(np.int32)})

    def dummy(self) -> Rows:
        encoded = self.dummy_tokens()
        counts = num_ordinary(encoded.tokens, self._ordinary)
        return self.one_text_rows(encoded, counts, {"replaced": counts.astype(np.int32)})

    def head_arguments(self) -> dict[str, Any]:
        return {"num_labels": 2}

    def collate(self, rows: Rows, keys: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Tokens [n], some replaced; positions [K] of all ordinary ones relative to the slice, and labels [K] in 0..1."""
        replaced = rows.targets["replaced"]
        assert isinstance(replaced, np.ndarray)
        written = rows.tokens.values
        picked = choose(rows.tokens, self._ordinary, replaced, keys)
        chance = splitmix64(picked.scores)
        draw = splitmix64(chance)
        normal = self.tokenizer.normal_ids
        anything = normal[(draw % np.uint64(len(normal))).astype(np.int64)]
        per_row = np.bincount(picked.owner, minlength=len(rows))
        first, size = ((value[picked.owner[picked.chosen]]) for value in (np.cumsum(per_row) - per_row, per_row))
        step = 1 + (draw % np.maximum(size - 1, 1).astype(np.uint64)).astype(np.int64)
        other = written[picked.place[first + (picked.chosen - first + step) % np.maximum(size, 1)]]
        tokens = written.astype(np.int32)
        tokens[picked.place[picked.chosen]] = np.where(unit(chance) < self.from_row, other, anything)
        return tokens, {"positions": picked.place, "labels": (tokens != written)[picked.place].astype(np.int64)}

    def records(self, outputs: np.ndarray, targets: Mapping[str, np.ndarray]) -> Records:
        """outputs: [K, 2] logits."""
        return {"scores": outputs, "prediction": outputs.argmax(-1), "target": targets["labels"]}

    def baseline(self, train: Rows, evaluated: Rows, keys: np.ndarray) -> Records:
        """Every token replaced with the share of the training rows' that got a replacement: so, none is."""
        replaced = train.targets["replaced"]
        assert isinstance(replaced, np.ndarray)
        share = np.clip(replaced.sum() / max(train.counts.sum(), 1), 1e-6, 1 - 1e-6)
        _, targets = self.collate(evaluated, keys)
        return self.records(np.tile(np.log([1 - share, share]).astype(np.float32), (len(targets["labels"]), 1)), targets)

    def decode(self, outputs: np.ndarray, rows: Rows) -> list[dict[str, Any]]:
        """tokens: the row's ordinary ones; replaced: for each the probability that another stood there, 0..1."""
        wide = outputs.astype(np.float64)
        chance = 1 / (1 + np.exp(np.clip(wide[:, 0] - wide[:, 1], -700, 700)))
        there = self._ordinary[rows.tokens.values]
        names = [self.tokenizer.token(number) for number in rows.tokens.values[there].tolist()]
        ends = np.cumsum(rows.counts).tolist()
        return [
            {"tokens": names[end - count : end], "replaced": chance[end - count : end].tolist()}
            for end, count in zip(ends, rows.counts.tolist(), strict=True)
        ]
