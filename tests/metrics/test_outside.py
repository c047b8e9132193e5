"""Every metric against someone else's: scikit-learn, scipy, trec_eval, nervaluate, sacrebleu, torchmetrics. With ties, a class
that is absent, classes that nobody predicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
import pytrec_eval
import sacrebleu
import torch
from scipy import stats
from scipy.spatial.distance import pdist
from sklearn import metrics as theirs

from trunkline.metrics import METRICS as TABLE
from trunkline.registry import METRICS

CASES = ["plain", "ties", "one class absent", "one class never predicted", "all one prediction", "three rows"]


def case(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """logits [n, 4], prediction [n], target [n]."""
    rng = np.random.default_rng(CASES.index(name))
    size = 3 if name == "three rows" else 101
    scores, target = rng.normal(size=(size, 4)), rng.integers(0, 4, size)
    if name == "ties":
        scores = np.round(scores)
    if name == "one class absent":
        target = np.where(target == 2, 1, target)
    if name == "one class never predicted":
        scores[:, 3] = -20
    if name == "all one prediction":
        scores = np.tile([0.0, 1.0, 0.5, -1.0], (size, 1))
    if name == "three rows":
        target = np.array([0, 1, 0])
    return scores.astype(np.float32), scores.astype(np.float32).argmax(1), target


def shares(scores: np.ndarray) -> np.ndarray:
    grown = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


def rest(target: np.ndarray, scores: np.ndarray, figure) -> float:
    """The mean over classes that some rows have and some lack, each against the rest; ties are ties."""
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    logged = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    known = [c for c in range(scores.shape[1]) if 0 < (target == c).sum() < len(target)]
    return float(np.mean([figure(target == c, logged[:, c]) for c in known]))


OF_LABELS = {
    "accuracy": lambda s, p, t: theirs.accuracy_score(t, p),
    "macro_f1": lambda s, p, t: theirs.f1_score(t, p, average="macro", zero_division=0),
    "micro_f1": lambda s, p, t: theirs.f1_score(t, p, average="micro"),
    "mcc": lambda s, p, t: theirs.matthews_corrcoef(t, p),
    "log_loss": lambda s, p, t: theirs.log_loss(t, shares(s), labels=range(4)),
    "auroc": lambda s, p, t: rest(t, s, theirs.roc_auc_score),
    "mean_average_precision": lambda s, p, t: rest(t, s, theirs.average_precision_score),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("metric", OF_LABELS)
def test_a_metric_of_labels_is_scikit_learn_s(metric: str, name: str) -> None:
    scores, prediction, target = case(name)
    found = METRICS.get(metric)()
    given = {"scores": scores, "prediction": prediction, "target": target}
    value = found.value(**{key: given[key] for key in found.needs})
    assert value == pytest.approx(OF_LABELS[metric](scores, prediction, target), abs=1e-9)


OF_SETS = {
    "micro_f1": lambda s, p, t: theirs.f1_score(t, p, average="micro", zero_division=0),
    "jaccard": lambda s, p, t: theirs.jaccard_score(t, p, average="samples", zero_division=1),
    "auroc": lambda s, p, t: np.mean([theirs.roc_auc_score(t[:, c], s[:, c]) for c in range(3)]),
    "mean_average_precision": lambda s, p, t: np.mean([theirs.average_precision_score(t[:, c], s[:, c]) for c in range(3)]),
}


@pytest.mark.parametrize("metric", OF_SETS)
def test_a_metric_of_sets_is_scikit_learn_s_with_a_label_that_nobody_has(metric: str) -> None:
    rng = np.random.default_rng(9)
    target, scores = rng.integers(0, 2, (60, 4)).astype(np.uint8), np.round(rng.normal(size=(60, 4)), 1).astype(np.float32)
    target[:, 3] = 0
    prediction = (scores > 0).astype(np.uint8)
    given = {"scores": scores, "prediction": prediction, "target": target}
    found = METRICS.get(metric)()
    assert found.value(**{key: given[key] for key in found.needs}) == pytest.approx(OF_SETS[metric](scores, prediction, target))


OF_NUMBERS = {
    "mse": theirs.mean_squared_error,
    "mae": theirs.mean_absolute_error,
    "r2": theirs.r2_score,
    "pearson": lambda t, p: stats.pearsonr(t, p).statistic,
    "spearman": lambda t, p: stats.spearmanr(t, p).statistic,
}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("metric", OF_NUMBERS)
def test_a_metric_of_numbers_is_scikit_learn_s_or_scipy_s(metric: str, ties: bool) -> None:
    rng = np.random.default_rng(4)
    target = rng.normal(size=80)
    prediction = target + rng.normal(size=80)
    if ties:
        target, prediction = np.round(target), np.round(prediction)
    value = METRICS.get(metric)().value(prediction=prediction.astype(np.float32), target=target.astype(np.float32))
    wide = target.astype(np.float32).astype(np.float64), prediction.astype(np.float32).astype(np.float64)
    assert value == pytest.approx(OF_NUMBERS[metric](*wide), abs=1e-6)


Records = dict[str, np.ndarray]
TEXTS = ["the old red house", "a red river", "old house", "the river", "red"]


def boxed(lists: Iterable[object]) -> np.ndarray:
    made = list(lists)
    found = np.empty(len(made), object)
    found[:] = made
    return found


def logits(rng: np.random.Generator) -> Records:
    scores = np.round(rng.normal(size=(90, 4)), 1)
    target = np.where(rng.random(90) < 0.5, scores.argmax(1), rng.integers(0, 3, 90))  # hardly any of the last class
    loss = torch.nn.functional.cross_entropy(torch.tensor(scores), torch.tensor(target), reduction="none")
    return {"scores": scores, "prediction": scores.argmax(1), "target": target, "loss": loss.numpy()}


def tagged(rng: np.random.Generator) -> Records:
    names = np.array(["O", "B-A", "I-A", "B-B", "I-B"])
    place = np.concatenate([np.arange(size) for size in rng.integers(1, 9, 20)])
    tag = rng.choice(names, len(place))
    return {
        "place": place,
        "tag": tag,
        "predicted_tag": np.where(rng.random(len(place)) < 0.4, rng.choice(names, len(place)), tag),
    }


def lists(rng: np.random.Generator) -> Records:
    sizes = rng.integers(2, 30, 15)
    scores = boxed(rng.permutation(size).astype(np.float64) for size in sizes)
    return {"scores": scores, "grades": boxed(np.append(rng.integers(0, 2, size - 1), 1) for size in sizes)}


def vectors(rng: np.random.Generator) -> Records:
    query, candidate = (made / np.linalg.norm(made, axis=1, keepdims=True) for made in rng.normal(size=(2, 40, 5)))
    key = rng.permutation(40)
    return {"query": query.astype(np.float32), "candidate": candidate.astype(np.float32), "key": key, "query_key": key + 100}


def texts(rng: np.random.Generator) -> Records:
    text, reference = rng.choice(TEXTS, (2, 30)).astype(object)
    return {"text": text, "reference": reference, "place": np.zeros(30, np.int64)}


def answers(rng: np.random.Generator) -> Records:
    right = boxed(tuple(rng.choice(TEXTS, 2).tolist()) for _ in range(30))
    return {"answer": rng.choice(TEXTS, 30).astype(object), "answers": right}


def trec(figure: str) -> Callable[[Records], float]:
    """trec_eval's over lists of graded candidates."""

    def of(given: Records) -> float:
        pairs = list(zip(given["scores"], given["grades"], strict=True))
        told = {f"q{q}": {f"d{d}": int(grade) for d, grade in enumerate(grades)} for q, (_, grades) in enumerate(pairs)}
        run = {f"q{q}": {f"d{d}": float(score) for d, score in enumerate(scores)} for q, (scores, _) in enumerate(pairs)}
        found = pytrec_eval.RelevanceEvaluator(told, {figure}).evaluate(run)
        return float(np.mean([own[figure.replace(".", "_")] for own in found.values()]))

    return of


