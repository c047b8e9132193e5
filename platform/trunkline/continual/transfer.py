"""What tasks do for those that come later, and lose to them: transfer forward and backward over a line of models."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from trunkline.data.rows import Rows

RIDGE = 0.1


def readable(rows: Rows) -> str | None:
    """The name of a target that says something of a whole row, which is one text or pair; None where there is none."""
    if (rows.lengths.lengths != 1).any():
        return None
    return next((name for name in ("labels", "label_set", "target") if isinstance(rows.targets.get(name), np.ndarray)), None)


def probe(known: np.ndarray, train: Rows, asked: np.ndarray, num_labels: int | None) -> np.ndarray:
    """What a linear map of a trunk's vectors, fitted to the training rows, gives for other rows, as the kind's head would.

    known [n, D], asked [m, D]: vectors of the training rows and of the others, scaled by the mean and deviation of each of the D
    over training rows. With these as X and the targets less their mean as Y:

        W = (X'X + 0.1 n I)^-1 X'Y

    Y is one column a label for `labels` [n] (scores [m, C]) and `label_set` [n, C] (logits [m, C], 0 at one half), the numbers
    themselves for `target`. The rows must be `readable`.

    Source: Alain & Bengio, arXiv:1610.01644, section 3 (linear probes). Departure: least squares, which has one answer and no
    seed, in place of a softmax.
    """
    name = readable(train)
    seen = train.targets[name or ""]
    assert isinstance(seen, np.ndarray)
    wanted = np.eye(num_labels or int(seen.max()) + 1)[seen.astype(np.int64)] if name == "labels" else seen.astype(np.float64)
    mean, scale = known.mean(0, dtype=np.float64), np.maximum(known.std(0, dtype=np.float64), 1e-6)
    x, y = (known - mean) / scale, wanted.reshape(len(wanted), -1)
    weight = np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(x.shape[1]), x.T @ (y - y.mean(0)))
    found = (((asked - mean) / scale) @ weight + y.mean(0)).reshape(len(asked), *wanted.shape[1:])
    return np.asarray(4 * (found - 0.5) if name == "label_set" else found, np.float32)


def transfer(reports: Iterable[Mapping[str, Any]], tasks: Collection[str]) -> dict[str, float | None]:
    """backward_transfer, forward_transfer and forgetting, in points, over the reports of a line of models, oldest first.

    With R[i, j] what model i scored on task j, and task j new in model j (several tasks may be), after T models

        backward = mean over old j of  R[T, j] - R[j, j]
        forward  = mean over added j of  P[j - 1, j] - P[0, j]
        forgotten = mean over old j of  max over i >= j of R[i, j]  -  R[T, j]

    Source: Lopez-Paz & Ranzato, arXiv:1706.08840, section 2, equations 2 (backward) and 3 (forward); Chaudhry et al.,
    arXiv:1801.10112, section 3 (forgetting), here never below 0. Departure in forward: R[j - 1, j] does not exist, for a task
    has no head before it is added, so P is the score of a linear probe on the frozen trunk; and their random network is
    the trunk the first model's training began with, drawn or pretrained, so that what pretraining knew is not counted as what
    the tasks taught. R[i, j] are added up from the changes that reports tell, each on equal rows.

    tasks: of the last model; others are left out. None where nothing was measured at every model.
    """
    paths: dict[str, list[float]] = {}
    unmeasured: set[str] = set()
    forward = []
    for report in reports:
        for row in report["old"]:
            if row["change"] is None:
                unmeasured.add(row["task"])
            else:
                path = paths.setdefault(row["task"], [0.0])
                path.append(path[-1] + row["change"])
        forward += [row["forward"] for row in report.get("forward", []) if row["task"] in tasks]
    known = [path for task, path in paths.items() if task in tasks and task not in unmeasured]
    return {
        "backward_transfer": _mean([path[-1] for path in known]),
        "forward_transfer": _mean(forward),
        "forgetting": _mean([max(path) - path[-1] for path in known]),
    }


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
