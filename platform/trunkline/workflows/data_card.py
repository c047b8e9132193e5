"""What a run learned from, read from its cards and its tokenised rows; a report shows it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trunkline.data.rows import Ragged
from trunkline.data.store import StoredSplit
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import IntegrityError
from trunkline.launch.runs import RunFolder
from trunkline.report.data_card import DataCard, SplitFacts
from trunkline.report.series import Curve
from trunkline.tasks.card import load_card

BINS = 24
CUT = "cut"


def data_cards(run: RunFolder, examples: int = 0) -> list[DataCard]:
    """One for each task. examples: so many training rows of each come along, as the trunk reads them."""
    if not run.prepared.is_file():
        return []
    paths: dict[str, dict[str, str]] = json.loads(run.prepared.read_text(encoding="utf-8"))["splits"]
    stored = {task: dict(_opened(own)) for task, own in paths.items()}
    trained = {task: set(_hashes(own["train"])) for task, own in stored.items() if "train" in own}
    tokenizer = Tokenizer.load(run.tokenizer) if examples else None
    found = []
    for task, splits in stored.items():
        card = load_card(run.cards / task, with_data=False)
        names = [str(label) for label in card.head.arguments.get("labels") or ()]
        facts = {split: _facts(split, own, splits, names, trained) for split, own in splits.items()}
        rows = splits.get("train")
        shown = _examples(rows, tokenizer, names, examples) if tokenizer is not None and rows is not None else ()
        found.append(DataCard(task, card.head.kind, card.summary or "", card.licence or "", facts, shown))
    return found


def _opened(paths: Mapping[str, str]) -> Iterator[tuple[str, StoredSplit]]:
    """Those that are at hand: a store may have been emptied since, or lie on another machine."""
    for split, path in paths.items():
        try:
            yield split, StoredSplit.open(path)
        except (IntegrityError, FileNotFoundError):
            continue


def _facts(
    split: str, own: StoredSplit, beside: Mapping[str, StoredSplit], names: Sequence[str], trained: Mapping[str, set[int]]
) -> SplitFacts:
    longest = max(int(other.index["longest_row"]) for other in beside.values())
    hashes = _hashes(own) if split != "train" else []
    leaked = [task for task, known in trained.items() if not known.isdisjoint(hashes)]
    return SplitFacts(
        rows=len(own),
        tokens=int(own.index["tokens"]),
        longest=int(own.index["longest_row"]),
        lengths=_shares(np.asarray(own.sizes), 0.5, longest + 0.5, min(BINS, longest)),
        cut=own.notes.get(CUT, 0),
        set_aside=int(own.quarantined["rows"]),
        labels=_labels(own, names),
        values=_values(own, beside),
        leaked=sum(any(row in trained[task] for task in leaked) for row in hashes),
        leaked_in=leaked,
    )


def _shares(values: np.ndarray, low: float, high: float, bins: int = BINS) -> Curve:
    """Share of the values in each of so many stretches between low and high."""
    counts, edges = np.histogram(values, bins, (low, high if high > low else low + 1))
    return Curve("", ((edges[:-1] + edges[1:]) / 2).tolist(), (counts / max(1, len(values))).tolist())


def _labels(own: StoredSplit, names: Sequence[str]) -> dict[str, int]:
    """Targets by label: numbers of one, or a column for each."""
    if not names:
        return {}
    for value in own.rows.targets.values():
        flat = value.values if isinstance(value, Ragged) else value
        if flat.ndim == 2 and flat.shape[1] == len(names):
            return dict(zip(names, (flat > 0).sum(0).tolist(), strict=True))
    labels = own.rows.targets.get("labels")
    if labels is None:
        return {}
    numbers = labels.values if isinstance(labels, Ragged) else labels
    return dict(zip(names, np.bincount(numbers[numbers >= 0], minlength=len(names)).tolist(), strict=True))


def _values(own: StoredSplit, beside: Mapping[str, StoredSplit]) -> Curve | None:
    """Of targets that are one number a row."""
    splits = [_numbers(other) for other in (own, *beside.values())]
    known = [values for values in splits if values is not None and len(values)]
    if splits[0] is None or not known:
        return None
    return _shares(splits[0], min(float(v.min()) for v in known), max(float(v.max()) for v in known))


def _numbers(split: StoredSplit) -> np.ndarray | None:
    value = split.rows.targets.get("target")
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or value.size != len(split):
        return None
    flat = value.reshape(-1)
    return flat[np.isfinite(flat)]


def _hashes(split: StoredSplit) -> list[int]:
    tokens = split.rows.tokens
    content, starts = tokens.values.tobytes(), (tokens.starts * tokens.values.itemsize).tolist()
    return [hash(content[start:stop]) for start, stop in itertools.pairwise(starts)]


def _examples(rows: StoredSplit, tokenizer: Tokenizer, names: Sequence[str], count: int) -> list[tuple[str, str]]:
    found = []
    tokens = rows.rows.tokens
    for row in range(min(count, len(rows))):
        ids = tokens.values[tokens.starts[row] : tokens.starts[row + 1]]
        found.append((tokenizer.decode(ids.tolist()), ", ".join(_told(rows, row, names))))
    return found


def _told(rows: StoredSplit, row: int, names: Sequence[str]) -> Iterator[str]:
    """A row's target in words: its labels or its numbers."""
    one = rows.rows.cut(row, row + 1)
    for name, value in one.targets.items():
        flat: Any = value.values if isinstance(value, Ragged) else value.reshape(-1)
        if name == "labels" and names:
            yield " ".join(names[number] if number >= 0 else "-" for number in flat.tolist())
        elif names and len(flat) == len(names):
            yield ", ".join(label for label, there in zip(names, flat.tolist(), strict=True) if there) or "none"
        elif name == "target":
            yield ", ".join(f"{number:.4g}" for number in flat.tolist())
