"""What each task of a run learned from: rows, lengths, labels, leaks, and examples where they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trunkline.report import svg
from trunkline.report.series import Curve

LABELS = 12  # shown of a task, the most frequent first


@dataclass(frozen=True)
class SplitFacts:
    """One split as the trunk reads it. cut, set_aside, leaked: rows. lengths: share of the rows over tokens.

    labels: rows by label; empty where the targets are none. values: share of the rows over the target, for numbers.
    leaked: rows that stand in the training rows of any task of the run; in: which tasks'.
    """

    rows: int
    tokens: int
    longest: int
    lengths: Curve
    cut: int = 0
    set_aside: int = 0
    labels: Mapping[str, int] = field(default_factory=dict)
    values: Curve | None = None
    leaked: int = 0
    leaked_in: Sequence[str] = ()


@dataclass(frozen=True)
class DataCard:
    """A task's data. splits: by name, none where the tokenised rows are not at hand. examples: texts and what they teach."""

    task: str
    kind: str
    summary: str = ""
    licence: str = ""
    splits: Mapping[str, SplitFacts] = field(default_factory=dict)
    examples: Sequence[tuple[str, str]] = ()


HEAD = ("task", "kind", "licence", "split", "rows", "tokens a row", "longest", "cut", "set aside", "leaked")


def sections(cards: Sequence[DataCard], name: str) -> list[dict[str, Any]]:
    """A table of all, charts of lengths and labels of each, and a table of examples."""
    if not cards:
        return []
    rows = [line for card in cards for line in _lines(card)]
    missing = [card.task for card in cards if not card.splits]
    text = (
        "Rows as the trunk reads them. Leaked: rows under evaluation that read the same as a training row of any task of the run."
    )
    text += f" The tokenised rows of {', '.join(missing)} are not at hand." if missing else ""
    made: dict[str, Any] = {"title": f"Data{name}", "text": text, "table": {"head": HEAD, "rows": rows, "words": 4}}
    made["figures"] = [figure for card in cards for figure in _figures(card)]
    shown = [(card.task, *example) for card in cards for example in card.examples]
    examples = {"title": f"Training rows{name}", "table": {"head": ("task", "text", "target"), "rows": shown, "words": 3}}
    return [made, *([examples] if shown else [])]


def _lines(card: DataCard) -> list[list[str]]:
    found: list[list[str]] = []
    for split, own in card.splits.items():
        leaked = f"{own.leaked:,} ({', '.join(own.leaked_in)})" if own.leaked else "-"
        mean = f"{own.tokens / max(1, own.rows):.1f}"
        counts = [f"{own.rows:,}", mean, f"{own.longest:,}", _share(own.cut, own.rows), _count(own.set_aside), leaked]
        named = ["", "", ""] if found else [card.task, card.kind, card.licence or "not stated"]
        found.append([*named, split, *counts])
    return found or [[card.task, card.kind, card.licence or "not stated", *["-"] * 7]]


def _figures(card: DataCard) -> list[dict[str, str]]:
    """Of the training rows, dashed those under evaluation."""
    if not card.splits:
        return []
    own = list(card.splits.items())
    colours, dashed = [0] * len(own), range(1, len(own))
    curves = [Curve(split, facts.lengths.steps, facts.lengths.values) for split, facts in own]
    lengths = svg.lines(curves, label=f"{card.task}: lengths", unit="tokens", colours=colours, dashed=dashed)
    found = [{"title": f"{card.task}: share of rows by tokens", "svg": lengths}]
    values = [Curve(split, facts.values.steps, facts.values.values) for split, facts in own if facts.values is not None]
    if values:
        drawn = svg.lines(values, label=f"{card.task}: targets", unit="", colours=colours, dashed=dashed)
        found.append({"title": f"{card.task}: share of rows by target", "svg": drawn})
    labels = own[0][1].labels
    if labels:
        ordered = sorted(labels.items(), key=lambda item: -item[1])
        more = f", the {LABELS} most frequent of {len(labels)}" if len(labels) > LABELS else ""
        drawn = svg.bars(dict(ordered[:LABELS]), label=f"{card.task}: labels", whole=sum(labels.values()))
        found.append({"title": f"{card.task}: labels in {own[0][0]}{more}", "svg": drawn})
    return found


def _count(value: int) -> str:
    return f"{value:,}" if value else "-"


def _share(value: int, of: int) -> str:
    return f"{value / of:.1%}" if value and of else "-"
