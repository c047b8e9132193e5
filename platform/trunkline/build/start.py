"""What a run with `start:` begins with: a trained model's tokenizer, and its state as the run's checkpoint of step 0."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trunkline import checkpoint
from trunkline.build.finetune import renewed
from trunkline.build.fisher import fisher
from trunkline.build.model import load_model, read_manifest
from trunkline.config.recipe import DEFAULT_KINDS, Recipe
from trunkline.continual.expand import Entries, Growth, expanded
from trunkline.continual.penalties import ANCHOR, FISHER
from trunkline.data.encoding.base import shorten
from trunkline.data.tokenizer import Tokenizer
from trunkline.document import reader
from trunkline.document.schema import Part
from trunkline.errors import ConfigError, IntegrityError, Problems
from trunkline.models.multitask import MultiTask, owner
from trunkline.predict import Model
from trunkline.registry import ENCODINGS
from trunkline.tasks.card import Card, load_card
from trunkline.tasks.catalog import Catalog

Say = Callable[[str], None]


@dataclass(frozen=True)
class Parent:
    """The model a run goes on from. catalog: where the plugins of its tasks are."""

    folder: Path
    manifest: Mapping[str, Any]
    catalog: Catalog

    @classmethod
    def of(cls, recipe: Recipe, catalog: Catalog) -> Parent | None:
        """None for a recipe without `start:`. Raises ConfigError, IntegrityError for a folder that is no whole model."""
        if recipe.start is None:
            return None
        folder = recipe.beside(recipe.start.model)
        try:
            return cls(folder, read_manifest(folder), catalog)
        except (ConfigError, IntegrityError) as error:
            raise type(error)(str(error), where=recipe.where("start")) from error

    @functools.cached_property
    def model(self) -> Model:
        return load_model(self.folder, self.catalog)

    def tokenizer(self, recipe: Recipe) -> Tokenizer:
        """The model's own: none is ever trained again under a trained trunk. Raises ConfigError where another is asked for."""
        known = self.manifest.get("recipe")
        mine = reader.parse(known, "manifest.json: recipe").data.get("tokenizer") if known else None
        asked = recipe.tokenizer.model_dump()
        if mine is not None and asked not in (mine, Part(kind=DEFAULT_KINDS["tokenizer"]).model_dump()):
            raise ConfigError(
                f"the model brings its own tokenizer, {shorten(mine)}, found {shorten(asked)}. Leave the tokenizer out.",
                where=recipe.where("tokenizer"),
            )
        return Tokenizer.load(self.folder / "trunk", max_length=recipe.train.max_length, truncate=recipe.train.truncate)

    def card(self, task: str) -> Card:
        """The card the model was trained with."""
        return load_card(self.folder / "heads" / task / "card.yaml", with_data=False)

    def kept(self, task: str) -> Path | None:
        """Where the tokenizer for an old task's targets lies."""
        return self.folder / "heads" / task if task in self.manifest["tasks"] else None

    def growths(self, cards: Mapping[str, Card]) -> dict[str, Growth]:
        """The tasks of the model whose cards have more labels now. Raises ConfigError that shows every other change."""
        problems, found = Problems(), dict[str, Growth]()
        for name in (name for name in cards if name in self.manifest["tasks"]):
            try:
                growth = compared(cards[name], self.card(name), self.manifest["tasks"][name]["fingerprint"])
            except ConfigError as error:
                problems.add(error)
            else:
                found |= {name: growth} if growth else {}
        problems.raise_if_any()
        return found

    def state(self, model: MultiTask, cards: Mapping[str, Card], recipe: Recipe, store: Path, say: Say) -> Entries:
        """What the run's model starts from, by parameter; where the trunk is anchored, that is noted beside it."""
        start = recipe.start
        assert start is not None
        trained = {**dict(self.model.network.named_parameters()), **self._lent(cards)}
        found = expanded(model, trained, self._moments(trained) if start.moments else {}, self.growths(cards))
        for name in renewed(recipe, model):
            found[name] = {"param": dict(model.named_parameters())[name].detach().clone()}
        if start.anchor is not None:
            matter = fisher(self.model, self.catalog, start.fisher, recipe.seed, store, say) if start.fisher else {}
            for name, entry in found.items():
                if owner(name) is None:
                    entry |= {ANCHOR: entry["param"].clone(), **({FISHER: matter[name]} if matter else {})}
        return found

    def _lent(self, cards: Mapping[str, Card]) -> dict[str, torch.Tensor]:
        """The heads of tasks that use another's, where that task is not in the run: their own from now on."""
        network = self.model.network
        lent = {name: name for name, owner in network.owners.items() if owner != name and name in cards and owner not in cards}
        asked = {name: card.head_of for name, card in cards.items() if card.head_of is not None and card.head_of not in cards}
        lent |= {name: old for name, old in asked.items() if old in network.owners}
        return {
            f"heads.{name}_.{key}": tensor for name, old in lent.items() for key, tensor in network.head(old).named_parameters()
        }

    def _moments(self, trained: Mapping[str, torch.Tensor]) -> Entries:
        """Of the parameters that the last checkpoint of the model's own run holds with the very bits the model has."""
        restored, _ = checkpoint.newest(self.folder.parent / "checkpoints")
        entries: Entries = {}
        for key, tensor in (restored.tensors if restored else {}).items():
            what, _, name = key.partition("/")
            if what not in (ANCHOR, FISHER, "ema"):
                entries.setdefault(name, {})[what] = tensor
        return {name: own for name, own in entries.items() if name in trained and torch.equal(own["param"], trained[name])}


