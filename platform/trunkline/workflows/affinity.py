"""Who helps whom, from one short run: lookahead affinity, cosines of gradients, and which tasks to keep together."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trunkline.batch import Batch
from trunkline.build.assemble import Assembly, assemble
from trunkline.build.prepare import prepare, project_folder
from trunkline.build.task import make_loss
from trunkline.config.recipe import Recipe, load_recipe
from trunkline.data.dealing import build_step
from trunkline.errors import ConfigError
from trunkline.quality.geometry import shared_part
from trunkline.quality.words import unit
from trunkline.training.gram import Probe
from trunkline.training.objective import factors
from trunkline.workflows.grouping import best_partition

MARGIN = 0.1  # of the cosine: tasks are kept apart where they are opposed, not where nothing is to be seen
UNEVEN = 2.0  # a gradient so many times longer or shorter than an even share is worth another weight
LENGTH = 1e-3  # of a lookahead, as a share of the parameters' norm
DIRECTIONS = 8  # of a task's gradients, that span its own space


@dataclass(frozen=True)
class Affinity:
    """What a short run shows. cosine [T, T]: mean of the tasks' gradients on the probe layers. lookahead [T, T]: row i column j,
    the part of task j's loss that a step along task i's gradient takes away, in thousandths; norm_share: of its gradient, mean.
    shared [T, T]: how much of the spaces that the tasks' gradients span is one, 0..1 (`shared_part`), whichever way they point.
    groups: names to keep together. proposals: a sentence of what to do with each task, and why.
    """

    tasks: list[str]
    cosine: list[list[float]]
    lookahead: list[list[float]]
    shared: list[list[float]]
    norm_share: list[float]
    groups: list[list[str]]
    proposals: dict[str, str]


class LocalProbe(Probe):
    """One process, no ranks. slopes: what `gram` was made of, [T, out * in] of each probe layer."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.slopes: list[Tensor] = []

    def reduced(self, gradients: Tensor) -> Tensor:
        self.slopes.append(gradients.flatten(1))
        return gradients


def affinity(path: Path, overrides: Sequence[str], *, steps: int, every: int, say: Callable[[str], None]) -> Affinity:
    """Trains for `steps` at even rates and equal weights, looking ahead at every `every`-th step; leaves no run.

        lookahead[i, j] = 1 - loss of j after a step along the gradient of i / loss of j before

    Source: Fifty et al., TAG, NeurIPS 2021, equation 1 (arXiv:2109.04617), and for grouping by the cosine of gradients ETAP. The
    departure: every lookahead is a step of the same length, a thousandth of the trunk's norm, so that tasks with long
    gradients do not seem to move more. Raises ConfigError for one task, tasks that share rows, a loss that may be below 0, and a
    trunk without probe layers.
    """
    recipe = load_recipe(path, [*overrides, "sampling=uniform", "weighting=static", f"train.steps={steps}"])
    with tempfile.TemporaryDirectory(prefix="affinity") as folder:
        prepare(recipe, Path(folder), project_folder(path) / ".trunkline" / "store", say)
        built = assemble(Path(folder))
        _check(recipe, built)
        return _proposed(*_observed(built, steps, every))


def _check(recipe: Recipe, built: Assembly) -> None:
    if len(built.tables) < 2:
        raise ConfigError("affinity is between tasks, and there is one. Add a task.", where=recipe.where("tasks"))
    guest = next((name for name, table in built.tables.items() if table.host is not None), None)
    if guest is not None:
        raise ConfigError(
            f"'{guest}' learns from another task's rows, whose gradients can not be told apart. Leave it out.",
            where=recipe.where("tasks"),
        )
    below = next((name for name, card in built.cards.items() if make_loss(card, built.encodings[name]).signed), None)
    if below is not None:
        raise ConfigError(
            f"the loss of '{below}' may be below 0, and a lookahead is a part of it. Leave the task out, or give it another "
            "loss.",
            where=recipe.where("tasks"),
        )
    if not built.model.trunk.probed(recipe.train.probes):
        raise ConfigError(
            "the trunk names no layers on which gradients are compared. Say train.probes.", where=recipe.where("trunk")
        )


