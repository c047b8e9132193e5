"""`trunkline report`: runs and models read, and the page on them written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trunkline import durable
from trunkline.errors import ConfigError, DataError, IntegrityError, nearest
from trunkline.launch.runs import RunFolder, all_runs
from trunkline.report.facts import Facts
from trunkline.report.page import render
from trunkline.report.series import read_series, records, seconds
from trunkline.workflows.data_card import data_cards

CHANGES = "report.json"  # what an extend found of the old tasks


def report(
    places: Sequence[Path], to: Path, say: Callable[[str], None], *, examples: int = 0, affinity: Path | None = None
) -> Path:
    """Writes the page. examples: training rows of each task that come along. affinity: what `affinity --json` said, of the first.

    Raises ConfigError for a place that is neither run nor model, DataError for a run that logged nothing.
    """
    found = [read(place, examples) for place in places]
    if affinity is not None:
        found[0] = replace(found[0], affinity=_affinity(affinity))
    names = [facts.name for facts in found]
    title = names[0] if len(names) == 1 else f"{len(names)} runs"
    text = render(title, found, "Written by trunkline report. " + " · ".join(str(place) for place in places))
    to.parent.mkdir(parents=True, exist_ok=True)
    durable.replace(to, text)
    say(f"{to}: {len(text.encode()):,} bytes")
    return to


def read(place: Path, examples: int = 0) -> Facts:
    """A run folder, a run's id in `outputs/`, a model folder or a line of models."""
    if not place.exists() and len(place.parts) == 1:
        runs = {run.run_id: run for run in all_runs(Path("outputs"))}
        if str(place) not in runs:
            raise ConfigError(f"no folder and no run of this name in outputs. {nearest(str(place), runs)}", where=str(place))
        return _run(runs[str(place)], examples)
    if (place / "run.json").is_file():
        return _run(RunFolder(place), examples)  # a run is read without torch
    from trunkline.workflows.line import opened

    model = opened(place, None)[1] if place.is_dir() else place
    if (model / "manifest.json").is_file():
        above = RunFolder(model.resolve().parent)
        own = above.model.resolve() == model.resolve() and (above.path / "run.json").is_file()
        return _run(above, examples) if own else _model(model)
    raise ConfigError("neither a run folder (run.json) nor a model folder (manifest.json).", where=str(place))


def _model(folder: Path) -> Facts:
    from trunkline.build.model import read_manifest

    manifest = read_manifest(folder)
    lineage = manifest["lineage"]
    name = str(lineage.get("run_id") or folder.name)
    return Facts(name, manifest["results"], told=["A model without its run: no curves."], scores=_scores(folder))


def _scores(model: Path) -> dict[str, dict[str, float]]:
    """Of each model of the line that this one stands in, the oldest first."""
    from trunkline.workflows.surgery import ancestors

    whole = [entry for entry in reversed(ancestors(model)) if not entry.get("gone")]
    return {str(entry["run_id"] or Path(entry["model"]).name): entry["scores"] for entry in whole}


def _affinity(path: Path) -> dict[tuple[str, str], float]:
    if not path.is_file():
        raise ConfigError("no such file. Write it with `trunkline affinity RECIPE --json`.", where=str(path))
    found = _json(path)
    tasks, matrix = found.get("tasks"), found.get("lookahead")
    if not isinstance(tasks, list) or not isinstance(matrix, list) or [len(row) for row in matrix] != [len(tasks)] * len(tasks):
        raise ConfigError("holds no `tasks` and `lookahead`. Write it with `trunkline affinity RECIPE --json`.", where=str(path))
    return {
        (one, other): float(value)
        for one, row in zip(tasks, matrix, strict=True)
        for other, value in zip(tasks, row, strict=True)
    }


def _run(run: RunFolder, examples: int) -> Facts:
    series = read_series(run.path / "metrics.jsonl")
    events = list(records(run.path / "events.jsonl"))
    result = _json(run.result) if run.finished else {}
    if not series and not result:
        raise DataError("the run has logged nothing yet, so there is nothing to report.", where=str(run.path))
    started = [event for event in events if event.get("event") == "training"]
    done = max((int(curve.steps[-1]) for curve in series.values()), default=0)
    planned = started[-1].get("steps") if started else None
    changes = _changes(run.path / CHANGES)
    return Facts(
        run.run_id,
        result.get("tasks") or _measured(series),
        series,
        run.finished,
        (done, planned),
        sum(bool(event.get("resumed")) for event in started),
        seconds(events),
        changes,
        [*_beside_alone(result.get("delta_m")), *_tracked(run, events)],
        _scores(run.model) if changes and run.model.is_dir() else {},
        data=data_cards(run, examples),
    )


def _beside_alone(delta: dict[str, float] | None) -> Iterator[str]:
    if delta:
        yield f"Against each task alone: delta_m {delta['percent']:+.2f} % ({delta['low']:+.2f} to {delta['high']:+.2f})."


def _tracked(run: RunFolder, events: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Where its Weights & Biases run is."""
    started = [event for event in events if event.get("event") == "tracker_started"]
    if not started:
        return
    if any(event["mode"] == "offline" for event in started):
        yield f"Its Weights & Biases run is kept offline, in {run.path.name}/wandb: trunkline track sync {run.run_id} sends it."
    else:
        yield f"Its Weights & Biases run: {started[-1]['location']}"


def _measured(series: dict[str, Any]) -> list[dict[str, Any]]:
    """Of a run that goes on: each task's first metric, as last evaluated."""
    found: dict[str, dict[str, Any]] = {}
    for name, curve in series.items():
        parts = name.split("/")
        if len(parts) == 3 and parts[0] == "eval":
            found.setdefault(parts[1], {"task": parts[1], "metric": parts[2], "value": curve.values[-1], "baseline": None})
    return list(found.values())


def _changes(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    return {str(row["task"]): float(row["change"]) for row in _json(path).get("old", []) if row.get("change") is not None}


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IntegrityError(f"can not be read: {error}.", where=str(path)) from error
    return found
