"""What a checkpoint holds, by name, and whether it is what the model wants, told before any of it is used."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from trunkline import checkpoint, durable
from trunkline.checkpoint import PassedOver, Restored
from trunkline.errors import IntegrityError

Entries = Mapping[str, Mapping[str, Tensor]]
SCALARS = ("step",)


def by_name(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """`param/NAME` and what else there is of it -> name -> {param, ...}."""
    entries: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        what, _, name = key.partition("/")
        entries.setdefault(name, {})[what] = tensor
    return entries


def keep_rows(path: Path, last_step: int) -> None:
    """rows.jsonl up to the step resumed from, a line torn by a crash dropped."""
    if path.is_file():
        whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        durable.replace(path, "".join(line for line in whole if json.loads(line)["step"] <= last_step))


def check_any(found: object, passed: Sequence[PassedOver]) -> None:
    """Raises IntegrityError where there are checkpoints and none of them can be used: a run does not forget itself unasked."""
    if found is None and passed:
        reasons = " ".join(item.reason for item in passed)
        raise IntegrityError(
            f"none of {len(passed)} checkpoint(s) can be used: {reasons} Mend the storage and resume, or start a new run."
        )


def lost_bests(root: Path, restored: Restored | None) -> dict[str, str]:
    """Checkpoints that the restored one points to as best and that are damaged or gone, and why.

    It may be older than what removed them, where a newer one did not verify.
    """
    found = {}
    for step in set(restored.state.get("keep", [])) - {0, restored.step} if restored else ():
        name = checkpoint.name_of(step)
        try:
            checkpoint.verify(root / name)
        except IntegrityError as error:
            found[name] = str(error)
    return found


def check_fit(entries: Entries, model: nn.Module) -> None:
    """Raises IntegrityError with the names that are missing, that no part has, and that have another shape."""
    wanted = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    missing = [name for name in wanted if "param" not in entries.get(name, {})]
    unknown = [name for name in entries if name not in wanted]
    differing = [
        f"{key}/{name} {tuple(value.shape)} for {wanted[name]}"
        for name, entry in entries.items()
        if name in wanted
        for key, value in entry.items()
        if key not in SCALARS and tuple(value.shape) != wanted[name]
    ]
    if missing or unknown or differing:
        raise IntegrityError(
            f"the checkpoint is of another model: missing tensors: {_first(missing)}; unknown ones: {_first(unknown)}; "
            f"of another shape: {_first(differing)}."
        )


def _first(names: Iterable[str], count: int = 5) -> str:
    listed = list(names)
    return ", ".join(listed[:count]) + (f" and {len(listed) - count} more" if len(listed) > count else "") or "none"
