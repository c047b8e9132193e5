"""Cards of the kinds become encodings, heads, losses and metrics that fit each other, or are refused with their place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trunkline.batch import RowIndex
from trunkline.build.task import check_task, make_encoding, make_head, make_loss, make_metrics
from trunkline.data.encoding.tagging import Tagging
from trunkline.data.packing import Table, pack
from trunkline.data.tokenizer import Tokenizer
from trunkline.data.units import Unit
from trunkline.data.vocabulary import WordPiece
from trunkline.errors import ConfigError
from trunkline.losses import LOSSES
from trunkline.models.heads.base import Head
from trunkline.registry import ENCODINGS, HEADS, metric_of
from trunkline.tasks.card import Card, load_card

ROWS = [
    {"text": "the cat sat", "label": "a", "labels": ["a", "c"], "value": 1.5, "values": [1, 2], "tags": "B-X I-X O"},
    {"text": "a dog", "label": "b", "labels": [], "value": -2, "values": [0, 4], "tags": "O B-X"},
    {"text": "walk", "label": "c", "labels": ["b"], "value": 0, "values": [3, 3], "tags": "O"},
]
for row, other, wrong in zip(ROWS, ("a cat", "dogs", "on"), ("no", ["x", "y"], None), strict=True):
    row |= {"other": other, "wrong": wrong}
KINDS = {
    "classification": ("label", "{kind: classification, labels: [a, b, c]}"),
    "multilabel": ("labels", "{kind: multilabel, labels: [a, b, c]}"),
    "regression": ("value", "{kind: regression}"),
    "several": ("values", "{kind: regression, names: [up, down]}"),
    "tagging": ("tags", "{kind: tagging, labels: [O, B-X, I-X]}"),
    "pairs": ("other", "{kind: contrastive}"),
    "triplets": ("other", "{kind: contrastive, negatives: wrong}"),
    "scored": ("value", "{kind: contrastive, score_range: [-2, 2]}"),
}
NUMBERS = {"mse", "mae", "huber", "log_cosh", "heteroscedastic"}
FITS = {
    "classification": {"cross_entropy", "focal", "hinge", "binary_cross_entropy"},
    "multilabel": {"binary_cross_entropy", "asymmetric", "soft_margin"},
    "regression": NUMBERS,
    "several": NUMBERS,
    "tagging": {"cross_entropy", "focal", "hinge", "binary_cross_entropy", "crf"},
    "pairs": {"infonce", "cosine", "matryoshka"},
    "triplets": {"infonce", "cosine", "triplet", "matryoshka"},
    "scored": {"cosine", "cosent", "matryoshka"},
}
STATED = {"matryoshka": "{kind: matryoshka, loss: cosine, dims: [8, 4]}"}  # how a loss is stated that can not stand alone


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return WordPiece(vocab_size=80).build([str(row["text"]) for row in ROWS], max_length=16)


def card(folder: Path, kind: str, more: str = "") -> Card:
    target, head = KINDS[kind]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    data = "data: {format: jsonl, train: rows.jsonl, validation: rows.jsonl}"
    inputs = "[text, other]" if kind == "scored" else "[text]"
    (folder / "card.yaml").write_text(f"name: one\n{data}\ninputs: {inputs}\ntarget: {target}\nhead: {head}\n{more}\n")
    return load_card(folder / "card.yaml")


def whole(made: Card, tokenizer: Tokenizer) -> tuple[torch.Tensor, torch.Tensor, Any, Any, Any]:
    """A head's answers on random states, the loss's values, the encoding, the batch's slice and the rows."""
    encoding = make_encoding(made, tokenizer)
    rows = encoding.encode({name: [row[name] for row in ROWS] for name in (*encoding.wanted, *encoding.optional)})
    table = Table(rows, encoding.collate, encoding.dummy())
    batch = pack([Unit("one", np.arange(3), np.zeros(3, np.int64), 0)], {"one": table}, seed=0)
    index: RowIndex = batch.index("one")
    head = make_head(made, 8, encoding).eval()
    hidden = torch.randn(batch.num_tokens, 8)
    part = batch.tasks["one"]
    values = make_loss(made, encoding)(head(hidden, index), part.targets)
    return head.answer(hidden, index), values, encoding, part, rows


