"""What a run cost, beside the model it goes on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trunkline.build.model import read_manifest
from trunkline.report.series import records, seconds


def cost(model: Path, parent: Path) -> dict[str, Any]:
    """Steps, rows, tokens and seconds of training, and those (`parent_...`) the model before was trained with.

    Trained jointly from scratch, the tasks would cost both, or more. What a model or the run beside it does not say is None.
    """
    found: dict[str, Any] = {}
    for prefix, folder in (("", model), ("parent_", parent)):
        trained = read_manifest(folder)["lineage"].get("trained", {})
        found |= {f"{prefix}{name}": trained.get(name) for name in ("steps", "rows", "tokens")}
        found[f"{prefix}seconds"] = seconds(records(folder.parent / "events.jsonl")) or None
    return found
