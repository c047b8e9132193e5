"""One number a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from trunkline.data.encoding.base import Columns, Encoding, Records, Where, refuse
from trunkline.data.rows import Rows
from trunkline.registry import ENCODINGS

# Beyond this a float32 squared error drowns every other row; such a target wants rescaling, or is a slip.
LARGEST = 1e6


@ENCODINGS.register("regression")
class Regression(Encoding):
    """One text or a pair, one number from -1e6 to 1e6 (or text that reads as one)."""

    records_given: ClassVar[frozenset[str]] = frozenset({"prediction", "target"})
    default_loss: ClassVar[str] = "mse"
    default_metrics: ClassVar[tuple[str, ...]] = ("spearman", "pearson")

    def rows(self, columns: Columns, where: Where, with_targets: bool) -> Rows:
        encoded = self.encode_inputs(columns, where)
        targets: dict[str, np.ndarray] = {}
        if with_targets and self.target is not None:
            targets["target"] = _numbers(self.target, self.column(columns, self.target), where)
        return self.one_text_rows(encoded, np.ones(len(encoded.cut)), targets)

    def dummy(self) -> Rows:
        return self.one_text_rows(self.dummy_tokens(), np.ones(1), {"target": np.zeros(1, np.float32)})

    def head_arguments(self) -> dict[str, Any]:
        return {}

    def records(self, outputs: np.ndarray, targets: Mapping[str, np.ndarray]) -> Records:
        """outputs: [n]."""
        return {"prediction": outputs.astype(np.float32), "target": targets["target"].astype(np.float32)}

    def baseline(self, train: Rows, evaluated: Rows, keys: np.ndarray) -> Records:
        """The mean target of the training rows."""
        del keys
        seen, asked = train.targets["target"], evaluated.targets["target"]
        assert isinstance(seen, np.ndarray) and isinstance(asked, np.ndarray)
        return self.records(np.full(len(evaluated), seen.mean(dtype=np.float64)), {"target": asked})

    def decode(self, outputs: np.ndarray, counts: np.ndarray) -> list[dict[str, Any]]:
        """value, in the unit of the target column."""
        del counts
        return [{"value": value} for value in outputs.astype(float).tolist()]


def _numbers(column: str, values: Any, where: Where) -> np.ndarray:
    numbers = np.array([_number(value) for value in values], np.float64)
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(~(np.abs(numbers) <= LARGEST))
    if len(bad):
        refuse(
            column, "has values that are no number from -1e6 to 1e6", bad.tolist(), values, where, "Mend, drop or rescale them."
        )
    return numbers.astype(np.float32)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return float("nan")
    try:
        return float(value)
    except (ValueError, OverflowError):
        return float("nan")