def compared(card: Card, old: Card, fingerprint: str) -> Growth | None:
    """None if the card is the model's, what grew if it has more labels. Raises ConfigError with the difference for all else."""
    if card.fingerprint() == fingerprint:
        return None
    labels, known = card.head_arguments.get("labels"), old.head_arguments.get("labels")
    if isinstance(labels, list) and isinstance(known, list):
        as_before = card.head.model_copy(update={"labels": known})
        same = card.model_copy(update={"head": as_before}).fingerprint() == fingerprint
        if same and set(known) < set(labels):
            return Growth(known, labels)
    raise ConfigError(
        f"'{card.name}' is another task than the model's: {_difference(card, old)}. Give the card a new name, or take back the "
        "old one; labels may only be added.",
        where=card.where("name"),
    )


def _difference(card: Card, old: Card) -> str:
    told = []
    for key, mine, theirs in [
        ("inputs", card.inputs, old.inputs),
        ("target", card.target, old.target),
        ("kind", card.head.kind, old.head.kind),
        ("data.columns", card.data.columns, old.data.columns),
        ("data.lists", card.data.lists, old.data.lists),
    ]:
        if mine != theirs:
            told.append(f"{key} was {shorten(theirs)} and is {shorten(mine)}")
    for key in sorted({*card.head_arguments, *old.head_arguments} & {*ENCODINGS.arguments(card.head.kind)}):
        mine, theirs = card.head_arguments.get(key), old.head_arguments.get(key)
        if mine != theirs and isinstance(mine, list) and isinstance(theirs, list):
            gone, new = [one for one in theirs if one not in mine], [one for one in mine if one not in theirs]
            told.append(f"{key} lost {shorten(gone)}" if gone else f"{key} has another order or new {shorten(new)}")
        elif mine != theirs:
            told.append(f"{key} was {shorten(theirs)} and is {shorten(mine)}")
    return "; ".join(told) or "its columns are read otherwise"


def write_start(run: Path, entries: Entries, parent: Parent) -> None:
    """The checkpoint of step 0, which a first attempt goes on from as any attempt does from its newest."""
    tensors = {f"{key}/{name}": value for name, entry in entries.items() for key, value in entry.items()}
    start = {"start": str(parent.folder), "fresh": [name for name, entry in entries.items() if "step" not in entry]}
    checkpoint.save(run / "checkpoints", 0, tensors, start, {}, rank=0, gather=lambda value: [value])
