"""One card -> its source, encoding, head, loss and metrics."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trunkline.batch import ROW_WEIGHT
from trunkline.data.encoding.base import Encoding
from trunkline.data.intake import Intake, said
from trunkline.data.partial import DIFFICULTY, TEACHER, TEACHER_COLUMN, Extra, difficulties, row_weights
from trunkline.data.sources.base import Source, SourceContext, TaskText
from trunkline.data.sources.grouped import Grouped
from trunkline.data.sources.reading import Reading
from trunkline.data.sources.split import HashSplit
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import ConfigError, TrunklineError, nearest
from trunkline.metrics.base import Metric
from trunkline.models.pooling import Mix
from trunkline.registry import ENCODINGS, HEADS, LOSSES, METRICS, SOURCES
from trunkline.tasks.card import Card, check_parts, load_card
from trunkline.tasks.catalog import Catalog
from trunkline.tasks.plugin import load_plugin
from trunkline.tasks.sharing import resolved_all

if TYPE_CHECKING:
    from trunkline.losses.base import Loss
    from trunkline.models.heads.base import Head

SPLITS = ("train", "validation", "test")
OWN = "vocabulary"  # the folder beside a card in which the tokenizer for its targets is kept


def open_source(card: Card, catalog: Catalog | None) -> Source:
    """The card's source (or that of the task it shares rows with), `gather` and then `split` applied.

    catalog: where a source finds other tasks by name. Loads the plugin.
    """
    card = card.host
    load_plugin(card)

    def open_task(name: str) -> TaskText:
        if catalog is None:
            raise ConfigError(f"task '{name}' can not be opened from here.", where=card.where("data"))
        other = catalog.get(name, where=card.where("data"))
        return task_text(other, open_source(other, catalog))

    data = card.data
    make = SOURCES.get(data.format, where=card.where("data", "format"))
    with placed(card, "data"):
        source: Source = make(SourceContext(card.folder, open_task), **data.files(), **data.arguments)
        if data.gather is not None:
            source = Grouped(source, data.gather.by, data.gather.lists, reading(card))
        if data.split is not None:
            source = HashSplit(source, data.split.by, data.split.validation, data.split.test)
    if "train" not in source.splits():
        known = ", ".join(source.splits())
        raise ConfigError(
            f"the data has no train split, only: {known}. Add data.split, such as split: {{by: text}}.", where=card.where("data")
        )
    return source


def task_text(card: Card, source: Source) -> TaskText:
    """Every text of the task, the target too where it is one."""
    encoding = ENCODINGS.get(card.head.kind).suited(card.inputs, card.target)
    more = [card.target] if card.target and encoding.target_is_text else []
    return TaskText(source, (*card.inputs, *more), reading(card))


def reading(card: Card) -> Reading:
    data = card.data
    return Reading(
        dict(data.columns), data.on_null, dict(data.lists), tuple(data.nulls), on_bad=data.on_bad, max_bad=data.max_bad
    )


def extras(card: Card, encoding: Encoding, split: str, difficulty: str | None = None) -> tuple[Extra, ...]:
    """The columns that become targets beside the encoding's: the rows' weights, and for training a teacher's scores and
    `difficulty`, the column that the recipe's curriculum goes by."""
    found = [] if card.row_weight is None else [Extra(ROW_WEIGHT, card.row_weight, row_weights)]
    if difficulty is not None and split == "train":
        found.append(Extra(DIFFICULTY, difficulty, difficulties))
    if card.teacher is not None and split == "train":
        form = card.teacher.form
        read = functools.partial(encoding.teacher_scores, form=form)
        found.append(Extra(TEACHER, card.teacher.column or TEACHER_COLUMN, read, form))
    return tuple(found)


