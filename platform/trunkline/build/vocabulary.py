"""Tokenizers made of training texts, once, and kept in the store: the run's, and those that tasks want for their targets."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock

from trunkline.build.sharing import targets_beside
from trunkline.build.task import reading, task_text
from trunkline.config.recipe import Recipe
from trunkline.data.encoding.base import Encoding
from trunkline.data.fingerprint import configuration, digest
from trunkline.data.sources.base import Source, TaskText
from trunkline.data.sources.reading import Reading
from trunkline.data.tokenizer import Tokenizer
from trunkline.data.vocabulary import Vocabulary
from trunkline.registry import TOKENIZERS
from trunkline.tasks.card import Card
from trunkline.tasks.sharing import owners

TOKENIZER_VERSION = 1
Say = Callable[[str], None]


def run_tokenizer(recipe: Recipe, cards: Mapping[str, Card], sources: Mapping[str, Source], store: Path, say: Say) -> Tokenizer:
    """The run's tokenizer, made of the training texts of all its tasks."""
    part, settings = recipe.tokenizer, recipe.train
    vocabulary: Vocabulary = TOKENIZERS.get(part.kind)(**part.arguments)
    texts = [text for name in cards for text in _texts_of(name, cards, sources[name])]
    limits = {"max_length": settings.max_length, "truncate": settings.truncate}
    made = [part.kind, part.arguments]
    return _kept(vocabulary, made, texts, limits, store, lambda: say(f"training a {part.kind} tokenizer"))


def adopt_all(
    encodings: Mapping[str, Encoding], cards: Mapping[str, Card], sources: Mapping[str, Source], store: Path, say: Say
) -> None:
    """Gives every encoding that wants a tokenizer for its targets one made of its own training rows."""
    for name, encoding in encodings.items():
        if (vocabulary := encoding.own_wanted) is not None:
            assert encoding.target is not None
            texts = [TaskText(sources[name], (encoding.target,), _labelled(name, cards))]
            kind = type(vocabulary)
            made = [f"{kind.__module__}.{kind.__qualname__}", configuration(vocabulary)]

            def tell(name: str = name, kind: str = kind.__name__) -> None:
                say(f"training a tokenizer ({kind}) on the targets of {name}")

            encoding.adopt(_kept(vocabulary, made, texts, {}, store, tell))


def _texts_of(name: str, cards: Mapping[str, Card], source: Source) -> list[TaskText]:
    """Each text once: of rows that tasks share the inputs are the host's, and a text to be learned is each task's own."""
    card, whole = cards[name], task_text(cards[name], source)
    if name not in targets_beside(cards):
        return [whole]
    own = [] if name in owners(cards, "rows_of") else [TaskText(source, tuple(card.inputs), whole.reading)]
    return [*own, *(TaskText(source, (column,), _labelled(name, cards)) for column in whole.inputs[len(card.inputs) :])]


def _labelled(name: str, cards: Mapping[str, Card]) -> Reading:
    """How a task's targets are read: where it shares rows, some have none."""
    stated = reading(cards[name])
    return replace(stated, on_null="drop") if name in targets_beside(cards) else stated


def _kept(
    vocabulary: Vocabulary,
    made: list[Any],
    texts: list[TaskText],
    limits: Mapping[str, Any],
    store: Path,
    tell: Callable[[], None],
) -> Tokenizer:
    """The tokenizer from the store; trained, once, if it is not there. made: all that decides it beside the texts."""
    if not vocabulary.needs_texts:
        return vocabulary.build((), **limits)
    read = [[text.source.fingerprint("train"), text.inputs, text.reading.key()] for text in texts]
    folder = store / "tokenizers" / digest([TOKENIZER_VERSION, *made, read])[:20]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder.with_suffix(".lock")):
        if not (folder / "tokenizer.json").is_file():
            tell()
            trained = vocabulary.build(_texts(texts), **limits)
            temporary = folder.with_suffix(".tmp")
            shutil.rmtree(temporary, ignore_errors=True)
            trained.save(temporary)
            os.replace(temporary, folder)
    return Tokenizer.load(folder, **limits)


def _texts(texts: list[TaskText]) -> Iterator[str]:
    for text in texts:
        yield from text.read("train")
