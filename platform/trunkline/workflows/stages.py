"""A recipe of several stages: runs one after another, each on the model of the one before, as one run that can be resumed.

outputs/<run-id>/
    recipe.yaml              the recipe; prepared.json says that every stage of it was found sound
    stages/1-language.yaml   what the first stage trains by, one file a run, and stages/runs/ with their run folders
    result.json              the models, once all are there
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trunkline import durable
from trunkline.build.prepare import project_folder
from trunkline.config.recipe import Recipe, load_recipe
from trunkline.config.sections import Stage
from trunkline.document import writer
from trunkline.errors import ConfigError, TrunklineError, UsageError
from trunkline.launch.local import Result
from trunkline.launch.local import train as one_run
from trunkline.launch.runs import RunFolder, RunLock, all_runs, check_unchanged, find_run, new_run, submitted_run
from trunkline.tasks.catalog import nearest_folder

Say = Callable[[str], None]
Show = bool | Literal["records"]
RUNS = "runs"


@dataclass(frozen=True)
class Staged:
    """What came of it. results: name of a stage (and task, where it has a run for each) -> its run's result, in order."""

    run: Path
    results: dict[str, Result] = field(default_factory=dict)

    @property
    def last(self) -> Result:
        return list(self.results.values())[-1]


def train(
    recipe: str | Path,
    *,
    overrides: Sequence[str] = (),
    resume: bool | str = False,
    keep_recipe: bool = False,
    in_process: bool = False,
    outputs: str | Path | None = None,
    say: Say | None = None,
    show: Show = False,
    run_id: str | None = None,
    placement: str = "pack",
) -> Result:
    """See `trunkline.launch.local.train`: one run, or of a recipe with stages the last one's result."""
    path, tell, where = Path(recipe), say or (lambda _: None), Path(outputs) if outputs is not None else None
    options: dict[str, Any] = {"overrides": overrides, "resume": resume, "keep_recipe": keep_recipe, "in_process": in_process}
    options |= {"run_id": run_id, "placement": placement}
    if _staged(path, overrides, resume, where):
        return train_stages(path, tell, outputs=where, show=show, **options).last
    return one_run(path, outputs=where, say=say, show=show, **options)


def _staged(recipe: Path, overrides: Sequence[str], resume: bool | str, outputs: Path | None) -> bool:
    """Whether the recipe has stages, or that of the run that is gone on with."""
    if not resume or overrides:  # both are refused, by either
        return bool(load_recipe(recipe, overrides).stages)
    run = find_run(outputs or project_folder(recipe) / "outputs", resume if isinstance(resume, str) else None, recipe)
    return bool(load_recipe(run.recipe).stages)


def train_stages(
    recipe: Path,
    say: Say,
    *,
    overrides: Sequence[str] = (),
    resume: bool | str = False,
    keep_recipe: bool = False,
    outputs: Path | None = None,
    in_process: bool = False,
    show: Show = False,
    run_id: str | None = None,
    placement: str = "pack",
) -> Staged:
    """Every stage to its end; one that is finished is not trained again. Source: Phang et al., arXiv:1811.01088 (STILTs), for
    language, then together, then alone: Liu et al., arXiv:1901.11504 (MT-DNN), section 3.

    Raises ConfigError for a stage that is no sound recipe, before the first one starts.
    """
    if resume and overrides:
        raise UsageError("a resumed run keeps its recipe: -s and --resume do not go together. Start a new run to change it.")
    place = outputs if outputs is not None else project_folder(recipe) / "outputs"
    if run_id is not None:
        kept = submitted_run(place, run_id)
    else:
        kept = find_run(place, resume if isinstance(resume, str) else None, recipe) if resume else None
    if kept and not keep_recipe and run_id is None:
        check_unchanged(kept, recipe)
    folder = kept or _begun(recipe, overrides, place, run_id)
    say(f"{'resuming' if kept else 'run'} {folder.run_id}")
    stated = load_recipe(folder.recipe)
    done = Staged(folder.path)
    with RunLock(folder):
        before: Result | None = None
        for number, stage in enumerate(stated.stages, start=1):
            for task in _runs_of(stage, stated):
                name = f"{number}-{stage.name}{f'-{task}' if task else ''}"
                path = _written(folder, name, composed(stated, stage, task, before.model if before else None))
                options: dict[str, Any] = {"in_process": in_process, "show": show, "placement": placement}
                done.results[name] = _trained(path, folder.path / "stages" / RUNS, say, options)
            before = done.last
        rows = {name: {"model": str(own.model), "tasks": own.tasks} for name, own in done.results.items()}
        durable.replace(folder.result, json.dumps({"schema_version": 1, "run_id": folder.run_id, "stages": rows}, indent=1))
    return done


