"""New rows for a trained model: is it another kind of data, learn it beside old rows, judge on both, make it current."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trunkline.build.model import load_model, read_manifest
from trunkline.continual.drift import drift
from trunkline.continual.gate import Change, compare, promises
from trunkline.errors import ConfigError, nearest
from trunkline.tasks.catalog import Catalog
from trunkline.workflows.contents import contents
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
from trunkline.workflows.judging import check_promises, measurable, records_of
from trunkline.workflows.line import check_follows, opened
from trunkline.workflows.news import News, judged_news, samples, write_news
from trunkline.workflows.strategies import Plan, drawn_tasks, shares

Say = Callable[[str], None]


def refresh(job: Job, task: str, data: Path, say: Say, *, show: bool = False) -> Extended:
    """job: of no new tasks. Raises ConfigError, DataError, IntegrityError before a run is made, for what can be known before.

    The same data again changes nothing: a model that has learned from it says so, a job that was cut off goes on.
    """
    line, folder = opened(job.model, job.line)
    manifest = read_manifest(folder)
    place = catalog_of(job, folder)
    if task not in manifest["tasks"]:
        raise ConfigError(f"the model has no task '{task}'. {nearest(task, manifest['tasks'])}", where="--task")
    limits = promises(job.protect, list(manifest["tasks"]))
    check_cards(folder, manifest, Catalog([place]), ())
    old = measurable(manifest, Catalog([place]), job.split)
    check_promises(limits, job.protect, old)
    if task not in old:
        raise ConfigError(f"'{task}' has no card here with {job.split} rows, and none is refreshed unmeasured.", where="--task")
    own = place.parent / ".trunkline" / "news"
    model = load_model(folder, Catalog([place]))
    news = write_news(model, Catalog([place]).get(task), data, own)
    if news.name in manifest["lineage"].get("aside", ()):
        say(f"the model has learned from {data} already")
        return Extended(folder, folder, True, {"kept": True, "old": [], "new": [], "broken": [], "already": True})
    job = dataclasses.replace(job, tasks=(), strategy="replay", name=f"refresh-{news.name[-10:]}")
    both, store = Catalog([place, own]), place.parent / ".trunkline" / "store"
    work = place.parent / ".trunkline" / "extend" / key_of(manifest, job, contents([*old, news.name], both))
    check_follows(line, folder, [run.run_id for run in runs_of(recipe_file(work, job), job)])
    told = [found.told() for found in drift(*samples(model, news, task, both, store, job.split))]
    shifted = [found["name"] for found in told if found["shifted"]]
    say(f"drift: {', '.join(shifted) if shifted else 'none'} of labels, lengths, vocabulary, unknown, embeddings")
    recipe = write_recipe(folder, manifest, place, _plan(news, old, job, Catalog([place])), job, work, beside=own)
    result = trained(recipe, job, say, show=show)
    limit = limits.get(task)
    change = _on_new_rows(folder, result.model, news, task, both, store, limit)
    more = {"drift": told, "shifted": shifted, "rows": news.rows, "corrected": news.corrected, "task": task, "data": str(data)}
    return judged(result, folder, place, limits, old, job, line, say, beside=[change], more=more)


def _plan(news: News, old: list[str], job: Job, catalog: Catalog) -> Plan:
    rates = shares(old, [news.name], job.settings.share, drawn_tasks(old, catalog))
    start: dict[str, Any] = {"rehearse": job.settings.rehearse, "aside": [news.name]}
    changes = {"finetune": "full", "freeze": [], "weighting": "static", "sampling": {"kind": "explicit", "rates": rates}}
    return Plan([*old, news.name], changes, start)


def _on_new_rows(before: Path, after: Path, news: News, task: str, catalog: Catalog, store: Path, limit: float | None) -> Change:
    first, second = load_model(before, catalog), load_model(after, catalog)
    rows = judged_news(second, news, task, catalog, store)
    headline, make = next(iter(rows.metrics.items()))
    rows = dataclasses.replace(rows, name=task)
    return compare(f"{task} (new rows)", make, headline, records_of(first, rows), records_of(second, rows), limit)
