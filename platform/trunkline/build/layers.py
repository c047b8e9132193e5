"""Which layers of the trunk a task uses: what its head mixes, and what a linear probe reads out of each."""

from __future__ import annotations

from typing import Any

import numpy as np

from trunkline.data.packing import Table
from trunkline.data.rows import Ragged, Rows
from trunkline.evaluate import Judged
from trunkline.predict import Model
from trunkline.quality.probes import probe

MOST = 2000  # rows a probe learns from, and as many it is asked, evenly spread


def used_layers(model: Model, judged: Judged, trained: Table) -> dict[str, Any]:
    """From the embeddings (0) up. mix: the shares of the head's own `layer_mix`, which add up to 1; null for a head without.

    probes: accuracy of a logistic regression on each layer's mean state over a row, learned on training rows; null for a kind
    without one label a row. Source: Peters et al., arXiv:1802.05365, section 5.1; Alain & Bengio, arXiv:1610.01644, section 3.
    """
    mix = model.network.head(judged.name).mix
    return {
        "mix": None if mix is None else mix.weights.detach().softmax(0).tolist(),
        "probes": _probed(model, _spread(trained), _spread(judged.table)),
    }


def _spread(table: Table) -> Rows:
    there = table.learned
    return table.rows.take(there[np.linspace(0, len(there) - 1, min(len(there), MOST)).astype(np.int64)])


def _probed(model: Model, known: Rows, asked: Rows) -> list[float] | None:
    labels, right = known.targets.get("labels"), asked.targets.get("labels")
    if labels is None or right is None or isinstance(labels, Ragged) or isinstance(right, Ragged):
        return None
    if labels.ndim != 1 or len(labels) != len(known) or len(np.unique(labels)) < 2:
        return None
    count = int(max(labels.max(), right.max())) + 1
    layers = zip(model.layers_of(known), model.layers_of(asked), strict=True)
    answers = [probe(own, labels.astype(np.int64), new, num_labels=count).argmax(axis=1) for own, new in layers]
    return [float((answer == right).mean()) for answer in answers]
