"""`trunkline merge`: one model of several with a common ancestor."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trunkline import durable
from trunkline.build.model import file_entry, load_model, read_manifest
from trunkline.continual.merging import METHODS, merged
from trunkline.errors import ConfigError, IntegrityError, UsageError, nearest
from trunkline.predict import Model
from trunkline.tasks.catalog import Catalog
from trunkline.workflows.surgery import ancestors

DENSITY = 0.2


def merge(
    models: Sequence[Path],
    to: Path,
    method: str,
    *,
    scale: float | None,
    density: float = DENSITY,
    catalog: Catalog | None = None,
) -> Path:
    """Writes the model with the merged trunk and every task's head; a task of several models keeps the first one's.

    scale: by default 1 / models for arithmetic and dare, 1 for ties. Raises ConfigError for models without a common ancestor
    that is still there, IntegrityError for trunks or tokenizers that differ in shape.
    """
    if method not in METHODS:
        raise UsageError(f"no method '{method}'. {nearest(method, METHODS)}", where="--method")
    if len(models) < 2:
        raise UsageError("name two models or more.")
    if to.exists():
        raise ConfigError("something is there already. Name a new folder.", where=str(to))
    if not 0 < density <= 1:
        raise UsageError(f"a share above 0 and up to 1 is needed, found {density}.", where="--density")
    parent = common(models)
    opened = [load_model(folder, catalog) for folder in (parent, *models)]
    _check_alike(opened, [parent, *models])
    states = [dict(model.network.trunk.named_parameters()) for model in opened]
    factor = scale if scale is not None else 1.0 if method == "ties" else 1 / len(models)
    trunk = merged(method, states[0], states[1:], scale=factor, density=density)
    first = opened[1]
    first.network.trunk.load_state_dict({**first.network.trunk.state_dict(), **trunk})
    return _written(first, models, to, {"method": method, "scale": factor, "density": density, "parent": {"model": str(parent)}})


def common(models: Sequence[Path]) -> Path:
    """The newest ancestor of all models. Raises ConfigError if there is none, or it is gone."""
    lines = [[entry for entry in ancestors(model) if not entry.get("gone")] for model in models]
    others = [{_key(entry) for entry in line} for line in lines[1:]]
    for entry in lines[0]:
        if all(_key(entry) in own for own in others):
            return Path(entry["model"])
    raise ConfigError("the models have no common ancestor that is still at its place. See trunkline lineage of each.")


def _key(entry: dict[str, Any]) -> str:
    return json.dumps(read_manifest(Path(entry["model"]))["files"], sort_keys=True)


def _check_alike(opened: Sequence[Model], folders: Sequence[Path]) -> None:
    shapes = [{name: tuple(p.shape) for name, p in model.network.trunk.named_parameters()} for model in opened]
    keys = [model.tokenizer.key for model in opened]
    for folder, shape, key in zip(folders, shapes, keys, strict=True):
        if shape != shapes[0] or key != keys[0]:
            what = "trunk" if shape != shapes[0] else "tokenizer"
            raise IntegrityError(f"its {what} is another than that of {folders[0]}.", where=str(folder))


def _written(first: Model, models: Sequence[Path], to: Path, how: dict[str, Any]) -> Path:
    temporary = to.with_name(f".{to.name}.{os.getpid()}.tmp")
    shutil.copytree(models[0], temporary)
    first.network.trunk.save(temporary / "trunk")
    manifest = read_manifest(models[0])
    for folder in models[1:]:
        other = read_manifest(folder)
        for task in other["tasks"].keys() - manifest["tasks"].keys():
            shutil.copytree(folder / "heads" / task, temporary / "heads" / task)
        manifest["tasks"] = {**other["tasks"], **manifest["tasks"]}
        manifest["joint"] = {**other.get("joint", {}), **manifest.get("joint", {})}
    manifest["lineage"] = {"run_id": None, **how, "merged": [str(folder.resolve()) for folder in models], "cards": {}}
    manifest["results"] = []  # none of theirs is this trunk's
    tasks = ", ".join(manifest["tasks"])
    text = f"# A trunk merged of {len(models)} models ({how['method']})\n\nTasks: {tasks}. Not measured yet.\n"
    (temporary / "README.md").write_text(text, encoding="utf-8")
    files = [path for path in sorted(temporary.rglob("*")) if path.is_file() and path != temporary / "manifest.json"]
    manifest["files"] = {str(path.relative_to(temporary)): file_entry(path) for path in files}
    durable.replace(temporary / "manifest.json", json.dumps(manifest, indent=1))
    temporary.rename(to)
    return to