def retrieved(figure: str) -> Callable[[Records], float]:
    """The same of every query against all candidates, its own the only right one."""

    def of(given: Records) -> float:
        scores = given["query"].astype(np.float64) @ given["candidate"].astype(np.float64).T
        return trec(figure)({"scores": boxed(scores), "grades": boxed(np.eye(len(scores)))})

    return of


def strict_f1(given: Records) -> float:
    from nervaluate import Evaluator

    starts = np.flatnonzero(given["place"] == 0)[1:]
    true, predicted = ([own.tolist() for own in np.split(given[name], starts)] for name in ("tag", "predicted_tag"))
    return float(Evaluator(true, predicted, tags=["A", "B"], loader="list").evaluate()["overall"]["strict"].f1)


def squad(figure: str) -> Callable[[Records], float]:
    from torchmetrics.functional.text import squad as official

    def of(given: Records) -> float:
        said = [{"id": str(row), "prediction_text": text} for row, text in enumerate(given["answer"])]
        right = [
            {"id": str(r), "answers": {"text": [*own], "answer_start": [0] * len(own)}} for r, own in enumerate(given["answers"])
        ]
        return float(official(said, right)[figure]) / 100

    return of


def calibration(given: Records) -> float:
    from torchmetrics.functional.classification import multiclass_calibration_error

    shown = torch.tensor(given["scores"]).softmax(1)
    return float(multiclass_calibration_error(shown, torch.tensor(given["target"]), num_classes=4, n_bins=15, norm="l1"))


