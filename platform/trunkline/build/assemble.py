"""A prepared run folder -> the live objects of one rank."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from trunkline.batch import Weighting
from trunkline.build.finetune import hold_back, make_adapters, rehearsed, renew
from trunkline.build.memory import fitted
from trunkline.build.mixing import make_stream, make_weighting
from trunkline.build.optimization import make_optimizer, make_passes
from trunkline.build.sharing import make_heads
from trunkline.build.task import cards_of, make_encoding, make_loss, make_metrics
from trunkline.config.recipe import Recipe
from trunkline.data.encoding.base import Encoding
from trunkline.data.packing import Table
from trunkline.data.rows import Sizes
from trunkline.data.store import StoredSplit
from trunkline.data.stream import Stream
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import ConfigError
from trunkline.evaluate import Judged
from trunkline.models.base import Trunk
from trunkline.models.multitask import MultiTask
from trunkline.registry import TRUNKS, metric_of
from trunkline.tasks.card import Card
from trunkline.tasks.sharing import owners, tasks_of
from trunkline.training.objective import Objective
from trunkline.training.passes import Pass

PRIMED = "trunk.safetensors"  # in a run's folder


@dataclass(frozen=True)
class Assembly:
    """Everything a worker trains with. tables: training splits in head order; judged: validation splits, where there are any.

    told: what the trunk said of its start.
    """

    recipe: Recipe
    cards: dict[str, Card]
    encodings: dict[str, Encoding]
    tokenizer: Tokenizer
    tables: dict[str, Table]
    judged: list[Judged]
    model: MultiTask
    objective: Objective
    stream: Stream
    weighting: Weighting
    passes: Pass
    told: dict[str, Any]
    make_optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
    documents: dict[str, str]
    lineage: dict[str, Any]

    @property
    def perfect(self) -> dict[str, float]:
        """What the headline metric of each task can reach at best."""
        return {judged.name: metric_of(next(iter(judged.metrics))).best for judged in self.judged}

    @property
    def summaries(self) -> dict[str, str]:
        """Which way is up, for trackers: eval/<task>/<metric> -> max or min."""
        ways = {
            f"eval/{judged.name}/{name}": "max" if metric_of(name).higher_is_better else "min"
            for judged in self.judged
            for name in judged.metrics
        }
        return {**ways, "eval/skill": "max", **{f"train/{name}/loss": "last" for name in self.cards}}

    def fresh(self) -> Assembly:
        """The same with an untouched model, for a new engine."""
        model = make_model(self.recipe, self.cards, self.encodings, self.tokenizer)
        model.load_state_dict(dict(self.model.named_buffers()), strict=False)  # what the run's start made of them
        return replace(self, model=model, objective=self.objective.over(model))


def assemble(run: Path) -> Assembly:
    """Opens stores, builds model, losses, stream and weighting as the run's recipe and cards say; seeded, alike on every rank."""
    recipe = fitted(run)
    kept = cards_of(run / "cards")
    cards = {card.name: kept[card.name] for use in recipe.tasks for card in tasks_of(kept[use.task])}
    settings = recipe.train
    tokenizer = Tokenizer.load(run / "tokenizer", max_length=settings.max_length, truncate=settings.truncate)
    encodings = {name: make_encoding(card, tokenizer, run / "cards" / name) for name, card in cards.items()}
    prepared = json.loads((run / "prepared.json").read_text())
    splits: dict[str, dict[str, str]] = prepared["splits"]
    losses = {name: make_loss(card, encodings[name]) for name, card in cards.items()}
    hosts = owners(cards, "rows_of")
    tables = {}
    for name, loss in losses.items():
        host = hosts.get(name, name)
        table = replace(open_table(splits[name]["train"], encodings[name], hosts.get(name)), divisible=loss.cached)
        riders = {host, *(guest for guest, own in hosts.items() if own == host)}
        tables[name] = rehearsed(recipe, run, host, table, riders)
    judged = [
        Judged(
            name, open_table(splits[name]["validation"], encodings[name]), encodings[name], make_metrics(card, encodings[name])
        )
        for name, card in cards.items()
        if "validation" in splits[name]
    ]
    model = make_model(recipe, cards, encodings, tokenizer)
    start(model.trunk, run)
    sizes = {name: table.rows.tokens.sizes for name, table in tables.items() if name not in hosts}
    stream = make_stream(recipe, sizes, {name: losses[name] for name in sizes}, {name: tables[name].rows for name in sizes})
    return Assembly(
        recipe=recipe,
        cards=cards,
        encodings=encodings,
        tokenizer=tokenizer,
        tables=tables,
        judged=judged,
        model=model,
        objective=Objective(model, losses, precision(recipe.engine.precision), recipe.train.probes),
        stream=stream,
        weighting=make_weighting(recipe, cards),
        passes=make_passes(recipe),
        told=prepared.get("trunk", {}),
        make_optimizer=make_optimizer(recipe),
        documents=documents(run),
        lineage=lineage(recipe, cards, splits, plain=not prepared.get("trunk")),
    )