def make_encoding(card: Card, tokenizer: Tokenizer, kept: Path | None = None) -> Encoding:
    """kept: the folder of a run's or model's card, where the tokenizer for the targets lies if the encoding wants one."""
    known = ENCODINGS.arguments(card.head.kind)
    given = {key: value for key, value in card.head_arguments.items() if key in known}
    with placed(card, "head"):
        suited = ENCODINGS.get(card.head.kind).suited(card.inputs, card.target)
        encoding: Encoding = suited(tokenizer, card.inputs, card.target, **given)
    if kept is not None and encoding.own_wanted is not None:
        encoding.adopt(Tokenizer.load(kept / OWN))
    return encoding


def make_head(card: Card, width: int, encoding: Encoding, num_layers: int = 1) -> Head:
    """The head as the card, the encoding and the loss want it. num_layers: of the trunk, for a head that mixes them."""
    known = HEADS.arguments(card.head.kind)
    given = {key: value for key, value in card.head_arguments.items() if key in known}
    with placed(card, "head"):
        head: Head = HEADS.get(card.head.kind)(width, **encoding.head_arguments(), **_asked(card, encoding), **given)
    head.mix = Mix(num_layers) if card.head_arguments.get("layer_mix", False) else None
    return head


def head_wanted(card: Card, encoding: Encoding) -> dict[str, Any]:
    """All that tells a task's head from another: its kind, the card's arguments, what encoding and loss want of it."""
    return {"kind": card.head.kind, **card.head_arguments, **encoding.head_arguments(), **_asked(card, encoding)}


def _asked(card: Card, encoding: Encoding) -> Mapping[str, Any]:
    asked: Mapping[str, Any] = LOSSES.get(_loss_kind(card, encoding), where=card.where("loss")).asks
    return asked


def make_loss(card: Card, encoding: Encoding) -> Loss:
    """Raises ConfigError for a loss that reads targets which rows of this kind do not carry, asks of the head what it does not
    have, or has arguments that do not fit the labels."""
    kind, given = _loss_kind(card, encoding), card.loss.arguments if card.loss else {}
    with placed(card, "loss"):
        _check_fit(kind, card, encoding)
        loss: Loss = LOSSES.get(kind)(**given)
        for name in loss.applied:
            _check_fit(name, card, encoding)
        loss.check(encoding.head_arguments())
    if card.teacher is not None and (TEACHER not in loss.reads or not encoding.learns_from_teacher):
        raise ConfigError(_no_teacher(card, kind, encoding), where=card.where("teacher"))
    return loss


def _check_fit(loss: str, card: Card, encoding: Encoding) -> None:
    """Raises ConfigError unless the rows carry what the loss reads, and the head has what it asks for."""
    _, dummy = encoding.collate(encoding.dummy(), np.zeros(1, np.uint64))
    targets = {*dummy, *([TEACHER] if card.teacher is not None else [])}
    taken = inspect.signature(HEADS.get(card.head.kind)).parameters
    fitting = [
        name
        for name, part in ((name, LOSSES.get(name)) for name in LOSSES.names())
        if part.fits(targets) and part.asks.keys() <= taken.keys()
    ]
    if loss not in fitting:
        raise ConfigError(f"loss '{loss}' does not fit a {card.head.kind} task. {nearest(loss, fitting)}")


def _no_teacher(card: Card, kind: str, encoding: Encoding) -> str:
    if encoding.learns_from_teacher:
        return f"loss '{kind}' does not learn from a teacher. Write loss: {{kind: distillation, of: {kind}}}."
    kinds = [name for name in ENCODINGS.names() if ENCODINGS.get(name).learns_from_teacher]
    return f"a {card.head.kind} task learns from no teacher. Those that do: {', '.join(kinds)}."


def _loss_kind(card: Card, encoding: Encoding) -> str:
    return card.loss.kind if card.loss else encoding.default_loss if card.teacher is None else "distillation"


@contextlib.contextmanager
def placed(card: Card, *route: str | int) -> Iterator[None]:
    """What a part refuses is told with its place in the card."""
    try:
        yield
    except TrunklineError as error:
        raise error if error.where else type(error)(error.message, where=card.where(*route)) from error


