"""What earlier refreshes taught a model, beside whatever it learns next: rehearsed, and measured again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from trunkline.build.model import load_model
from trunkline.build.task import open_source
from trunkline.continual.gate import Change, compare
from trunkline.tasks.catalog import Catalog
from trunkline.workflows.judging import as_labelled_before, records_of
from trunkline.workflows.news import News
from trunkline.workflows.strategies import Plan


def rehearsing(plan: Plan, before: Sequence[News], catalog: Catalog, rehearse: int | None) -> Plan:
    """The plan with earlier news: where tasks have rates, out of its task's, by the number of rows. catalog: of the old tasks.

    rehearse: rows kept of each task.
    """
    if not before:
        return plan
    changes, names = dict(plan.changes), [own.name for own in before]
    if "rates" in changes["sampling"]:
        sampling = dict(changes["sampling"])
        changes["sampling"] = {**sampling, "rates": divided(sampling["rates"], before, _rows(before, catalog), rehearse)}
    start = {**plan.start, "aside": [*names, *plan.start.get("aside", ())]}
    return replace(plan, tasks=[*plan.tasks, *names], changes=changes, start=start)


def divided(
    rates: Mapping[str, float], before: Sequence[News], rows: Mapping[str, int], rehearse: int | None
) -> dict[str, float]:
    """Each task's rate over its own rows and its news'. rows: of each task that has news."""
    found = dict(rates)
    for task, size in rows.items():
        own = {task: size, **{news.name: news.rows - news.held_out for news in before if news.task == task}}
        kept = {name: min(count, rehearse or count) for name, count in own.items()}
        found |= {name: rates[task] * count / sum(kept.values()) for name, count in kept.items()}
    return found


def measured(
    before: Path, after: Path, every: Mapping[str, News], catalog: Catalog, store: Path, limits: Mapping[str, float]
) -> list[Change]:
    """Each task on the held out rows of its news, by both models. every: what to call them -> news."""
    if not every:
        return []
    models = load_model(before, catalog), load_model(after, catalog)
    found = []
    for told, news in every.items():
        both = as_labelled_before(models, news.task, news.card, catalog, store / "splits", "validation")
        headline, make = next(iter(both[1].metrics.items()))
        first, second = (records_of(model, judged) for model, judged in zip(models, both, strict=True))
        found.append(compare(told, make, headline, first, second, limits.get(news.task)))
    return found


def called(before: Sequence[News]) -> dict[str, News]:
    """By the task and the hash of their rows."""
    return {f"{news.task} (rows of {news.name[-10:]})": news for news in before}


def _rows(before: Sequence[News], catalog: Catalog) -> dict[str, int]:
    """Training rows of the tasks that have had news."""
    tasks = dict.fromkeys(news.task for news in before)
    return {task: sum(len(chunk) for chunk in open_source(catalog.get(task), catalog).read("train")) for task in tasks}
