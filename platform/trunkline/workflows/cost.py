"""What a model cost to train, beside what those it comes from did."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trunkline.build.model import read_manifest
from trunkline.launch.runs import seconds_of
from trunkline.report.series import records
from trunkline.workflows.surgery import ancestors

COUNTED = ("steps", "tokens", "rows", "seconds")


def cost(run: Path, model: Path, parent: Path) -> dict[str, Any]:
    """Steps, tokens, rows and seconds of this run, and under `before` their sums over the models it comes from.

    Training all tasks together would cost what the first of them did at least. A figure is None where it is not known of the run,
    or of none of those models. Seconds are between the first and the last event of each attempt, with
    evaluation and saving.
    """
    own = _spent(read_manifest(model)["lineage"].get("trained"), [run])
    known = [
        _spent(entry["trained"], [Path(entry["model"]).parent, run.parent / str(entry["run_id"])])
        for entry in ancestors(parent)
        if "gone" not in entry
    ]
    sums = {key: [spent[key] for spent in known if spent[key] is not None] for key in COUNTED}
    return {**own, "before": {key: sum(found) if found else None for key, found in sums.items()}}


def _spent(trained: Mapping[str, Any] | None, places: list[Path]) -> dict[str, Any]:
    """places: where the run may lie."""
    events = next((path for path in (place / "events.jsonl" for place in places) if path.is_file()), None)
    seconds = round(seconds_of(list(records(events))), 1) if events is not None else None
    return {**{key: (trained or {}).get(key) for key in COUNTED}, "seconds": seconds}


def told(found: Mapping[str, Any]) -> str:
    """One line of it."""

    def figures(spent: Mapping[str, Any]) -> str:
        return ", ".join(f"{spent[key]:,} {key}" for key in COUNTED if spent[key] is not None)

    before = figures(found["before"])
    return f"cost: {figures(found)}" + (f"; the models it comes from: {before}" if before else "")
