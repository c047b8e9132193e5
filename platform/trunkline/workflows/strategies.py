"""How a trained model takes in new tasks: each strategy is what it changes in a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trunkline.errors import UsageError, nearest
from trunkline.tasks.catalog import Catalog
from trunkline.tasks.sharing import owners, tasks_of
from trunkline.workflows.lessons import Lessons

STRATEGIES = {
    "isolate": "trunk frozen; the new task has a head and a LoRA (and a prompt) of its own, old answers stay bit for bit",
    "fuse": "as isolate, and the new task's LoRA is mixed with those of the old tasks (AdapterFusion)",
    "replay": "trunk trained on the new task and a share of old rows",
    "anchor": "trunk trained on the new task alone, pulled back to where it was (L2-SP, or EWC with --fisher)",
    "distill": "trunk trained on the new task's rows, on which the old model's answers are held (LwF)",
    "full": "trunk trained on all tasks, old and new",
}
ALONE = ("isolate", "fuse", "full")
WARM_UP = 0.1  # share of the steps with the trunk still, so that a new head's first gradients do not reach it


@dataclass(frozen=True)
class Settings:
    """What a strategy may be told. share: of the rows drawn, those of old tasks. rehearse: old rows kept of each old task.

    by: chance or loss, how they are drawn. rank: of the LoRA that a new task has on a frozen trunk. prompt: vectors of its own.
    """

    share: float = 0.3
    rehearse: int | None = None
    rank: int = 8
    anchor: float = 0.01
    fisher: int | None = None
    prompt: int = 0
    by: str = "chance"


@dataclass(frozen=True)
class Plan:
    """What a job asks of a recipe: tasks to train, and what it changes beside them."""

    tasks: Sequence[str]
    changes: Mapping[str, Any] = field(default_factory=dict)
    start: Mapping[str, Any] = field(default_factory=dict)


def parsed(stated: str) -> list[str]:
    """`replay+anchor` -> its strategies. Raises UsageError for one that is not known, or two that do not go together."""
    names = [name.strip() for name in stated.split("+")]
    for name in names:
        if name not in STRATEGIES:
            raise UsageError(f"no strategy '{name}'. {nearest(name, STRATEGIES)}", where="--strategy")
    alone = [name for name in names if name in ALONE]
    if alone and len(names) > 1:
        raise UsageError(
            f"'{alone[0]}' stands alone. Combine replay, anchor and distill, such as replay+anchor.", where="--strategy"
        )
    return names


def drawn_tasks(tasks: Sequence[str], catalog: Catalog) -> dict[str, list[str]]:
    """Entry of a recipe of these tasks -> the tasks that are drawn for it: itself or its first part, or the host of its rows."""
    stands = {name: [catalog.resolved(card) for card in tasks_of(catalog.get(name))] for name in tasks}
    guests = owners({card.name: card for cards in stands.values() for card in cards}, "rows_of")
    return {name: list(dict.fromkeys(guests.get(card.name, card.name) for card in cards)) for name, cards in stands.items()}


def shares(old: Sequence[str], new: Sequence[str], share: float, drawn: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Rates: `share` over the tasks drawn for old entries, the rest over those drawn for new ones; rows of both are new ones."""
    fresh = [task for name in new for task in drawn.get(name, [name])]
    known = [task for name in old for task in drawn.get(name, [name]) if task not in fresh]
    parts = [(list(dict.fromkeys(known)), share), (list(dict.fromkeys(fresh)), 1 - share)]
    return {task: part / len(tasks) for tasks, part in parts for task in tasks}


def planned(
    strategies: Sequence[str],
    new: Sequence[str],
    old: Sequence[str],
    given: Settings,
    lessons: Lessons | None = None,
    drawn: Mapping[str, Sequence[str]] | None = None,
) -> Plan:
    """new: tasks to add. old: those of the model whose rows are at hand. drawn: what `drawn_tasks` says, where they share rows.

    Raises UsageError where old rows are needed.
    """
    if "fuse" in strategies:
        fused = {"finetune": {"kind": "fuse", "rank": max(given.rank, 1), "prompt": given.prompt}}
        return Plan(new, {**fused, "freeze": [], "weighting": "static", "sampling": "proportional"})
    if "isolate" in strategies:
        own = {"kind": "lora", "rank": given.rank, "prompt": given.prompt}
        changes: dict[str, Any] = {"finetune": own if given.rank or given.prompt else "heads"}
        return Plan(new, {**changes, "freeze": [], "weighting": "static", "sampling": "proportional"})
    warm: dict[str, Any] = {"freeze": [{"modules": "trunk", "until": WARM_UP}], "finetune": "full"}
    if any(name in strategies for name in ("replay", "full")) and not old:
        raise UsageError(
            "no card of an old task is here, and this strategy trains on their rows. Take isolate or anchor, or give "
            "the folder of their cards with --catalog.",
            where="--strategy",
        )
    if "full" in strategies:
        return Plan([*old, *new], {**warm, "weighting": "static", "sampling": {"kind": "temperature", "temperature": 2.0}})
    start: dict[str, Any] = {}
    held = list(lessons.of) if lessons else []
    rehearsed = [*(old if "replay" in strategies else ()), *(lessons.hosts if lessons else ())]
    tasks = [*(old if "replay" in strategies else ()), *new, *held]
    if "replay" in strategies:
        start |= {"rehearse": given.rehearse, "by": given.by}
    if held:
        start |= {"aside": held}
        warm["freeze"] += [{"modules": f"heads.{lesson}"} for lesson in held if "replay" not in strategies]
    if "anchor" in strategies:
        start |= {"anchor": given.anchor, "fisher": given.fisher}
    sampling = {"kind": "explicit", "rates": shares(rehearsed, new, given.share, drawn or {})}
    return Plan(tasks, {**warm, "weighting": "static", "sampling": sampling}, start)