def _observed(built: Assembly, steps: int, every: int) -> tuple[list[str], Tensor, Tensor, Tensor, Tensor]:
    """Task names, mean cosines [T, T], mean lookahead [T, T], mean norm shares [T], shared parts [T, T]."""
    tasks, recipe = list(built.tables), built.recipe
    optimizer = torch.optim.AdamW(built.model.parameters(), lr=recipe.optim.lr)
    size = len(tasks)
    cosines, pairs, ahead, looks = (torch.zeros(size, size, dtype=torch.float64) for _ in range(4))
    shares, seen = torch.zeros(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    slopes: list[np.ndarray] = []
    kept = set(np.linspace(1, steps, min(steps, DIRECTIONS)).astype(int).tolist())
    built.model.train()
    for step in range(1, steps + 1):
        packs = build_step(
            step, built.stream.next_step(step), built.tables, seed=recipe.seed, rank=0, world=1,
            tokens_per_pass=2 * recipe.train.tokens_per_step,
        )  # fmt: skip
        (batch,) = packs.batches
        counts = torch.tensor(list(packs.counts.values()), dtype=torch.float64)
        scale = factors(torch.ones(size), packs.counts)
        probe = LocalProbe(built.model.trunk, size, recipe.train.probes)
        torch.manual_seed(step)
        with probe.watching(batch, torch.ones(size)):
            scalar, sums = built.objective(batch, scale)
            probe.look(scalar, scale)
        gram = probe.gram()
        norms = gram.diagonal().clamp(min=0).sqrt()
        there = (norms > 0) & torch.isfinite(norms)
        both = there[:, None] & there
        cosines += torch.where(both, gram / (norms[:, None] * norms).clamp(min=1e-30), 0.0)
        pairs += both
        shares += torch.where(there, norms / norms.sum(), 0.0)
        seen += there
        if step in kept:
            slopes.append(torch.cat(probe.slopes, 1).numpy())
        if step % every == 0:
            found = _lookahead(built, batch, scalar, scale, sums.double(), counts, step)
            ahead += torch.where(both, found, 0.0)
            looks += both
        optimizer.zero_grad()
        scalar.backward()
        torch.nn.utils.clip_grad_norm_(built.model.parameters(), recipe.train.clip or 1e9)
        optimizer.step()
    return tasks, cosines / pairs.clamp(min=1), ahead / looks.clamp(min=1), shares / seen.clamp(min=1), _shared(np.stack(slopes))


def _shared(slopes: np.ndarray) -> Tensor:
    """[T, T] of gradients [S, T, P]; each counts by its direction alone."""
    own = [unit(slopes[:, task]) for task in range(slopes.shape[1])]
    return torch.tensor([[shared_part(one, other, DIRECTIONS) for other in own] for one in own], dtype=torch.float64)


def _lookahead(built: Assembly, batch: Batch, scalar: Tensor, scale: Tensor, sums: Tensor, counts: Tensor, step: int) -> Tensor:
    """[T, T]; the graph of `scalar` and all parameters are left as they were."""
    weights = [parameter for parameter in built.model.trunk.parameters() if parameter.requires_grad]
    kept, whole = [weight.detach().clone() for weight in weights], scale.clone()
    norm = torch.stack([weight.norm() for weight in kept]).norm()
    found = torch.zeros(len(counts), len(counts), dtype=torch.float64)
    for task in whole.nonzero().flatten().tolist():
        scale.zero_()[task] = whole[task]
        slopes = torch.autograd.grad(scalar, weights, retain_graph=True, allow_unused=True)
        length = torch.stack([slope.norm() for slope in slopes if slope is not None]).norm()
        # Through .data, or the graph would refuse its backward; values are put back before it comes.
        for weight, slope in zip(weights, slopes, strict=True):
            if slope is not None and length > 0:
                weight.data.sub_(slope * (LENGTH * norm / length))
        torch.manual_seed(step)
        with torch.no_grad():
            _, after = built.objective(batch, whole)
        for weight, value in zip(weights, kept, strict=True):
            weight.data.copy_(value)
        found[task] = 1 - after.double() / sums.clamp(min=1e-30)
    scale.copy_(whole)
    return found


def _proposed(tasks: list[str], cosine: Tensor, ahead: Tensor, shares: Tensor, shared: Tensor) -> Affinity:
    numbers = best_partition((cosine + MARGIN).numpy())
    groups = [[tasks[number] for number in group] for group in numbers]
    proposals = {}
    for group in numbers:
        for task in group:
            others = [other for other in range(len(tasks)) if other != task]
            mates = [other for other in group if other != task]
            proposals[tasks[task]] = _sentence(tasks, task, mates, others, cosine, ahead, float(shares[task]))
    return Affinity(tasks, cosine.tolist(), (1000 * ahead).tolist(), shared.tolist(), shares.tolist(), groups, proposals)


def _sentence(
    tasks: Sequence[str], task: int, mates: Sequence[int], others: Sequence[int], cosine: Tensor, ahead: Tensor, share: float
) -> str:
    worst = min(others, key=lambda other: float(cosine[task, other]))
    against = f"cosine {cosine[task, worst]:+.2f} with {tasks[worst]}"
    helped = f"others' steps change its loss by {-1000 * float(ahead[others, task].mean()):+.2f} thousandths"
    if not mates:
        return f"isolate with an adapter: {against}, {helped}"
    even = share * len(tasks)
    together = f"mean cosine {float(cosine[task, mates].mean()):+.2f} in its group"
    if even > UNEVEN or even < 1 / UNEVEN:
        return f"reweight by {1 / even:.2g}: its gradient is {even:.2g} times an even share; {together}, {helped}"
    return f"keep together: {together}, {helped}"


def as_document(found: Affinity) -> Mapping[str, Any]:
    """For JSON."""
    return vars(found)