def make_metrics(card: Card, encoding: Encoding) -> dict[str, Callable[[], Metric]]:
    """Metric name -> a maker of a fresh one; the first is the headline. Of one kind at several k, each name says its own: ndcg@5.

    Raises ConfigError for one that does not fit the kind, refuses its arguments, or stands twice.
    """
    stated = [(part.kind, part.arguments) for part in card.metrics] or [(name, {}) for name in encoding.default_metrics]
    kinds = [kind for kind, _ in stated]
    made: dict[str, Callable[[], Metric]] = {}
    for number, (kind, given) in enumerate(stated):
        where = card.where("metrics", number)
        metric: type[Metric] = METRICS.get(kind, where=where)
        if not metric.fits(card.head.kind, encoding.records_given):
            fitting = [other for other in METRICS.names() if METRICS.get(other).fits(card.head.kind, encoding.records_given)]
            raise ConfigError(
                f"metric '{kind}' does not fit a {card.head.kind} task. {nearest(kind, fitting)}", where=card.where("metrics")
            )
        name = f"{kind}@{given['k']}" if kinds.count(kind) > 1 and "k" in given else kind
        if name in made:
            raise ConfigError(f"metric '{name}' stands twice. Keep one.", where=where)
        made[name] = functools.partial(metric, **given)
        with placed(card, "metrics", number):
            made[name]()
    return made


def check_task(card: Card, catalog: Catalog | None, tokenizer: Tokenizer, rows: int = 100) -> list[str]:
    """What `task check` reports: parts, splits, and that the first rows of every split encode. Raises TrunklineError."""
    if card.rows_of is not None and card.host is card:
        if catalog is None:
            raise ConfigError(f"task '{card.rows_of}' can not be opened from here.", where=card.where("rows_of"))
        card = catalog.resolved(card)
    if card.parts:
        find = resolved_all({card.name: card}).__getitem__ if card.rows_of is None else catalog.get if catalog else None
        assert find is not None
        return [line for part in card.parts.values() for line in check_task(find(part.name), catalog, tokenizer, rows)]
    load_plugin(card)
    check_parts(card)
    source = open_source(card, catalog)
    encoding = make_encoding(card, tokenizer)
    sharing = (card.target, card.host.target) if card.host is not card else ()
    metrics = make_metrics(card, encoding)
    make_loss(card, encoding)
    make_head(card, 8, encoding)
    lines = [f"{card.name}: {card.head.kind}, metrics {', '.join(metrics)}"]
    for split in source.splits():
        chunk = next(iter(source.read(split)), None)
        if chunk is None:
            lines.append(f"{split}: empty")
            continue
        first = chunk.take(range(min(rows, len(chunk))))
        if encoding.own is None and encoding.own_wanted is not None and encoding.target is not None:
            # Of the first rows alone: that they encode is checked, not into what.
            values = reading(card).select(first, encoding.wanted, encoding.optional).columns[encoding.target]
            encoding.adopt(encoding.own_wanted.build([value for value in values if isinstance(value, str)]))
        known = tuple(extra for extra in extras(card, encoding, split) if extra.column != TEACHER_COLUMN)
        intake = Intake(encoding, reading(card), extras=known, beside=sharing)
        encoded = intake.rows(first)
        mean = encoded.tokens.lengths.mean() if encoded is not None else 0
        lines.append(
            f"{split}: the first {len(encoded) if encoded is not None else 0} rows encode, {mean:.0f} tokens each on average"
        )
        if intake.quarantined:
            lines.append(f"{split}: {said(intake.report())}")
    return lines


def cards_of(folder: Path) -> dict[str, Card]:
    """The cards kept in a run or model folder, `<folder>/<task>/card.yaml`, and the parts of joint ones; plugins are loaded."""
    cards = {path.parent.name: load_card(path) for path in sorted(folder.glob("*/card.yaml"))}
    for card in cards.values():
        load_plugin(card)
    return resolved_all(cards)
