"""One number a row, or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from trunkline.data.encoding.base import Columns, Encoding, Records, Where, refuse
from trunkline.data.encoding.scores import number
from trunkline.data.rows import Rows
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import ConfigError
from trunkline.registry import ENCODINGS

# Beyond this a float32 squared error drowns every other row; such a target wants rescaling, or is a slip.
LARGEST = 1e6


@ENCODINGS.register("regression")
class Regression(Encoding):
    """One text or a pair, one number from -1e6 to 1e6 (or text that reads as one).

    names: of several numbers in each row; the target column then holds a list of as many, or text with spaces or commas between.
    """

    records_given: ClassVar[frozenset[str]] = frozenset({"prediction", "target"})
    default_loss: ClassVar[str] = "mse"
    default_metrics: ClassVar[tuple[str, ...]] = ("spearman", "pearson")
    learns_from_teacher: ClassVar[bool] = True

    def __init__(
        self, tokenizer: Tokenizer, inputs: Sequence[str], target: str | None, *, names: Sequence[str] | None = None
    ) -> None:
        super().__init__(tokenizer, inputs, target)
        if names is not None and (isinstance(names, str) or not names or len(set(map(str, names))) < len(names)):
            raise ConfigError(f"names: a list of different names is needed, one for each number of a row, found {names!r}.")
        self.names = None if names is None else [str(name) for name in names]

    def rows(self, columns: Columns, where: Where, with_targets: bool) -> Rows:
        encoded = self.encode_inputs(columns, where)
        targets: dict[str, np.ndarray] = {}
        if with_targets and self.target is not None:
            targets["target"] = self._read(self.target, self.column(columns, self.target), where)
        return self.one_text_rows(encoded, np.ones(len(encoded.cut)), targets)

    def _read(self, column: str, values: Sequence[Any], where: Where) -> np.ndarray:
        return numbers(column, values, where) if self.names is None else self._lists(column, values, where)

    def teacher_scores(self, column: str, values: Sequence[Any], where: Where, *, form: str) -> np.ndarray:
        """Numbers as the target's: float32 [n] or [n, M]."""
        del form
        return self._read(column, values, where)

    def _lists(self, column: str, values: Sequence[Any], where: Where) -> np.ndarray:
        """Lists of numbers, float32 [n, M]."""
        assert self.names is not None
        lists = [value.replace(",", " ").split() if isinstance(value, str) else value for value in values]
        bad = [row for row, own in enumerate(lists) if not isinstance(own, list | tuple) or len(own) != len(self.names)]
        if bad:
            refuse(column, f"has values that are no list of {len(self.names)} numbers", bad, values, where)
        flat = [number for own in lists for number in own]
        return numbers(column, flat, lambda place: where(place // len(self.names or ""))).reshape(len(lists), -1)

    def dummy(self) -> Rows:
        shape = (1,) if self.names is None else (1, len(self.names))
        return self.one_text_rows(self.dummy_tokens(), np.ones(1), {"target": np.zeros(shape, np.float32)})

    def head_arguments(self) -> dict[str, Any]:
        return {} if self.names is None else {"num_values": len(self.names)}

    def records(self, outputs: np.ndarray, targets: Mapping[str, np.ndarray]) -> Records:
        """outputs: [n] or [n, M]."""
        return {"prediction": outputs.astype(np.float32), "target": targets["target"].astype(np.float32)}

    def baseline(self, train: Rows, evaluated: Rows, keys: np.ndarray) -> Records:
        """The mean target of the training rows, of each of several for itself."""
        del keys
        seen, asked = train.targets["target"], evaluated.targets["target"]
        assert isinstance(seen, np.ndarray) and isinstance(asked, np.ndarray)
        return self.records(np.broadcast_to(seen.mean(0, dtype=np.float64), asked.shape), {"target": asked})

    def decode(self, outputs: np.ndarray, rows: Rows) -> list[dict[str, Any]]:
        """value, in the unit of the target column; of several numbers `values`, by name."""
        del rows
        if self.names is not None:
            return [{"values": dict(zip(self.names, row, strict=True))} for row in outputs.astype(float).tolist()]
        return [{"value": value} for value in outputs.astype(float).tolist()]


def numbers(column: str, values: Any, where: Where) -> np.ndarray:
    """Values as float32. Raises DataError for one that is no number from -1e6 to 1e6 (or text that reads as one)."""
    found = np.array([number(value) for value in values], np.float64)
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(~(np.abs(found) <= LARGEST))
    if len(bad):
        refuse(
            column, "has values that are no number from -1e6 to 1e6", bad.tolist(), values, where, "Mend, drop or rescale them."
        )
    return found.astype(np.float32)
