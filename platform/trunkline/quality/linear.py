"""What a user would try first: a linear model over TF-IDF of the same rows (scikit-learn)."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from trunkline.data.rows import Ragged, Rows
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import MissingExtra

ABSENT = -30.0  # log-probability of a class that no training row has


def linear(train: Rows, evaluated: Rows, tokenizer: Tokenizer, num_labels: int | None) -> np.ndarray | None:
    """What a linear model over words and pairs of words gives for the evaluated rows, in the form of the kind's head.

    Rows are read as the trunk reads them, cut at max_length. Targets `labels` [n]: logistic regression, log-probabilities
    [n, C]; `label_set` [n, C]: one for each label, logits; `target` [n]: ridge regression. None for other targets. Raises
    MissingExtra without scikit-learn. Words count by 1 + ln(count), rows are scaled to length 1, C = 10 (ridge: 1).
    """
    name = next((name for name in ("labels", "label_set", "target") if isinstance(train.targets.get(name), np.ndarray)), None)
    seen = train.targets[name] if name else None
    if seen is None or isinstance(seen, Ragged) or (name == "target" and seen.ndim != 1) or len(seen) != len(train):
        return None
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import Ridge
    except ImportError as error:
        raise MissingExtra("scikit-learn", "judge") from error
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=1, token_pattern=r"(?u)\w+|[^\w\s]", dtype=np.float32)
    known, asked = words.fit_transform(texts(train, tokenizer)), words.transform(texts(evaluated, tokenizer))
    if name == "target":
        return np.asarray(Ridge(alpha=1.0, solver="sparse_cg", random_state=0).fit(known, seen).predict(asked), np.float32)
    if name == "labels":
        return _classes(known, seen.astype(np.int64), asked, num_labels or int(seen.max()) + 1)
    return np.stack([_odds(known, seen[:, label], asked) for label in range(seen.shape[1])], axis=1)


def texts(rows: Rows, tokenizer: Tokenizer) -> list[str]:
    """The rows as text again, without special tokens; of a pair both texts."""
    bounds = rows.tokens.starts.tolist()
    values = rows.tokens.values.tolist()
    return [tokenizer.decode(values[start:stop]) for start, stop in itertools.pairwise(bounds)]


def _classes(known: Any, seen: np.ndarray, asked: Any, num_labels: int) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    found = np.full((asked.shape[0], num_labels), ABSENT, np.float32)
    there = np.unique(seen)
    if len(there) == 1:
        found[:, there] = 0.0
        return found
    model = LogisticRegression(C=10.0, max_iter=200, random_state=0).fit(known, seen)
    found[:, model.classes_] = np.log(np.maximum(model.predict_proba(asked), np.exp(ABSENT)))
    return found


def _odds(known: Any, seen: np.ndarray, asked: Any) -> np.ndarray:
    shares = _classes(known, seen.astype(np.int64), asked, 2)
    return shares[:, 1] - shares[:, 0]
