"""Adding tasks to a trained model: check, train by a strategy, judge every old task, promote or keep the old model."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trunkline import durable
from trunkline.build.evaluation import evaluate_model
from trunkline.build.model import read_manifest
from trunkline.build.start import compared
from trunkline.config.recipe import load_recipe
from trunkline.continual.gate import Change, promises
from trunkline.continual.transfer import transfer
from trunkline.document import reader, writer
from trunkline.errors import ConfigError, IntegrityError, Problems, TrunklineError, UsageError
from trunkline.launch.local import Result, train
from trunkline.launch.runs import RunFolder, all_runs
from trunkline.tasks.card import load_card
from trunkline.tasks.catalog import Catalog, nearest_folder
from trunkline.tasks.plugin import load_plugin
from trunkline.workflows.contents import contents
from trunkline.workflows.cost import cost
from trunkline.workflows.earlier import called, measured, rehearsing
from trunkline.workflows.forward import forward
from trunkline.workflows.judging import changes, check_promises, having, measurable
from trunkline.workflows.lessons import lessons
from trunkline.workflows.line import Line, check_follows, opened
from trunkline.workflows.news import earlier_news
from trunkline.workflows.stages import alone
from trunkline.workflows.strategies import Plan, Settings, drawn_tasks, parsed, planned
from trunkline.workflows.surgery import REPORT

PROTECT = "*:-1.0"
TREATED = ("trained", "dropout", "word_dropout", "max_norm")  # of `trunk.embeddings`; the others are how a table begins
SHARE_OF_STEPS = 0.15  # of the parent's steps, where none are stated


@dataclass(frozen=True)
class Job:
    """What to add to which model, and how. model: a model folder or a line of models. line: where the result becomes current."""

    model: Path
    tasks: Sequence[str]
    strategy: str = "isolate"
    protect: str = PROTECT
    settings: Settings = field(default_factory=Settings)
    steps: int | None = None
    overrides: Sequence[str] = ()
    catalog: Path | None = None
    outputs: Path | None = None
    line: Path | None = None
    in_process: bool = False
    name: str = "extend"
    split: str = "validation"


@dataclass(frozen=True)
class Extended:
    """What came of it. kept: every promise held, and the model is current where there is a line. report: as in report.json."""

    run: Path
    model: Path
    kept: bool
    report: dict[str, Any]


def extend(job: Job, say: Callable[[str], None], *, show: bool = False) -> Extended:
    """Raises ConfigError, DataError or IntegrityError before anything is written, for what can be known before.

    The same job again goes on with its run, or judges it again if it is finished.
    """
    line, folder = opened(job.model, job.line)
    manifest = read_manifest(folder)
    place = catalog_of(job, folder)
    catalog = Catalog([place])
    limits = promises(job.protect, list(manifest["tasks"]))
    grown = check_cards(folder, manifest, catalog, job.tasks)
    old = measurable(manifest, catalog, job.split)
    check_promises(limits, job.protect, old)
    strategies = parsed(job.strategy)
    again = bool({"replay", "full"} & set(strategies))  # whether old rows come again
    if grown and not again:
        raise UsageError(f"the labels of {', '.join(grown)} have grown, which replay or full learn.", where="--strategy")
    told = place.parent / ".trunkline" / "news"
    before = earlier_news(manifest["lineage"].get("aside", ()), old, catalog, told) if again else []
    both = Catalog([place, *([told] if before else [])])
    read = [*(old if again or job.settings.fisher else ()), *job.tasks, *(news.name for news in before)]
    own = place.parent / ".trunkline" / "extend" / key_of(manifest, job, contents(read, both))
    check_follows(line, folder, [run.run_id for run in runs_of(recipe_file(own, job), job)])
    held = lessons(folder, catalog, job.tasks, own / "lessons", say) if "distill" in strategies else None
    drawn = drawn_tasks([*(old if "replay" in strategies else ()), *job.tasks], catalog)
    plan = planned(strategies, job.tasks, old, job.settings, held, drawn)
    plan = rehearsing(plan, before, catalog, job.settings.rehearse)
    recipe = write_recipe(folder, manifest, place, plan, job, own, beside=told if before else None)
    result = trained(recipe, job, say, show=show)
    beside = measured(folder, result.model, called(before), both, place.parent / ".trunkline" / "store", limits)
    return judged(result, folder, place, limits, old, job, line, say, beside=beside)


def catalog_of(job: Job, folder: Path) -> Path:
    """The folder of cards. Raises ConfigError if there is none near."""
    place = job.catalog or nearest_folder(folder.resolve()) or nearest_folder(Path.cwd())
    if place is None:
        raise ConfigError(f"no folder `tasks` near {folder}, so there are no cards. Name one with --catalog.")
    return place


def check_cards(folder: Path, manifest: Mapping[str, Any], catalog: Catalog, new: Sequence[str]) -> list[str]:
    """Names of old tasks whose labels grew.

    Raises ConfigError, all mistakes at once: tasks the model has already, new ones without a card, old ones that have changed.
    """
    problems, grown = Problems(), []
    there = set(catalog.names())
    for name in new:
        if name in manifest["tasks"]:
            problems.add(
                ConfigError(f"the model has '{name}' already. To train it on new data: trunkline refresh.", where="--task")
            )
        elif new.count(name) > 1:
            problems.add(UsageError(f"'{name}' is named twice.", where="--task"))
        else:
            catalog.path(name)
    for name, about in manifest["tasks"].items():
        if name not in there:
            continue
        try:
            card = catalog.get(name)
            load_plugin(card)
            old = load_card(folder / "heads" / name / "card.yaml", with_data=False)
            grown += [name] if compared(card, old, about["fingerprint"]) else []
        except TrunklineError as error:
            problems.add(error)
    problems.raise_if_any()
    return grown


def key_of(manifest: Mapping[str, Any], job: Job, read: Sequence[Sequence[str]]) -> str:
    """The same for the same job on the same model, so that it goes on where it was. read: `contents` of what it learns from."""
    stated = [
        job.name,
        list(job.tasks),
        job.strategy,
        asdict(job.settings),
        job.steps,
        list(job.overrides),
        manifest["files"],
        read,
    ]
    return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()[:12]


def write_recipe(
    folder: Path, manifest: Mapping[str, Any], place: Path, plan: Plan, job: Job, own: Path, *, beside: Path | None = None
) -> Path:
    """The job as a recipe file in `own`, its folder in the project. beside: another catalog."""
    stated = parent_recipe(folder, manifest)
    train_ = {**alone(stated["train"], plan.tasks), "watch_gradients": None}  # a frozen trunk has none
    train_["steps"] = job.steps or max(20, round(SHARE_OF_STEPS * int(train_["steps"])))
    described = dict(manifest["trunk"])
    if "pretrained" in described:
        described["pretrained"] = str((folder / "trunk" / described["pretrained"]).resolve())
    known = {use["task"]: use for use in stated["tasks"]}
    data = {
        **stated,
        "trunk": {**described, **carried(stated["trunk"])},
        "catalog": [str(folder.resolve()) for folder in (place, own / "lessons", beside) if folder and folder.is_dir()],
        "tasks": [known.get(task, {"task": task}) for task in plan.tasks],
        "train": train_,
        **plan.changes,
        "start": {"model": str(folder.resolve()), **plan.start},
    }
    data = {key: value for key, value in data.items() if value is not None}
    text = writer.render(data)
    path = recipe_file(own, job)
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.replace(path, text)
    load_recipe(path, job.overrides)
    return path


def carried(trunk: Mapping[str, Any]) -> dict[str, Any]:
    """How a recipe treats its trunk in training, of which a trunk's folder says nothing."""
    table = {key: value for key, value in (trunk.get("embeddings") or {}).items() if key in TREATED}
    return {**({"dropout": trunk["dropout"]} if "dropout" in trunk else {}), **({"embeddings": table} if table else {})}


