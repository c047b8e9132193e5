"""What a run makes: the model of one of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from trunkline import checkpoint
from trunkline.build.assemble import Assembly, assemble
from trunkline.build.model import write_model
from trunkline.launch.judge import Judge
from trunkline.launch.restored import by_name, check_fit
from trunkline.launch.runs import RunFolder
from trunkline.models.multitask import MultiTask


def write_step(
    folder: RunFolder,
    built: Assembly,
    judge: Judge,
    entries: Mapping[str, Mapping[str, Tensor]],
    step: int,
    to: Path,
    trained: Mapping[str, int],
) -> list[dict[str, Any]]:
    """The model folder `to` from a step's parameters, or their moving average; its table. trained: as `spent` tells."""
    rows = judge.table(folder.path, step)
    lineage = {"run_id": folder.run_id, **built.lineage, "trained": trained}
    write_model(to, built, parameters_of(entries), rows, lineage=lineage)
    return rows


def parameters_of(entries: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """What is written of a step: its parameters, or their moving average."""
    return {name: entry.get("ema", entry["param"]) for name, entry in entries.items()}


def written(built: Assembly, entries: Mapping[str, Mapping[str, Tensor]]) -> MultiTask:
    """A model of its own with a step's parameters."""
    model = built.fresh().model
    model.load_state_dict({**model.state_dict(), **parameters_of(entries)}, strict=True)
    return model


def spent(step: int, tokens: int, stream: Mapping[str, Any]) -> dict[str, int]:
    """Steps, tokens and rows of all tasks up to a step. stream: its state there."""
    return {"steps": step, "tokens": tokens, "rows": round(sum(own[0] for own in stream.get("booked", {}).values()))}


def model_of(folder: RunFolder, step: int, to: Path) -> list[dict[str, Any]]:
    """Writes the model of a checkpoint, whatever the run goes on to do; its table. Raises IntegrityError for a damaged one."""
    restored = checkpoint.load(folder.checkpoints / checkpoint.name_of(step))
    entries, built = by_name(restored.tensors), assemble(folder.path)
    check_fit(entries, built.model)
    judge = Judge(built, rank=0, world=1, gather=lambda value: [value])
    trained = spent(step, int(restored.state["tokens"]), restored.state["stream"])
    return write_step(folder, built, judge, entries, step, to, trained)
