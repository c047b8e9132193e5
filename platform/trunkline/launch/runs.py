"""Run folders: their names, what is in them, and which one to resume."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trunkline.config.recipe import Recipe, load_recipe
from trunkline.errors import ClusterError, UsageError, nearest


@dataclass(frozen=True)
class RunFolder:
    """`outputs/<run-id>/`: everything one run wrote, and all that is needed to resume it."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def cards(self) -> Path:
        return self.path / "cards"

    @property
    def tokenizer(self) -> Path:
        return self.path / "tokenizer"

    @property
    def prepared(self) -> Path:
        return self.path / "prepared.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def rows(self) -> Path:
        return self.path / "rows.jsonl"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def stop(self) -> Path:
        """While this file is there, workers stop after their step."""
        return self.path / "stop"

    @property
    def stacks(self) -> Path:
        """Where all ranks stood when one of them made no progress."""
        return self.path / "stacks"

    @property
    def logs(self) -> Path:
        """What each rank wrote, a file per rank."""
        return self.path / "logs"

    @property
    def finished(self) -> bool:
        return self.result.is_file()

    def facts(self) -> dict[str, Any]:
        """run.json: which recipe it came from, and when."""
        try:
            found: dict[str, Any] = json.loads((self.path / "run.json").read_text())
        except (OSError, ValueError):
            return {}
        return found


def new_id(recipe: Path) -> str:
    """A run's name, `<recipe, at most 20>-<yymmddhhmmss>-<4 hex>`, a DNS-1035 label."""
    stem = re.sub(r"[^a-z0-9]+", "-", recipe.stem.lower()).strip("-")[:20].strip("-") or "run"
    stem = stem if stem[0].isalpha() else f"r{stem}"[:20]
    return f"{stem}-{datetime.datetime.now(datetime.UTC):%y%m%d%H%M%S}-{secrets.token_hex(2)}"


def new_run(outputs: Path, recipe: Path, overrides: Sequence[str] = (), run_id: str | None = None) -> RunFolder:
    """A fresh folder, named `run_id` if that is given."""
    now = datetime.datetime.now(datetime.UTC)
    folder = RunFolder(outputs / (run_id or new_id(recipe)))
    folder.path.mkdir(parents=True)
    facts = {
        "schema_version": 1,
        "recipe": str(recipe.resolve()),
        "overrides": list(overrides),
        "started": now.isoformat(timespec="seconds"),
    }
    (folder.path / "run.json").write_text(json.dumps(facts, indent=1))
    return folder


def all_runs(outputs: Path) -> list[RunFolder]:
    """Every run of the folder, newest first."""
    found = [RunFolder(path.parent) for path in outputs.glob("*/run.json")]
    return sorted(found, key=lambda run: (run.facts().get("started", ""), run.run_id), reverse=True)


def find_run(outputs: Path, run_id: str | None, recipe: Path | None) -> RunFolder:
    """The run of that id; without one the newest unfinished run of the recipe. Raises UsageError with what there is."""
    runs = all_runs(outputs)
    if run_id is not None:
        for run in runs:
            if run.run_id == run_id:
                return run
        raise UsageError(f"no run '{run_id}' in {outputs}. {nearest(run_id, [run.run_id for run in runs])}")
    for run in runs:
        same = recipe is None or run.facts().get("recipe") == str(recipe.resolve())
        if same and not run.finished and run.prepared.is_file():
            return run
    raise UsageError(f"nothing to resume: no unfinished run of {recipe} in {outputs}. Start one without --resume.")


def submitted_run(outputs: Path, run_id: str) -> RunFolder | None:
    """The run of that id if an earlier attempt prepared it; what one left that was stopped before is removed."""
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", run_id):
        raise UsageError(f"{run_id[:60]!r} is no run id: a-z, 0-9 and '-', at most 63, a letter first.")
    run = RunFolder(outputs / run_id)
    if run.prepared.is_file():
        return run
    shutil.rmtree(run.path, ignore_errors=True)
    return None


def check_unchanged(run: RunFolder, recipe: Path) -> None:
    """Raises UsageError if the recipe's file now says something else than the run that was started from it.

    A file that is gone, or another one than the run's, says nothing. Whoever changed it to go on differently would otherwise
    wait for a change that never comes.
    """
    facts = run.facts()
    if "overrides" not in facts or facts["recipe"] != str(recipe.resolve()) or not recipe.is_file():
        return
    before, now = load_recipe(run.recipe), load_recipe(recipe, facts["overrides"])
    changes = list(_changes(_stated(before), _stated(now)))
    if changes:
        shown = "; ".join(changes[:5]) + (f"; and {len(changes) - 5} more" if len(changes) > 5 else "")
        raise UsageError(
            f"changed since run {run.run_id} was started: {shown}. A run keeps its recipe: go on with that by --keep-recipe, or "
            "start a new run with the change by leaving --resume out.",
            where=str(recipe),
        )


def _stated(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json", exclude={"catalog"})  # a run has cards of its own


def _changes(before: Any, now: Any, place: str = "") -> Iterator[str]:
    """`train.steps 100 -> 200`, one for each place that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys((*before, *now)):
            yield from _changes(before.get(key), now.get(key), f"{place}.{key}" if place else str(key))
    elif before != now:
        yield f"{place} {json.dumps(before)} -> {json.dumps(now)}"


class RunLock:
    """One process works on a run at a time; the lock falls with its holder, however that ends.

    Raises ClusterError that names who holds it.
    """

    def __init__(self, run: RunFolder) -> None:
        import filelock

        self._lock, holder = filelock.FileLock(run.path / ".lock"), run.path / ".holder"
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout as error:
            who = f" ({holder.read_text().strip()})" if holder.is_file() else ""
            raise ClusterError(
                f"run {run.run_id} is being trained by another process{who}. Wait for it, or stop it first."
            ) from error
        holder.write_text(f"process {os.getpid()} on {platform.node()}\n")

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()