@pytest.mark.parametrize(("kind", "loss"), [(kind, loss) for kind, losses in FITS.items() for loss in sorted(losses)])
def test_a_loss_that_fits_gives_one_value_per_target_and_predictions_in_the_users_words(
    kind: str, loss: str, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    answers, values, encoding, part, rows = whole(card(tmp_path, kind, f"loss: {STATED.get(loss, loss)}"), tokenizer)
    assert values.shape == (part.num_targets,) and torch.isfinite(values).all()
    outputs = answers.detach().float().numpy()
    assert len(encoding.decode(outputs, rows)) == 3
    targets = {name: value.numpy() for name, value in part.targets.items()}
    records = encoding.records(outputs, {**targets, **encoding.aside_of(rows, np.arange(3))})
    assert records.keys() == encoding.records_given and {len(value) for value in records.values()} == {part.num_targets}


@pytest.mark.parametrize("kind", sorted(FITS))
def test_every_other_loss_is_refused_with_its_place_and_those_that_fit(kind: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    for loss in sorted(set(LOSSES) - FITS[kind]):
        made = card(tmp_path, kind, f"loss: {loss}")
        with pytest.raises(ConfigError, match=rf"card\.yaml:6:\d+: loss: loss '{loss}' does not fit a \w+ task\.") as caught:
            make_loss(made, make_encoding(made, tokenizer))
        assert str(caught.value).endswith(f"Known: {', '.join(sorted(FITS[kind]))}.")


def test_a_loss_that_matryoshka_applies_must_fit_the_rows_too(tmp_path: Path, tokenizer: Tokenizer) -> None:
    made = card(tmp_path, "pairs", "loss: {kind: matryoshka, loss: cosent, dims: [8]}")
    with pytest.raises(ConfigError, match=r"card\.yaml:6:\d+: loss: loss 'cosent' does not fit a contrastive task\."):
        make_loss(made, make_encoding(made, tokenizer))


@pytest.fixture
def plain_tags() -> Iterator[str]:
    """A third party's head for the encoding of `tagging`, without transitions."""

    class PlainTags(Head):
        def __init__(self, width: int, num_labels: int, follows: object) -> None:
            super().__init__()
            self.out = torch.nn.Linear(width, num_labels)

        def forward(self, hidden: torch.Tensor, rows: RowIndex) -> torch.Tensor:
            return self.out(hidden[rows.positions])

    HEADS.register("plain_tags")(PlainTags)
    ENCODINGS.register("plain_tags")(Tagging)
    yield "plain_tags"
    for registry in (HEADS, ENCODINGS):
        del registry._loaded["plain_tags"], registry._owners["plain_tags"]


def test_a_loss_that_asks_for_what_the_head_does_not_have_does_not_fit(
    tmp_path: Path, tokenizer: Tokenizer, plain_tags: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, plain_tags, ("tags", "{kind: plain_tags, labels: [O, B-X, I-X]}"))
    made = card(tmp_path, plain_tags, "loss: crf")
    with pytest.raises(ConfigError, match="loss 'crf' does not fit a plain_tags task"):
        make_loss(made, make_encoding(made, tokenizer))
    assert make_loss(card(tmp_path, plain_tags, "loss: cross_entropy"), make_encoding(made, tokenizer))


@pytest.mark.parametrize(
    ("kind", "loss", "said"),
    [
        ("classification", "{kind: cross_entropy, class_weights: [1, 2]}", "2 weights stand there, and the task has 3 labels"),
        ("classification", "{kind: focal, class_weights: [1, 2, x]}", "a list of numbers from 0 up"),
        ("multilabel", "{kind: binary_cross_entropy, pos_weights: [1]}", "1 weights stand there, and the task has 3 labels"),
        ("tagging", "{kind: cross_entropy, class_weights: [1, 2]}", "2 weights stand there"),
        ("regression", "{kind: huber, delta: -1}", "delta: a number above 0"),
    ],
)
def test_arguments_that_do_not_fit_the_task_are_told_with_their_place(
    kind: str, loss: str, said: str, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    made = card(tmp_path, kind, f"loss: {loss}")
    with pytest.raises(ConfigError, match=rf"card\.yaml:6:\d+: loss: .*{said}"):
        make_loss(made, make_encoding(made, tokenizer))


@pytest.mark.parametrize(
    ("kind", "metrics"),
    [
        ("classification", "auroc, micro_f1, {kind: calibration_error, num_bins: 10}, mean_average_precision"),
        ("multilabel", "micro_f1, macro_f1, mean_average_precision, jaccard, auroc"),
        ("several", "r2, pearson, mae"),
        ("tagging", "span_f1, micro_f1"),
    ],
)
def test_a_card_with_these_metrics_is_sound_and_a_constant_guess_is_scored(
    kind: str, metrics: str, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    made = card(tmp_path, kind, f"metrics: [{metrics}]")
    check_task(made, None, tokenizer)
    encoding = make_encoding(made, tokenizer)
    rows = encoding.encode({name: [row[name] for row in ROWS] for name in encoding.wanted})
    records = encoding.baseline(rows, rows, np.zeros(3, np.uint64))
    for make in make_metrics(made, encoding).values():
        metric = make()
        metric.update(np.repeat(np.arange(3), rows.counts), **records)
        assert np.isfinite(metric.compute())


@pytest.fixture
def ranked(tmp_path: Path) -> Callable[[str], Card]:
    def write(metrics: str) -> Card:
        row = {"query": "cat", "candidates": ["a", "b"], "grades": [1, 0]}
        (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
        (tmp_path / "card.yaml").write_text(
            "name: one\ndata: {format: jsonl, train: rows.jsonl}\ninputs: [query, candidates]\ntarget: grades\n"
            f"head: {{kind: ranking}}\nmetrics: {metrics}\n"
        )
        return load_card(tmp_path / "card.yaml")

    return write


def test_one_metric_at_several_k_says_which(ranked: Callable[[str], Card], tokenizer: Tokenizer) -> None:
    stated = ranked("[{kind: ndcg, k: 5}, {kind: ndcg, k: 10}, mrr]")
    made = make_metrics(stated, make_encoding(stated, tokenizer))
    assert list(made) == ["ndcg@5", "ndcg@10", "mrr"]
    assert [vars(made[name]())["k"] for name in ("ndcg@5", "ndcg@10")] == [5, 10]
    assert metric_of("ndcg@5") is metric_of("ndcg")


def test_a_metric_that_stands_twice_is_refused_with_its_place(ranked: Callable[[str], Card], tokenizer: Tokenizer) -> None:
    stated = ranked("[mrr, {kind: ndcg, k: 5}, mrr]")
    with pytest.raises(ConfigError, match=r"card.yaml:6:\d+: metrics.2: metric 'mrr' stands twice. Keep one."):
        make_metrics(stated, make_encoding(stated, tokenizer))
