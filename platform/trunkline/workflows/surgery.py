"""Models compared, drawn with their ancestors, and made smaller."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trunkline import durable
from trunkline.build.model import file_entry, read_manifest
from trunkline.continual.transfer import transfer
from trunkline.errors import ConfigError, nearest
from trunkline.workflows.line import REPORTS

TRUNK, HEADS, REPORT = "trunk/", "heads/", "report.json"


def without(model: Path, tasks: Sequence[str], to: Path) -> Path:
    """The model without these tasks, written whole to `to`. Raises ConfigError for tasks it has not, or a place taken.

    A task whose head others use stays for them: take those out too.
    """
    manifest = read_manifest(model)
    for task in tasks:
        if task not in manifest["tasks"]:
            raise ConfigError(f"the model has no task '{task}'. {nearest(task, manifest['tasks'])}", where="--task")
    kept = {name: about for name, about in manifest["tasks"].items() if name not in tasks}
    if not kept:
        raise ConfigError("these are all of its tasks. Leave one.", where="--task")
    users = [name for name, about in kept.items() if about.get("head_of") in tasks]
    if users:
        raise ConfigError(f"{', '.join(users)} use(s) the head of a task to be removed. Remove them too.", where="--task")
    mixing = [name for name, about in kept.items() if set(about.get("lora", {}).get("of", ())) & set(tasks)]
    if mixing:
        raise ConfigError(f"{', '.join(mixing)} mix(es) the LoRA of a task to be removed in. Remove them too.", where="--task")
    if to.exists():
        raise ConfigError("something is there already. Name a new folder.", where=str(to))
    temporary = to.with_name(f".{to.name}.{os.getpid()}.tmp")
    shutil.copytree(
        model, temporary, ignore=lambda folder, names: [n for n in names if n in tasks and Path(folder).name == "heads"]
    )
    lines = (model / "README.md").read_text(encoding="utf-8").splitlines(keepends=True)
    gone = tuple(f"| {task} |" for task in tasks)
    (temporary / "README.md").write_text("".join(line for line in lines if not line.startswith(gone)), encoding="utf-8")
    joint = {name: {part: own for part, own in parts.items() if own in kept} for name, parts in manifest.get("joint", {}).items()}
    manifest |= {
        "tasks": kept,
        "joint": {name: parts for name, parts in joint.items() if parts},
        "results": [row for row in manifest["results"] if row["task"] in kept],
        "lineage": {**manifest["lineage"], "parent": {"model": str(model.resolve())}, "removed": list(tasks)},
        "files": {name: file_entry(temporary / name) for name in manifest["files"] if (temporary / name).is_file()},
    }
    durable.replace(temporary / "manifest.json", json.dumps(manifest, indent=1))
    temporary.rename(to)
    return to


def difference(a: Path, b: Path) -> dict[str, Any]:
    """What differs between two verified models: trunk, tasks, heads, results; `told` says it in lines."""
    one, two = read_manifest(a), read_manifest(b)
    gone, new = ([name for name in x["tasks"] if name not in y["tasks"]] for x, y in ((one, two), (two, one)))
    both = [name for name in one["tasks"] if name in two["tasks"]]
    cards = [name for name in both if one["tasks"][name]["fingerprint"] != two["tasks"][name]["fingerprint"]]
    heads = [name for name in both if name not in cards and _files(one, f"{HEADS}{name}/") != _files(two, f"{HEADS}{name}/")]
    trunk = _files(one, TRUNK) != _files(two, TRUNK)
    values = [{row["task"]: (row["metric"], row["value"]) for row in own["results"]} for own in (one, two)]
    results = {
        name: {"metric": values[0][name][0], "a": values[0][name][1], "b": values[1][name][1]}
        for name in both
        if name in values[0] and name in values[1] and values[0][name] != values[1][name]
    }
    found = {"trunk": trunk, "only_a": gone, "only_b": new, "cards": cards, "heads": heads, "results": results}
    told = [f"trunk: {'other weights' if trunk else 'the same, bit for bit'}"]
    told += [f"{what}: {', '.join(names)}" for what, names in (("only in a", gone), ("only in b", new)) if names]
    told += [f"{what}: {', '.join(names)}" for what, names in (("cards differ", cards), ("heads differ", heads)) if names]
    told += [f"{name}: {row['metric']} {row['a']} -> {row['b']}" for name, row in results.items()]
    return {**found, "told": told}


def ancestors(model: Path) -> list[dict[str, Any]]:
    """The model and those it comes from, newest first; one that is not at its place any more is told by what its child knows.

    scores: what each task scored when the model was judged, by its headline metric; over all models the matrix R[i, j] of
    Lopez-Paz & Ranzato, arXiv:1706.08840, section 2. transfer: what `continual.transfer` makes of it, up to each model.
    """
    found = _line(model)
    whole = [entry for entry in found if not entry.get("gone")]
    reports = [report_of(Path(entry["model"])) for entry in whole]
    for place, entry in enumerate(whole):
        known = [report for report in reversed(reports[place:]) if report is not None]
        entry["transfer"] = transfer(known, entry["tasks"])
    return found


def _line(model: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    place: Path | None = model
    while place is not None and str(place) not in {entry["model"] for entry in found}:
        if not (place / "manifest.json").is_file():
            found.append({"model": str(place), "gone": True})
            break
        manifest = read_manifest(place)
        lineage = manifest["lineage"]
        added = lineage.get("cards", {name: about["fingerprint"] for name, about in manifest["tasks"].items()})
        keys = ("run_id", "data", "removed", "trained")
        found.append(
            {
                "model": str(place),
                "tasks": list(manifest["tasks"]),
                "cards": added,
                **{key: lineage.get(key) for key in keys},
                "scores": _scores(place, manifest),
            }
        )
        parent = lineage.get("parent")
        place = Path(parent["model"]) if parent else None
    return found


def drawn(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The ancestors as a tree, the oldest first."""
    lines = []
    for depth, entry in enumerate(reversed(found)):
        branch = "   " * (depth - 1) + "└─ " if depth else ""
        if entry.get("gone"):
            lines.append(f"{branch}{entry['model']} (not there any more)")
            continue
        trained = entry["trained"] or {}
        counted = f", {trained['steps']} steps, {trained['tokens']} tokens" if trained else ""
        lines.append(f"{branch}{entry['run_id'] or Path(entry['model']).name}: trained {', '.join(entry['cards'])}{counted}")
        lines.append(f"{'   ' * depth}   {len(entry['tasks'])} tasks in {entry['model']}")
        if entry["scores"]:
            lines.append(f"{'   ' * depth}   {', '.join(f'{task} {value:.4f}' for task, value in entry['scores'].items())}")
        told = [f"{what.replace('_', ' ')} {value:+.2f}" for what, value in entry["transfer"].items() if value is not None]
        lines += [f"{'   ' * depth}   {', '.join(told)} points"] if told else []
    return lines


def report_of(model: Path) -> dict[str, Any] | None:
    """What was found when the model was judged: beside it in its run, or in the line it became current in; None: a first."""
    places = (model.parent / REPORT, model.parent.parent / REPORTS / f"{model.name}.json")
    found = next((place for place in places if place.is_file()), None)
    return None if found is None else dict(json.loads(found.read_text()))


def _scores(model: Path, manifest: Mapping[str, Any]) -> dict[str, float]:
    """By the report on the model, which measured old tasks too; of a first model, by what its training ended with."""
    found = report_of(model)
    if found is None:
        return {row["task"]: row["value"] for row in manifest["results"] if row["value"] is not None}
    measured = {row["task"]: row["after"] for row in found["old"]} | {row["task"]: row["value"] for row in found["new"]}
    return {task: measured[task] for task in manifest["tasks"] if measured.get(task) is not None}


def _files(manifest: Mapping[str, Any], start: str) -> dict[str, Any]:
    return {name: entry for name, entry in manifest["files"].items() if name.startswith(start) and name.endswith("safetensors")}
