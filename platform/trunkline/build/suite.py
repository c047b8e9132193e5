"""`--suite embed`: the file that names sets of words and texts, their rows, and every figure of an embedder on them.

# embed.yaml; tasks are cards, found as a recipe finds them
words: [wordsim]                                # inputs: two words; target: a score
analogies: [{task: google, most: 2000}]         # columns a, b, c, d
sts: [{task: stsb, split: test}]                # inputs: two texts; target: a score
retrieval: [cranfield]                          # input: a query; target: a document that is relevant
clusters: [trec6]                               # input: a text; target: a label
probes: [trec6]                                 # the same, learned on train
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trunkline.build.task import SPLITS, open_source, reading
from trunkline.data.encoding.regression import numbers
from trunkline.document import reader
from trunkline.errors import ConfigError, nearest
from trunkline.quality import suite
from trunkline.quality.suite import Curve, Embedder, Score
from trunkline.quality.words import neighbours
from trunkline.tasks.card import Card
from trunkline.tasks.catalog import Catalog, catalog_for

MEASURES = ("words", "analogies", "sts", "retrieval", "clusters", "probes")
ENTRY = ("task", "split", "most")
ANALOGY = ("a", "b", "c", "d")
MOST = {"analogies": 2000, "clusters": 2000, "probes": 2000}  # rows where an entry says nothing


@dataclass(frozen=True)
class Set:
    """An entry of a suite. split: None takes test, or else validation, or else train. most: rows, evenly spread."""

    measure: str
    card: Card
    catalog: Catalog
    split: str
    most: int | None

    def columns(self, wanted: Sequence[str], split: str | None = None) -> dict[str, list[Any]]:
        """These columns of the split's rows, nulls handled as the card says."""
        found: dict[str, list[Any]] = {name: [] for name in wanted}
        for chunk in open_source(self.card, self.catalog).read(split or self.split):
            picked = reading(self.card).select(chunk, wanted)
            for name in wanted:
                found[name] += picked.columns[name]
        size = len(found[wanted[0]])
        if self.most is None or size <= self.most:
            return found
        kept = np.linspace(0, size - 1, self.most).astype(np.int64)
        return {name: [values[row] for row in kept] for name, values in found.items()}

    def scored_pairs(self) -> tuple[list[tuple[str, str]], np.ndarray]:
        names = (*self._named(2), self._target())
        found = self.columns(names)
        values = numbers(names[2], found[names[2]], lambda row: f"{self.card.name}, row {row}")
        return [(str(a), str(b)) for a, b in zip(found[names[0]], found[names[1]], strict=True)], values

    def labelled(self, split: str | None = None) -> tuple[list[str], list[str]]:
        (text,), label = self._named(1), self._target()
        found = self.columns((text, label), split)
        return [str(value) for value in found[text]], [str(value) for value in found[label]]

    def relevant(self, split: str | None = None) -> list[tuple[str, str]]:
        names = (*self.card.inputs, *([self.card.target] if self.card.target else []))[:2]
        if len(names) != 2:
            raise ConfigError("retrieval needs a query and a relevant document: two columns.", where=self.card.where("inputs"))
        found = self.columns(names, split)
        return [(str(a), str(b)) for a, b in zip(found[names[0]], found[names[1]], strict=True)]

    def _named(self, count: int) -> tuple[str, ...]:
        if len(self.card.inputs) != count:
            raise ConfigError(
                f"`{self.measure}` of a suite reads {count} input column(s), found {len(self.card.inputs)}.",
                where=self.card.where("inputs"),
            )
        return tuple(self.card.inputs)

    def _target(self) -> str:
        if self.card.target is None:
            raise ConfigError(f"`{self.measure}` of a suite needs a target column.", where=self.card.where("target"))
        return self.card.target