def perplexity(given: Records) -> float:
    from torchmetrics.functional.text import perplexity as theirs_of

    return float(theirs_of(torch.tensor(given["scores"])[None], torch.tensor(given["target"])[None]))


def uniformity(given: Records) -> float:
    return float(np.mean([np.log(np.exp(-2 * pdist(given[name], "sqeuclidean")).mean()) for name in ("query", "candidate")]))


OF_THE_REST: dict[str, tuple[Callable[[np.random.Generator], Records], Callable[[Records], float], dict[str, object]]] = {
    "calibration_error": (logits, calibration, {}),
    "span_f1": (tagged, strict_f1, {}),
    "exact_match": (answers, squad("exact_match"), {}),
    "answer_f1": (answers, squad("f1"), {}),
    "retrieval_recall": (vectors, retrieved("recall.5"), {"k": 5}),
    "retrieval_mrr": (vectors, retrieved("recip_rank"), {}),
    "retrieval_ndcg": (vectors, retrieved("ndcg_cut.10"), {}),
    "alignment": (vectors, lambda g: theirs.mean_squared_error(g["query"], g["candidate"]) * g["query"].shape[1], {}),
    "uniformity": (vectors, uniformity, {}),
    "map": (lists, trec("map"), {}),
    "mrr": (lists, trec("recip_rank"), {}),
    "ndcg": (lists, trec("ndcg_cut.10"), {}),
    "recall_at_k": (lists, trec("recall.5"), {"k": 5}),
    "perplexity": (logits, perplexity, {}),
    "masked_accuracy": (logits, lambda g: theirs.accuracy_score(g["target"], g["prediction"]), {}),
    "bleu": (texts, lambda g: sacrebleu.corpus_bleu(g["text"].tolist(), [g["reference"].tolist()]).score, {}),
    "chrf": (texts, lambda g: sacrebleu.corpus_chrf(g["text"].tolist(), [g["reference"].tolist()]).score, {}),
    "text_match": (texts, lambda g: theirs.accuracy_score(g["reference"].tolist(), g["text"].tolist()), {}),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("metric", OF_THE_REST)
def test_a_metric_is_someone_else_s(metric: str, seed: int) -> None:
    make, outside, settings = OF_THE_REST[metric]
    given = make(np.random.default_rng(seed))
    found = METRICS.get(metric)(**settings)
    value = found.value(**{name: given[name] for name in found.needs})
    assert value == pytest.approx(outside(given), rel=1e-5) and 0 < abs(value) != found.best


def unheld(names: Iterable[str]) -> set[str]:
    """Metrics that nobody else's is held against."""
    return set(names) - {*OF_LABELS, *OF_SETS, *OF_NUMBERS, *OF_THE_REST}


def test_no_metric_is_without_an_outside_check_and_a_new_one_would_be_told() -> None:
    assert not unheld(TABLE) and unheld([*TABLE, "made_up"]) == {"made_up"}
    assert not {*OF_LABELS, *OF_SETS, *OF_NUMBERS, *OF_THE_REST} - set(TABLE)


def test_a_wrong_figure_is_rejected() -> None:
    _scores, prediction, target = case("one class absent")
    plain = theirs.f1_score(target, prediction, average="macro", labels=range(4), zero_division=0)
    weighted = theirs.f1_score(target, prediction, average="weighted", zero_division=0)
    assert METRICS.get("macro_f1")().value(prediction=prediction, target=target) not in (pytest.approx(weighted), 2 * plain)