def composed(recipe: Recipe, stage: Stage, task: str | None, model: Path | None) -> dict[str, Any]:
    """The recipe of one run: the stage's sections laid over the whole's, on top of the model before."""
    data = {key: value for key, value in recipe.document.data.items() if key not in ("stages", "single_task")}
    for section, stated in stage.changes().items():
        data[section] = _over(data.get(section), stated)
    if task:
        data["tasks"] = [use for use in recipe_tasks(data) if use["task"] == task]
        data["train"] = alone(data["train"], [task])
    if model is not None:
        data["start"] = {**(data.get("start") or {}), "model": str(model.resolve()), "moments": False, "others": False}
    return data


def alone(train: Mapping[str, Any], tasks: Sequence[str]) -> dict[str, Any]:
    """`train:` for fewer tasks: a best that was to be another task's is that of all there are."""
    named = train.get("restore_best")
    return {**train, "restore_best": True} if isinstance(named, str) and named not in tasks else dict(train)


def recipe_tasks(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Its tasks, each written out."""
    return [use if isinstance(use, dict) else {"task": use} for use in data["tasks"]]


def _over(own: Any, stated: Any) -> Any:
    """A stage's section: key by key over the whole's, but a part of another kind brings its own arguments alone."""
    if not isinstance(own, dict) or not isinstance(stated, dict) or stated.get("kind", own.get("kind")) != own.get("kind"):
        return stated
    return {**own, **stated}


def _runs_of(stage: Stage, recipe: Recipe) -> list[str | None]:
    if not stage.each:
        return [None]
    tasks = stage.changes().get("tasks", [use.task for use in recipe.tasks])
    return [use["task"] for use in recipe_tasks({"tasks": tasks})]


def _begun(recipe: Path, overrides: Sequence[str], outputs: Path, run_id: str | None) -> RunFolder:
    """The run folder, once every stage was read as a recipe; nothing is left of it if one is wrong."""
    asked = load_recipe(recipe, overrides)
    folder = new_run(outputs, recipe, overrides, run_id)
    try:
        folder.recipe.write_text(writer.render(_placed(asked)), encoding="utf-8")
        stated = load_recipe(folder.recipe)
        seen: set[str] = set()
        for number, stage in enumerate(stated.stages):
            if stage.name in seen:
                raise ConfigError(f"two stages are called '{stage.name}'.", where=asked.where("stages", number, "name"))
            seen.add(stage.name)
            for task in _runs_of(stage, stated):
                try:
                    _written(folder, "check", composed(stated, stage, task, None))
                except TrunklineError as error:
                    raise type(error)(f"stage '{stage.name}': {error}", where=asked.where("stages", number)) from error
        (folder.path / "stages" / "check.yaml").unlink()
        durable.replace(folder.prepared, json.dumps({"schema_version": 1, "stages": [stage.name for stage in stated.stages]}))
    except BaseException:
        shutil.rmtree(folder.path)
        raise
    return folder


def _placed(recipe: Recipe) -> dict[str, Any]:
    """What the recipe says, the folders it names from the root on, for its runs read it from elsewhere."""
    assert recipe.path is not None
    near = nearest_folder(recipe.path.resolve().parent)
    folders = recipe.catalog or ([str(near)] if near else [])
    found = {**recipe.document.data, "catalog": [one if "://" in one else str(recipe.beside(one).resolve()) for one in folders]}
    if recipe.start is not None:
        found["start"] = {**recipe.start.model_dump(), "model": str(recipe.beside(recipe.start.model).resolve())}
    return found


def _written(folder: RunFolder, name: str, data: Mapping[str, Any]) -> Path:
    path = folder.path / "stages" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    durable.replace(path, writer.render({key: value for key, value in data.items() if value is not None}))
    load_recipe(path)
    return path


def _trained(recipe: Path, outputs: Path, say: Say, options: Mapping[str, Any]) -> Result:
    """A stage's run: a finished one as it is, an unfinished one gone on with, else a new one."""
    mine = [run for run in all_runs(outputs) if run.facts().get("recipe") == str(recipe.resolve()) and run.prepared.is_file()]
    if mine and mine[0].finished:
        say(f"stage {recipe.stem} is finished already")
        return Result(mine[0].path, mine[0].model, json.loads(mine[0].result.read_text())["tasks"])
    say(f"stage {recipe.stem}")
    return one_run(recipe, resume=mine[0].run_id if mine else False, outputs=outputs, say=say, **options)
