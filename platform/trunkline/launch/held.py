"""What a run trains: the model, the engine that holds it, and the moving average beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch

from trunkline.build.assemble import Assembly
from trunkline.build.finetune import make_freezing
from trunkline.build.optimization import make_groups
from trunkline.launch.restored import check_fit
from trunkline.training.average import Average
from trunkline.training.engine import Engine
from trunkline.training.freezing import Freezing

Entries = dict[str, dict[str, torch.Tensor]]


class Held:
    """One model at a time under one engine; where what is trained changes, another one of each, from the same state.

    entries: name -> {param, moments, step, ema}, as a checkpoint has them; empty for a model as it was built. step: the last one
    that was trained. Collective, as everything here that touches an engine is.
    """

    def __init__(self, built: Assembly, entries: Entries, step: int) -> None:
        self.built, self.recipe = built, built.recipe
        self.freezing = make_freezing(self.recipe, built.model)
        self.engine = self._engine(entries, self.freezing.at(min(step + 1, self.recipe.train.steps)))
        decay = self.recipe.train.ema
        self.average = None if decay is None else Average(self.engine, decay)
        if self.average is not None and step > 0:
            self.average.load(_averages(entries))

    def _engine(self, entries: Entries, frozen: frozenset[str]) -> Engine:
        """Parameters go into the model before the engine takes hold of it, moments after."""
        model = self.built.model
        if entries:
            check_fit(entries, model)
            buffers = {name: value for name, value in model.state_dict().items() if name not in dict(model.named_parameters())}
            model.load_state_dict({**buffers, **{name: entry["param"] for name, entry in entries.items()}}, strict=True)
        Freezing.hold(model, frozen)
        engine = Engine(
            self.built.objective,
            model,
            make_groups(self.recipe, model, entries),
            self.built.make_optimizer,
            zero_stage=self.recipe.engine.zero_stage,
            clip=self.recipe.train.clip,
        )
        if entries:
            engine.load_moments(entries)
        return engine

    def changes(self, step: int) -> bool:
        """Whether this step trains other parameters than the engine does."""
        return self.freezing.at(step) != frozenset(self.engine.frozen)

    def renew(self, entries: Entries, step: int) -> None:
        """Another engine, and the average with it, as they are in `entries`, for what this step trains."""
        self.engine.close()
        self.built = self.built.fresh()
        self.engine = self._engine(entries, self.freezing.at(step))
        if self.average is not None:
            self.average.move(self.engine, _averages(entries))

    def state(self, keep: Callable[[str], bool] = lambda _: True) -> Entries:
        """A copy, by name: parameter, moments, step count, and `ema` where the average is kept."""
        state = self.engine.named_state(keep)
        for name, value in (self.average.named(keep) if self.average else {}).items():
            state[name]["ema"] = value
        return state

    def written(self) -> contextlib.AbstractContextManager[None]:
        """Within, the model is what would be written: the average, where there is one."""
        return self.average.in_place() if self.average else contextlib.nullcontext()

    def counted(self) -> dict[str, int]:
        """Parameters that are trained, and that are not."""
        frozen = sum(self.engine.sizes[name] for name in self.engine.frozen)
        return {"parameters": sum(self.engine.sizes.values()) - frozen, "frozen": frozen}


def _averages(entries: Entries) -> dict[str, torch.Tensor]:
    return {name: entry["ema"] for name, entry in entries.items() if "ema" in entry}
