"""Which tokens spoke for an answer: integrated gradients from empty word vectors to those of the text."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trunkline.batch import Batch
from trunkline.data.packing import Table, evaluation_packs
from trunkline.models.base import Trunk
from trunkline.predict import TOKENS_PER_PASS, Model

STEPS = 32


def attributions(model: Model, task: str, table: Table, *, steps: int = STEPS) -> list[np.ndarray] | None:
    """Of each row what its tokens [n] add to the score of the label it got, or to its number: row by row, in the table's order.
    None for a kind that gives no one score, or one for each label, to a row.

        e_i . mean over a in (0, 1) of d score(a * e) / d e_i

    e: the vectors of the tokens as the trunk reads them. What a row's tokens add up to is the score less that of a text of empty
    vectors, as near as `steps` points of the path tell it (the midpoint rule). Source: Sundararajan, Taly & Yan,
    arXiv:1703.01365, equation 3, with vectors of zeros as the baseline.
    """
    found: list[np.ndarray] = [np.zeros(0)] * len(table.rows)
    for pack in evaluation_packs({task: table}, rank=0, world=1, tokens_per_pass=TOKENS_PER_PASS):
        batch = pack.to(model.device)
        path = _Path(model.network.trunk, batch)
        chosen = None
        slope = None
        for share in (1.0, *((number + 0.5) / steps for number in range(steps))):
            with path.at(share):
                answer = model.network.answer(task, batch)
            if answer.ndim > 2 or len(answer) != len(batch.tasks[task].row_ids):
                return None
            scores = answer.reshape(len(answer), -1)
            if chosen is None:  # what the whole text is answered with
                chosen = scores.argmax(1, keepdim=True)
                continue
            own = path.slope(scores.gather(1, chosen).sum())
            slope = own if slope is None else slope + own
        assert slope is not None
        added = path.by_token(path.vectors * slope / steps).sum(-1).float().cpu().numpy()
        bounds = batch.row_starts.tolist()
        for number, row in enumerate(batch.tasks[task].row_ids.tolist()):
            found[row] = added[bounds[number] : bounds[number + 1]]
    return found


class _Path:
    """The way from empty vectors to those of a pack. vectors: what the trunk's table gave."""

    def __init__(self, trunk: Trunk, batch: Batch) -> None:
        self.trunk, self.batch = trunk, batch
        self.vectors = torch.zeros(0)
        self.share, self.point = 1.0, torch.zeros(0)

    def at(self, share: float) -> _Path:
        self.share = share
        return self

    def __enter__(self) -> None:
        self.hook = self.trunk.embeddings.register_forward_hook(self._moved)

    def __exit__(self, *raised: object) -> None:
        self.hook.remove()

    def _moved(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        del module, inputs
        self.vectors = output.detach()
        self.point = (self.share * self.vectors).requires_grad_()
        return self.point

    def slope(self, score: Tensor) -> Tensor:
        """d score / d vectors, where the path is now."""
        return torch.autograd.grad(score, self.point)[0]

    def by_token(self, states: Tensor) -> Tensor:
        return self.trunk.by_token(self.batch, states)
