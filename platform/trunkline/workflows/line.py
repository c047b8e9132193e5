"""A line of models: the current one, and those before it, kept whole and changed in one step.

models/main/
    current                  a link to the version in use; `trunkline predict models/main/current`
    versions/0003-<run id>/  model folders, never changed
    reports/                 what was found when each was judged, also of versions that are gone
    line.json                what became current when, newest last
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trunkline import durable
from trunkline.build.model import read_manifest
from trunkline.errors import ConfigError, IntegrityError

CURRENT, VERSIONS, HISTORY, REPORTS = "current", "versions", "line.json", "reports"
KEEP = 5


@dataclass(frozen=True)
class Line:
    """A folder with a current model. Raises IntegrityError where `current` leads nowhere."""

    folder: Path
    keep: int = KEEP

    @property
    def exists(self) -> bool:
        return (self.folder / CURRENT).is_symlink()

    @property
    def current(self) -> Path:
        """The model folder in use."""
        target = self.folder / os.readlink(self.folder / CURRENT)
        if not target.is_dir():
            raise IntegrityError(f"`{CURRENT}` leads to {target}, which is not there.", where=str(self.folder))
        return target

    def versions(self) -> list[Path]:
        """Those that were current once, oldest first; what a killed promotion left is none."""
        known = {entry["version"] for entry in self.history()} | ({self.current.name} if self.exists else set())
        found = (path for path in (self.folder / VERSIONS).glob("[0-9]*") if path.name in known)
        return sorted(path for path in found if (path / "manifest.json").is_file())

    def promote(self, model: Path, name: str, report: str | None = None) -> Path:
        """Copies the model (verified before and after) and makes it current in one step; older ones beyond `keep` go.

        report: what was found when it was judged.

        Killed anywhere, the line has its old current model or the new one, whole. A model that is current already stays so.
        """
        wanted = read_manifest(model)
        if self.exists and read_manifest(self.current) == wanted:
            return self.current
        versions = self.folder / VERSIONS
        versions.mkdir(parents=True, exist_ok=True)
        self._tidy()
        number = 1 + max((int(path.name.partition("-")[0]) for path in versions.glob("[0-9]*")), default=0)
        final = versions / f"{number:04d}-{name}"
        temporary = versions / f".{final.name}.tmp"
        shutil.copytree(model, temporary)
        for path in sorted(temporary.rglob("*"), reverse=True):
            durable.sync(path)
        if report is not None:
            (self.folder / REPORTS).mkdir(exist_ok=True)
            durable.replace(self.folder / REPORTS / f"{final.name}.json", report)
        durable.crash_point("line.before_rename")
        durable.sync(temporary)
        os.rename(temporary, final)
        durable.sync(versions)
        read_manifest(final)
        durable.crash_point("line.before_switch")
        self._switch(final, "promoted")
        self._prune()
        return final

    def rollback(self) -> Path:
        """Makes the version current again that was it before the current one. Raises ConfigError if there is none."""
        before = self._before()
        if not before:
            raise ConfigError(f"there is no version before {self.current.name} to go back to.", where=str(self.folder))
        read_manifest(before[-1])
        self._switch(before[-1], "rolled back")
        return before[-1]

    def history(self) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = json.loads((self.folder / HISTORY).read_text())
        except FileNotFoundError:
            return []
        return found

    def _before(self) -> list[Path]:
        """The versions under the current one, oldest first: a promotion stands on what was current, a rollback takes it off."""
        stood: list[str] = []
        for name in (*(entry["version"] for entry in self.history()), self.current.name):  # the last switch may not be noted
            stood = [*stood[: stood.index(name)], name] if name in stood else [*stood, name]
        there = {path.name: path for path in self.versions()}
        return [there[name] for name in stood[:-1] if name in there]

    def _switch(self, version: Path, what: str) -> None:
        link = self.folder / f".{CURRENT}.tmp"
        link.unlink(missing_ok=True)
        link.symlink_to(Path(VERSIONS) / version.name)
        os.replace(link, self.folder / CURRENT)
        durable.sync(self.folder)
        durable.crash_point("line.after_switch")
        self._note(version.name, what)

    def _note(self, version: str, what: str) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        entry = {"version": version, "what": what, "time": now}
        durable.replace(self.folder / HISTORY, json.dumps([*self.history(), entry], indent=1))

    def _tidy(self) -> None:
        """Ends what a killed promotion began: a switch that is not noted yet, folders that never were current."""
        if self.exists and self.current.name not in {entry["version"] for entry in self.history()}:
            self._note(self.current.name, "promoted")
        whole = self.versions()
        for path in (self.folder / VERSIONS).iterdir():
            if path not in whole:
                shutil.rmtree(path)

    def _prune(self) -> None:
        current = self.current.name
        for path in [path for path in self.versions() if path.name != current][: -(self.keep - 1) or None]:
            (path / "manifest.json").unlink()  # from here on it is no version
            durable.crash_point("line.during_prune")
            shutil.rmtree(path)


def opened(model: Path, line: Path | None) -> tuple[Line | None, Path]:
    """The line a job promotes in, if any, and the model folder it goes on from. model: a model folder, a line, or its `current`.

    A line that is not there yet is not made here: `promote` makes it.
    """
    own = Line(model) if Line(model).exists else Line(model.parent) if model.name == CURRENT and model.is_symlink() else None
    return (Line(line) if line is not None else own), own.current if own else model


def check_follows(line: Line | None, parent: Path, mine: Collection[str]) -> None:
    """Raises ConfigError where a model made of `parent` would take the place of another than `parent`, unmeasured against it.

    mine: runs of the same job, whose result may be current already.
    """
    if line is None or not line.exists or line.current.name.partition("-")[2] in mine:
        return
    ours, theirs = read_manifest(parent), read_manifest(line.current)
    if ours["files"] == theirs["files"]:
        return
    lost = [f"'{name}'" for name in theirs["tasks"] if name not in ours["tasks"]]
    gone = f", and {', '.join(lost)} would be gone" if lost else ""
    raise ConfigError(
        f"another model is current than {parent}: {line.current.name}. What comes of the one would take the other's place{gone}. "
        f"Give {line.folder} in place of the model, or another line.",
        where="--line",
    )
