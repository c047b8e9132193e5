"""How much each parameter of a trunk matters to the tasks it has learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trunkline.build.task import make_loss, open_source, reading
from trunkline.data.packing import Table, pack
from trunkline.data.store import SplitJob, build_all
from trunkline.data.units import Unit
from trunkline.predict import Model
from trunkline.tasks.card import check_parts
from trunkline.tasks.catalog import Catalog
from trunkline.tasks.plugin import load_plugin


def fisher(model: Model, catalog: Catalog, rows: int, seed: int, store: Path, say: Callable[[str], None]) -> dict[str, Tensor]:
    """Trunk parameter -> its diagonal Fisher information, mean over tasks and rows, scaled to a mean of 1 over the trunk.

    From the gradients of single rows' losses at their own labels (the empirical Fisher; Kirkpatrick et al. sample labels from the
    model), `rows` training rows of each task whose card is at hand; a loss over groups takes a group for a row.
    """
    names = [name for name in model.tasks if name in catalog.names()]
    trunk = {f"trunk.{name}": parameter for name, parameter in model.network.trunk.named_parameters()}
    found = {name: torch.zeros_like(parameter) for name, parameter in trunk.items()}
    chance = np.random.default_rng(seed)
    for task in names:
        card = catalog.get(task)
        load_plugin(card)
        check_parts(card)
        served, source = model.task(task), open_source(card, catalog)
        (stored,) = build_all(store / "splits", [SplitJob(task, source, "train", served.encoding, reading(card), (), ())])
        table, loss = Table.of(stored.rows, served.encoding), make_loss(card, served.encoding)
        order = chance.permutation(table.learned)[: rows * loss.group]
        for first in range(0, len(order) - loss.group + 1, loss.group):
            chosen = order[first : first + loss.group]
            unit = Unit(task, chosen, chosen * 0, int(table.rows.tokens.lengths[chosen].sum()))
            batch = pack([unit], {task: table}, seed=seed)
            with torch.enable_grad():
                value = loss(model.network(batch)[task], batch.tasks[task].targets).mean()
                gradients = torch.autograd.grad(value, list(trunk.values()), allow_unused=True)
            for name, gradient in zip(trunk, gradients, strict=True):
                if gradient is not None:
                    found[name] += gradient.square()
        say(f"fisher: {min(rows, len(order))} training rows of {task}")
    total = sum(float(value.double().sum()) for value in found.values())
    count = sum(value.numel() for value in found.values())
    return {name: value * (count / total) if total else torch.ones_like(value) for name, value in found.items()}
