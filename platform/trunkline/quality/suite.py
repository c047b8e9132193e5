"""The quality of embeddings without training: plain sets of words and texts, an embedder, figures with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from trunkline.errors import DataError
from trunkline.metrics.base import Metric
from trunkline.metrics.bootstrap import Measured, interval
from trunkline.quality.clusters import kmeans, v_measure
from trunkline.quality.geometry import dimension_curve, isotropy
from trunkline.quality.probes import probe
from trunkline.quality.words import Lexicon, analogies, cosines, spelled, unit
from trunkline.registry import METRICS

POSITIVE = 0.8  # of the highest score: pairs that count as the same in meaning, for alignment
GEOMETRY_TEXTS = 2000  # uniformity looks at every pair


class Embedder(Protocol):
    """Whatever turns texts and words into vectors."""

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, D], in order."""
        ...

    def layers(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The same of every layer; a single one where there are none."""
        ...

    def words(self, words: Sequence[str]) -> Lexicon:
        """Those of the words that it has a vector for, spelled as they are asked for."""
        ...

    def vocabulary(self, wanted: Sequence[str]) -> Lexicon:
        """The words an analogy may be answered with: all it knows, or the wanted ones where it knows no list of its own."""
        ...


@dataclass(frozen=True)
class Score:
    """A figure of one set. of: its rows; known: those the embedder could read. low, high: the 95 % interval over rows."""

    name: str
    measure: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    of: int = 0
    known: int = 0


@dataclass(frozen=True)
class Curve:
    """What is left of a set's Spearman correlation when vectors are cut short; see `geometry.dimension_curve`."""

    name: str
    points: Sequence[dict[str, float]]


def judged(name: str, measure: str, metrics: Sequence[str], records: dict[str, np.ndarray], of: int, draws: int) -> list[Score]:
    """The figures of some metrics over records, a row each."""
    size = len(next(iter(records.values())))
    measured = Measured(np.arange(size), records)
    found = []
    for title in metrics:
        metric: Metric = METRICS.get(title)()
        low, high = interval(metric, measured, draws) or (None, None)
        found.append(Score(name, measure, title, measured.value(metric), low, high, of, size))
    return found


def word_similarity(
    name: str, embedder: Embedder, pairs: Sequence[tuple[str, str]], scores: np.ndarray, draws: int
) -> tuple[list[Score], Curve | None]:
    """Cosine of two words against people's scores, over the pairs of which both words are known."""
    lexicon = embedder.words(sorted({word for pair in pairs for word in pair}))
    known = lexicon.number
    there = np.array([a in known and b in known for a, b in pairs], np.bool_)
    if not there.any():
        return [Score(name, "words", "spearman", float("nan"), of=len(pairs))], None
    kept = [pair for pair, own in zip(pairs, there, strict=True) if own]
    first, second = (lexicon.values[[known[pair[side]] for pair in kept]] for side in (0, 1))
    return _of_pairs(name, "words", first, second, scores[there], len(pairs), draws)


def text_similarity(
    name: str, embedder: Embedder, pairs: Sequence[tuple[str, str]], scores: np.ndarray, draws: int
) -> tuple[list[Score], Curve | None]:
    """Cosine of two texts against people's scores (STS), and the mean distance of pairs that score highest."""
    first, second = (embedder.texts([pair[side] for pair in pairs]) for side in (0, 1))
    found, curve = _of_pairs(name, "sts", first, second, scores, len(pairs), draws)
    same = scores >= POSITIVE * scores.max()
    close = METRICS.get("alignment")().value(query=unit(first[same]), candidate=unit(second[same]))
    return [*found, Score(name, "sts", "alignment", close, of=len(pairs), known=int(same.sum()))], curve


def _of_pairs(
    name: str, measure: str, first: np.ndarray, second: np.ndarray, scores: np.ndarray, of: int, draws: int
) -> tuple[list[Score], Curve | None]:
    records = {"prediction": cosines(first, second), "target": scores.astype(np.float64)}
    found = judged(name, measure, ("spearman", "pearson"), records, of, draws)
    size, spearman = len(scores), METRICS.get("spearman")()

    def left(vectors: np.ndarray) -> float:
        return float(spearman.value(prediction=cosines(vectors[:size], vectors[size:]), target=records["target"]))

    return found, Curve(name, dimension_curve(np.concatenate([first, second]), left)) if size > 1 else None


def word_analogies(
    name: str, embedder: Embedder, questions: Sequence[tuple[str, str, str, str]], draws: int, most: int = 100_000
) -> list[Score]:
    """Questions answered right by 3CosAdd and 3CosMul, of those whose words are all known. most: first words of a vocabulary."""
    wanted = sorted({word for question in questions for word in question})
    lexicon = embedder.vocabulary(wanted).first(most)
    found = []
    for title, multiply in (("3cosadd", False), ("3cosmul", True)):
        answer, right = analogies(lexicon, questions, multiply=multiply)
        there = right >= 0
        if not there.any():
            found.append(Score(name, "analogies", title, float("nan"), of=len(questions)))
            continue
        records = {"prediction": answer[there], "target": right[there]}
        (score,) = judged(name, "analogies", ("accuracy",), records, len(questions), draws)
        found.append(Score(name, "analogies", title, score.value, score.low, score.high, score.of, score.known))
    return found


def retrieval(
    name: str, embedder: Embedder, relevant: Sequence[tuple[str, str]], corpus: Sequence[str], draws: int
) -> list[Score]:
    """Every document of the corpus ranked for each query by cosine. relevant: (query, document) pairs."""
    documents = list(dict.fromkeys(corpus))
    place = {text: row for row, text in enumerate(documents)}
    queries = list(dict.fromkeys(query for query, _ in relevant))
    vectors = unit(embedder.texts(documents)).astype(np.float32)
    scores = unit(embedder.texts(queries)).astype(np.float32) @ vectors.T
    grades = np.zeros(scores.shape, np.float32)
    row = {query: number for number, query in enumerate(queries)}
    for query, document in relevant:
        grades[row[query], place[document]] = 1.0
    boxed = {"scores": _boxed(scores), "grades": _boxed(grades)}
    return judged(name, "retrieval", ("ndcg", "map", "mrr", "recall_at_k"), boxed, len(queries), draws)


def _boxed(lists: np.ndarray) -> np.ndarray:
    made = np.empty(len(lists), object)
    made[:] = list(lists)
    return made


def clusters(name: str, embedder: Embedder, texts: Sequence[str], labels: Sequence[str]) -> list[Score]:
    """K-means with as many clusters as labels, against the labels."""
    numbers = np.unique(np.array(labels), return_inverse=True)[1]
    found = v_measure(numbers, kmeans(embedder.texts(texts), int(numbers.max()) + 1))
    return [Score(name, "clusters", metric, value, of=len(texts), known=len(texts)) for metric, value in found.items()]


def linear_probes(
    name: str,
    embedder: Embedder,
    train: tuple[Sequence[str], Sequence[str]],
    asked: tuple[Sequence[str], Sequence[str]],
    draws: int,
) -> list[Score]:
    """Accuracy of a logistic regression on frozen vectors of each layer, from the embeddings (0) up. (texts, labels) each."""
    known = sorted(set(train[1]))
    number = {label: row for row, label in enumerate(known)}
    if len(known) < 2:
        raise DataError(f"a probe needs two labels or more, found {', '.join(known) or 'none'}.", where=name)
    there = [row for row, label in enumerate(asked[1]) if label in number]
    labels, target = (np.array([number[label] for label in own]) for own in (train[1], [asked[1][row] for row in there]))
    size, found = len(train[0]), []
    for layer, vectors in enumerate(embedder.layers([*train[0], *(asked[0][row] for row in there)])):
        logits = probe(vectors[:size], labels, vectors[size:], num_labels=len(known))
        records = {"prediction": logits.argmax(axis=1), "target": target}
        (score,) = judged(name, "probe", ("accuracy",), records, len(asked[0]), draws)
        found.append(Score(name, "probe", f"accuracy, layer {layer}", score.value, score.low, score.high, score.of, score.known))
    return found


def geometry(embedder: Embedder, texts: Sequence[str]) -> list[Score]:
    """Isotropy and uniformity over different texts, evenly spread if they are many."""
    different = list(dict.fromkeys(texts))
    different = different[:: -(-len(different) // GEOMETRY_TEXTS)] if different else []
    if len(different) < 3:
        return []
    vectors = embedder.texts(different)
    number, points = np.arange(len(different)), unit(vectors)
    uniform: Callable[..., float] = METRICS.get("uniformity")().value
    spread = uniform(query=points, candidate=points, key=number, query_key=number)
    figures = {**isotropy(vectors), "uniformity": spread}
    return [
        Score("texts", "geometry", metric, value, of=len(different), known=len(different)) for metric, value in figures.items()
    ]


def looked_up(lexicon: Lexicon, words: Sequence[str]) -> Lexicon:
    """Those of the words that the lexicon has, as they are asked for."""
    known = lexicon.number
    pairs = [(word, known[own]) for word in words if (own := spelled(word, known)) is not None]
    return Lexicon([word for word, _ in pairs], lexicon.values[[row for _, row in pairs]])