def recipe_file(own: Path, job: Job) -> Path:
    return own / f"{'-'.join((job.name, *job.tasks))[:40]}.yaml"


def parent_recipe(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe the model was trained with, as plain data. Raises IntegrityError for a model that does not say."""
    text = manifest.get("recipe")
    beside = folder.parent / "recipe.yaml"
    if text is None and not beside.is_file():
        raise IntegrityError(
            "the model does not say by which recipe it was trained, nor does a run beside it.", where=str(folder)
        )
    document = reader.parse(text, "manifest.json: recipe") if text is not None else reader.read(beside)
    return dict(document.data)


def outputs_of(recipe: Path, job: Job) -> Path:
    return job.outputs or recipe.parents[3] / "outputs"


def runs_of(recipe: Path, job: Job) -> list[RunFolder]:
    """What was made of the job's recipe so far, newest first."""
    return [run for run in all_runs(outputs_of(recipe, job)) if run.facts().get("recipe") == str(recipe.resolve())]


def trained(recipe: Path, job: Job, say: Callable[[str], None], *, show: bool) -> Result:
    """The job's run: a finished one as it is, an unfinished one gone on with, else a new one."""
    outputs, mine = outputs_of(recipe, job), [run for run in runs_of(recipe, job) if run.prepared.is_file()]
    if mine and mine[0].finished:
        say(f"run {mine[0].run_id} of this job is finished already")
        return Result(mine[0].path, mine[0].model, json.loads(mine[0].result.read_text())["tasks"])
    resume: dict[str, Any] = {"resume": mine[0].run_id} if mine else {"overrides": job.overrides}
    return train(recipe, in_process=job.in_process, outputs=outputs, say=say, show=show, **resume)


def judged(
    result: Result,
    parent: Path,
    place: Path,
    limits: Mapping[str, float],
    old: Sequence[str],
    job: Job,
    line: Line | None,
    say: Callable[[str], None],
    *,
    beside: Sequence[Change] = (),
    more: Mapping[str, Any] | None = None,
) -> Extended:
    """The report, written beside the run; the model becomes current in the line if every promise is kept."""
    began = time.perf_counter()
    found = changes(parent, result.model, place, limits, old, job.split, say)
    fresh = having(job.tasks, Catalog([place]), job.split)
    new = evaluate_model(result.model, tasks=fresh, split=job.split, catalog=place, say=say) if fresh else []
    ahead = forward(parent, result.model, fresh, place, job.split, say)
    broken = [change.task for change in (*found, *beside) if change.verdict == "broken"]
    report = {
        "schema_version": 1,
        "parent": str(parent),
        "model": str(result.model),
        "strategy": job.strategy,
        "protect": job.protect,
        "split": job.split,
        "old": [change.told() for change in (*found, *beside)],
        "new": new,
        "forward": ahead,
        **transfer([{"old": [change.told() for change in found], "forward": ahead}], [*old, *fresh]),
        "cost": cost(result.model, parent),
        "judged_s": time.perf_counter() - began,
        "kept": not broken,
        "broken": broken,
        "settings": asdict(job.settings),
        **(more or {}),
    }
    durable.crash_point("extend.before_report")
    told = json.dumps(report, indent=1)
    durable.replace(result.run / REPORT, told)
    durable.crash_point("extend.before_promotion")
    if line is not None:
        if not line.exists:
            line.promote(parent, "first")
        if not broken:
            check_follows(line, parent, [result.run.name])
        report["current"] = str(line.current if broken else line.promote(result.model, result.run.name, told))
    return Extended(result.run, result.model, not broken, report)


def rows_of_changes(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The old tasks of a report as a table's cells."""

    def figure(value: float | None, form: str = "{:.4f}") -> str:
        return "-" if value is None else form.format(value)

    return [
        (
            str(row["task"]),
            str(row["metric"]),
            str(row["rows"] or "-"),
            figure(row["before"]),
            figure(row["after"]),
            figure(row["change"], "{:+.2f}"),
            "-" if row["low"] is None else f"{row['low']:+.2f} to {row['high']:+.2f}",
            figure(row["limit"], "{:+.2f}"),
            str(row["verdict"]),
        )
        for row in found
    ]
