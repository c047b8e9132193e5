"""Which rows of a model's own tasks a run rehearses where it goes by loss: sooner those that the model answers badly."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from trunkline import durable
from trunkline.build.finetune import REHEARSED
from trunkline.build.start import Parent
from trunkline.config.recipe import Recipe
from trunkline.data.encoding.base import Encoding
from trunkline.data.packing import Table
from trunkline.data.rows import Rows
from trunkline.evaluate import Judged, everything
from trunkline.metrics.tables import wrongness
from trunkline.predict import TOKENS_PER_PASS
from trunkline.tasks.card import Card

CANDIDATES = 10  # rows the model is asked about for each one that is rehearsed
LEAST = 1e-3  # so that no row is out of reach


def choose(
    run: Path,
    recipe: Recipe,
    parent: Parent,
    cards: Mapping[str, Card],
    encodings: Mapping[str, Encoding],
    rows: Mapping[str, Rows],
    say: Callable[[str], None],
) -> None:
    """Writes down the numbers of the rows that are rehearsed of each of the model's tasks, for all ranks and attempts.

    A row is drawn, without replacement, at a rate in proportion to its loss under the model, of ten times as many rows drawn
    by chance. Source: Schaul et al., arXiv:1511.05952, section 3.3 (proportional priority, alpha 1), once and not again in each
    step; the order by Efraimidis & Spirakis, Information Processing Letters 97 (2006), algorithm A. A task whose rows have no
    loss of their own, or whose labels have grown, is left to chance, which is told. rows: of each task that is drawn.
    """
    start = recipe.start
    assert start is not None
    if start.by != "loss" or start.rehearse is None:
        return
    chosen, grown = dict[str, list[int]](), parent.growths(cards)
    for task in (task for task in rows if task in parent.manifest["tasks"] and start.rehearse < len(rows[task])):
        chance = np.random.default_rng([recipe.seed, *task.encode()])
        asked = np.sort(chance.permutation(len(rows[task]))[: CANDIDATES * start.rehearse])
        losses = None if task in grown else losses_of(parent, task, encodings[task], rows[task].take(asked))
        if losses is None:
            say(f"{task}: rehearsed by chance, for its rows have no loss of their own, or labels that are new")
        else:
            chosen[task] = np.sort(asked[drawn(losses, chance)[: start.rehearse]]).tolist()
    durable.replace(run / REHEARSED, json.dumps(chosen))


def losses_of(parent: Parent, task: str, encoding: Encoding, rows: Rows) -> np.ndarray | None:
    """The model's mean loss of each row [n], 0 for one without a label; None where its answers tell none."""
    judged = Judged(task, Table.of(rows, encoding), encoding, {})
    model = parent.model
    measured = everything(model.network, judged, tokens_per_pass=TOKENS_PER_PASS, device=model.device)
    wrong = wrongness(measured.records) if len(measured.ids) else None
    if wrong is None:
        return None
    sums, counts = (np.bincount(measured.ids, weights, len(rows)) for weights in (wrong, None))
    return sums / np.maximum(counts, 1)


def drawn(losses: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """All rows [n] in the order in which they are drawn without replacement, at rates in proportion to their losses."""
    return np.argsort(chance.exponential(size=len(losses)) / np.maximum(losses, LEAST), kind="stable")