def read_suite(path: Path) -> list[Set]:
    """The sets a file names. Raises ConfigError for unknown measures, cards and splits, DataError where rows are missing."""
    data = reader.read(path).data
    sets: list[Set] = []
    stated = {key: value for key, value in data.items() if key not in ("catalog", "schema_version")}
    catalog = catalog_for(path, data.get("catalog"), where=str(path))
    for measure, entries in stated.items():
        if measure not in MEASURES:
            raise ConfigError(f"a suite has no measure '{measure}'. {nearest(str(measure), MEASURES)}", where=str(path))
        if not isinstance(entries, list):
            raise ConfigError(f"{measure}: a list of cards is needed, found {entries!r}.", where=str(path))
        sets += [_entry(measure, entry, catalog, path) for entry in entries]
    if not sets:
        raise ConfigError(f"the suite names no sets. Known: {', '.join(MEASURES)}.", where=str(path))
    return sets


def _entry(measure: str, entry: Any, catalog: Catalog, path: Path) -> Set:
    given: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {"task": entry}
    for key in given:
        if key not in ENTRY:
            raise ConfigError(f"{measure}: an entry takes no '{key}'. {nearest(str(key), ENTRY)}", where=str(path))
    card = catalog.get(str(given.get("task")), where=str(path))
    most = given.get("most", MOST.get(measure))
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 2):
        raise ConfigError(f"{measure}: most is a number of rows from 2 up, found {most!r}.", where=str(path))
    there = open_source(card, catalog).splits()
    split = given.get("split") or next(name for name in reversed(SPLITS) if name in there)
    if split not in there:
        raise ConfigError(f"{card.name} has no split '{split}'. {nearest(str(split), there)}", where=str(path))
    return Set(measure, card, catalog, split, most)


def run_suite(embedder: Embedder, sets: Sequence[Set], *, draws: int, say: Callable[[str], None]) -> dict[str, Any]:
    """scores: a mapping for each figure; curves: name -> what is left at fewer dimensions. Geometry: over all texts."""
    scores: list[Score] = []
    curves: list[Curve] = []
    texts: list[str] = []
    for own in sets:
        found, curve, read = _measured(embedder, own, draws)
        scores += found
        curves += [curve] if curve is not None else []
        texts += read
        say(f"{own.measure} {own.card.name}: " + ", ".join(f"{score.metric} {score.value:.3f}" for score in found))
    scores += suite.geometry(embedder, texts)
    return {"scores": [asdict(score) for score in scores], "curves": {curve.name: list(curve.points) for curve in curves}}


def _measured(embedder: Embedder, own: Set, draws: int) -> tuple[list[Score], Curve | None, list[str]]:
    name = own.card.name
    if own.measure == "analogies":
        found = own.columns(ANALOGY)
        questions = [(str(a), str(b), str(c), str(d)) for a, b, c, d in zip(*(found[part] for part in ANALOGY), strict=True)]
        return suite.word_analogies(name, embedder, questions, draws), None, []
    if own.measure in ("words", "sts"):
        pairs, values = own.scored_pairs()
        measure = suite.word_similarity if own.measure == "words" else suite.text_similarity
        scores, curve = measure(name, embedder, pairs, values, draws)
        return scores, curve, [text for pair in pairs for text in pair] if own.measure == "sts" else []
    if own.measure == "retrieval":
        relevant = own.relevant()
        splits = open_source(own.card, own.catalog).splits()
        corpus = [document for split in splits for _, document in own.relevant(split)]
        return suite.retrieval(name, embedder, relevant, corpus, draws), None, []
    texts, labels = own.labelled()
    if own.measure == "clusters":
        return suite.clusters(name, embedder, texts, labels), None, texts
    return suite.linear_probes(name, embedder, own.labelled("train"), (texts, labels), draws), None, texts


def near_words(embedder: Embedder, words: Sequence[str], sets: Sequence[Set]) -> dict[str, list[tuple[str, float]]]:
    """The ten nearest of each word: of all words of a file of vectors, of those of the suite's word sets with a trunk."""
    if not words:
        return {}
    columns = {"words": 2, "analogies": len(ANALOGY)}
    known = set(words)
    for own in sets:
        names = (ANALOGY if own.measure == "analogies" else own.card.inputs)[: columns.get(own.measure, 0)]
        known |= {str(word) for values in (own.columns(names) if names else {}).values() for word in values}
    lexicon = embedder.vocabulary(sorted(known))
    return {word: neighbours(lexicon, word) for word in words}
