"""New rows for a trained model: is it another kind of data, learn it beside old rows, judge on both, make it current."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trunkline.build.model import load_model, read_manifest
from trunkline.continual.drift import drift
from trunkline.continual.gate import promises
from trunkline.errors import ConfigError, nearest
from trunkline.tasks.catalog import Catalog
from trunkline.workflows.contents import contents
from trunkline.workflows.earlier import called, measured, rehearsing
from trunkline.workflows.extend import (
    Extended,
    Job,
    catalog_of,
    check_cards,
    judged,
    key_of,
    recipe_file,
    runs_of,
    trained,
    write_recipe,
)
from trunkline.workflows.judging import check_promises, measurable
from trunkline.workflows.line import check_follows, opened
from trunkline.workflows.news import News, earlier_news, samples, write_news
from trunkline.workflows.strategies import Plan, drawn_tasks, shares

Say = Callable[[str], None]


def refresh(job: Job, task: str, data: Path, say: Say, *, show: bool = False) -> Extended:
    """job: of no new tasks. Raises ConfigError, DataError, IntegrityError before a run is made, for what can be known before.

    The same data again changes nothing: a model that has learned from it says so, a job that was cut off goes on.
    """
    line, folder = opened(job.model, job.line)
    manifest = read_manifest(folder)
    place = catalog_of(job, folder)
    limits, old = _checked(job, task, folder, manifest, Catalog([place]))
    own = place.parent / ".trunkline" / "news"
    model = load_model(folder, Catalog([place]))
    news = write_news(model, Catalog([place]).get(task), data, own)
    if news.name in manifest["lineage"].get("aside", ()):
        say(f"the model has learned from {data} already")
        return Extended(folder, folder, True, {"kept": True, "old": [], "new": [], "broken": [], "already": True})
    say(f"{news.held_out} of {news.rows} new rows are held out to judge by")
    job = dataclasses.replace(job, tasks=(), strategy="replay", name=f"refresh-{news.name[-10:]}")
    both, store = Catalog([place, own]), place.parent / ".trunkline" / "store"
    before = earlier_news(manifest["lineage"].get("aside", ()), old, Catalog([place]), own)
    read = contents([*old, *(own.name for own in before), news.name], both)
    work = place.parent / ".trunkline" / "extend" / key_of(manifest, job, read)
    check_follows(line, folder, [run.run_id for run in runs_of(recipe_file(work, job), job)])
    told = [found.told() for found in drift(*samples(model, news, both, store, job.split))]
    shifted = [found["name"] for found in told if found["shifted"]]
    say(f"drift: {', '.join(shifted) if shifted else 'none'} of labels, lengths, vocabulary, unknown, embeddings")
    plan = _plan(news, old, job, drawn_tasks(old, Catalog([place])))
    plan = rehearsing(plan, before, Catalog([place]), job.settings.rehearse)
    recipe = write_recipe(folder, manifest, place, plan, job, work, beside=own)
    result = trained(recipe, job, say, show=show)
    beside = measured(folder, result.model, {**called(before), f"{task} (new rows)": news}, both, store, limits)
    more = {"drift": told, "shifted": shifted, "rows": news.rows, "held_out": news.held_out, "corrected": news.corrected}
    more |= {"task": task, "data": str(data), "news": news.name, "earlier": [own.name for own in before]}
    return judged(result, folder, place, limits, old, job, line, say, beside=beside, more=more)


def _checked(
    job: Job, task: str, folder: Path, manifest: Mapping[str, Any], catalog: Catalog
) -> tuple[dict[str, float], list[str]]:
    """What was promised, and the tasks that can be measured; the one that is refreshed must be among them."""
    if task not in manifest["tasks"]:
        raise ConfigError(f"the model has no task '{task}'. {nearest(task, manifest['tasks'])}", where="--task")
    limits = promises(job.protect, list(manifest["tasks"]))
    check_cards(folder, manifest, catalog, ())
    old = measurable(manifest, catalog, job.split)
    check_promises(limits, job.protect, old)
    if task not in old:
        raise ConfigError(f"'{task}' has no card here with {job.split} rows, and none is refreshed unmeasured.", where="--task")
    return limits, old


def _plan(news: News, old: Sequence[str], job: Job, drawn: Mapping[str, Sequence[str]]) -> Plan:
    rates = shares(old, [news.name], job.settings.share, drawn)
    start: dict[str, Any] = {"rehearse": job.settings.rehearse, "by": job.settings.by, "aside": [news.name]}
    changes = {"finetune": "full", "freeze": [], "weighting": "static", "sampling": {"kind": "explicit", "rates": rates}}
    return Plan([*old, news.name], changes, start)
