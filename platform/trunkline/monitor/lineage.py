"""What a run came from and what it made, as Weights & Biases artifacts: by reference, for nothing large leaves its place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Lineage:
    """Artifacts of the run in `folder`: cards and data when it begins, each checkpoint, the model and the table of results.

    offline: a run that is not on the server cannot say what it uses; cards and data are then logged as its own.
    """

    def __init__(self, wandb: Any, run: Any, folder: Path, *, offline: bool) -> None:
        self._wandb, self._run, self._folder, self._offline = wandb, run, folder.resolve(), offline

    def event(self, name: str, details: Mapping[str, Any]) -> None:
        """Records what the event means, if anything."""
        if name == "training":
            self._inputs()
        elif name == "checkpoint":
            self._checkpoint(str(details["path"]), int(details["step"]))
        elif name == "finished":
            self._model()

    def _inputs(self) -> None:
        cards = self._artifact("cards")
        for path in sorted((self._folder / "cards").glob("*/card.yaml")):
            cards.add_file(str(path), name=f"{path.parent.name}.yaml")
        splits = _read(self._folder / "prepared.json").get("splits", {})
        data = self._artifact("data", {"splits": {task: sorted(own) for task, own in splits.items()}})
        for task, own in splits.items():
            for split, path in own.items():
                data.add_reference(Path(path).as_uri(), name=f"{task}/{split}", checksum=False)
        for artifact in (cards, data):
            if self._offline:
                self._run.log_artifact(artifact)
            else:
                self._run.use_artifact(artifact)

    def _checkpoint(self, name: str, step: int) -> None:
        folder = self._folder / "checkpoints" / name
        best = _read(folder / "state.json").get("best", {}).get("step") == step
        artifact = self._artifact("checkpoint", {"step": step})
        artifact.add_reference(folder.as_uri(), name=name, checksum=False)  # its manifest has the hashes
        self._run.log_artifact(artifact, aliases=["latest", f"step-{step}", *(["best"] if best else [])])

    def _model(self) -> None:
        tasks = _read(self._folder / "result.json").get("tasks", [])
        shown = {row["task"]: {"metric": row["metric"], "value": row["value"]} for row in tasks}
        artifact = self._artifact("model", {"tasks": shown})
        artifact.add_reference((self._folder / "model").as_uri(), name="model", checksum=False)
        self._run.log_artifact(artifact, aliases=["latest", "candidate"])
        columns = ["task", "kind", "rows", "metric", "baseline", "value", "skill"]
        rows = [[row.get(name) for name in columns] for row in tasks]
        self._run.log({"results": self._wandb.Table(columns=columns, data=rows)})

    def _artifact(self, kind: str, metadata: Mapping[str, Any] | None = None) -> Any:
        return self._wandb.Artifact(f"{kind}-{self._folder.name}", type=kind, metadata=dict(metadata or {}))


def _read(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found if isinstance(found, dict) else {}