def make_model(recipe: Recipe, cards: Mapping[str, Card], encodings: Mapping[str, Encoding], tokenizer: Tokenizer) -> MultiTask:
    """The seeded, untrained model; heads in the recipe's order. Raises ConfigError for a task that the trunk can not read."""
    torch.manual_seed(recipe.seed)
    trunk = TRUNKS.get(recipe.trunk.kind)(tokenizer.vocab_size, tokenizer.pad_id, tokenizer.max_length, **recipe.trunk.arguments)
    for name, card in cards.items():
        if not trunk.sights.issuperset(encodings[name].sight):
            raise ConfigError(
                f"task '{name}': {card.head.kind} rows are read in one direction only, and this trunk knows none. "
                f"{trunk.one_way} Or leave the task out.",
                where=recipe.where("trunk"),
            )
    renew(recipe, trunk)
    hold_back(recipe, trunk)
    return MultiTask(trunk, make_heads(cards, trunk, encodings), make_adapters(recipe, cards, trunk))


def start(trunk: Trunk, run: Path) -> None:
    """What `prepare` found for the trunk beside its seed: vectors from a file, weights of words."""
    if (run / PRIMED).is_file():
        wrong = trunk.load_state_dict(safetensors.torch.load_file(run / PRIMED), strict=False).unexpected_keys
        assert not wrong, f"{PRIMED} holds {wrong}, which this trunk does not have"


def open_table(path: str | Path, encoding: Encoding, host: str | None = None) -> Table:
    return Table.of(StoredSplit.open(path).rows, encoding, host)


def open_rows(run: Path) -> dict[str, np.ndarray | Sizes]:
    """Tokens of each training row of a prepared run, per task that is drawn."""
    recipe, kept = fitted(run), cards_of(run / "cards")
    cards = {card.name: kept[card.name] for use in recipe.tasks for card in tasks_of(kept[use.task])}
    splits = json.loads((run / "prepared.json").read_text())["splits"]
    guests = owners(cards, "rows_of")
    return {name: StoredSplit.open(splits[name]["train"]).sizes for name in cards if name not in guests}


def precision(asked: str) -> str:
    """`auto` is bf16 on a GPU that has it, float32 elsewhere: on most CPUs bf16 is emulated and slow."""
    if asked != "auto":
        return asked
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "float32"


def lineage(recipe: Recipe, cards: Mapping[str, Card], splits: Mapping[str, Mapping[str, str]], *, plain: bool) -> dict[str, Any]:
    """Where a model comes from: its parent (folder, run, hash of its manifest) or None, its data by content, its cards.

    began: the trunk and seed of the first of its line; None unless it is plain: with these the trunk is drawn again as it was.
    """
    parent, aside = None, list[str]()
    began: dict[str, Any] | None = {"trunk": recipe.trunk.model_dump(), "seed": recipe.seed} if plain else None
    if recipe.start is not None:
        folder = recipe.beside(recipe.start.model)
        manifest = (folder / "manifest.json").read_bytes()
        known = json.loads(manifest).get("lineage", {})
        aside = list(dict.fromkeys([*known.get("aside", ()), *recipe.start.aside]))
        began = known.get("began")
        parent = {"model": str(folder), "run_id": known.get("run_id"), "manifest_sha256": hashlib.sha256(manifest).hexdigest()}
    data = {f"{task}/{split}": Path(path).stem for task, own in splits.items() for split, path in own.items()}
    return {
        "parent": parent,
        "began": began,
        "aside": aside,
        "cards": {name: card.fingerprint() for name, card in cards.items()},
        "data": data,
    }


def documents(run: Path) -> dict[str, str]:
    """Recipe and cards as text, to lie in every checkpoint."""
    cards = {f"card-{path.parent.name}.yaml": path.read_text() for path in sorted((run / "cards").glob("*/card.yaml"))}
    return {"recipe.yaml": (run / "recipe.yaml").read_text(), **cards}


def model_config(built: Assembly) -> dict[str, Any]:
    """What a tracker shows as the run's configuration: the recipe with defaults, and each card."""
    return {"recipe": built.recipe.model_dump(), "cards": {name: card.model_dump() for name, card in built.cards.items()}}
