"""A model in use: many requests in one pass are answered as each alone, in order, whatever else is asked beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trunkline
from trunkline import predict
from trunkline.errors import DataError, UsageError
from trunkline.predict import Model

TEXTS = ["red river house", "warm bread", "cold quick slow old new paper glass", "", "river"]
WORDS = [{"words": text.split(), "text": text, "reply": text[::-1]} for text in TEXTS]
ASKED: list[tuple[list[str], Sequence[Any]]] = [
    (["topic", "score"], TEXTS),
    (["score"], TEXTS[1:3]),
    (["tags", "topic", "answer"], WORDS),
    (["words"], TEXTS[:2]),
    (["topic"], TEXTS[::-1]),
    (["topic"], []),
]


@pytest.fixture(scope="module")
def model(small_model: Path) -> Model:
    return trunkline.load(small_model)


def near(one: Any, other: Any) -> bool:
    """Equal within float32 rounding, however deep."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(near(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(near(a, b) for a, b in zip(one, other, strict=True))
    return one == pytest.approx(other, abs=1e-5, rel=1e-5) if isinstance(one, float) else one == other


def as_alone(model: Model) -> bool:
    """The law: of every request, what comes of it among others is what comes of each task and row by itself."""
    together = model.answer([model.prepare(tasks, rows) for tasks, rows in ASKED])
    alone = [{task: model.predict(task, rows) for task in tasks} for tasks, rows in ASKED]
    return near(together, alone)


def test_requests_of_several_tasks_are_answered_together_as_each_alone(model: Model) -> None:
    assert as_alone(model)


def test_answers_given_to_other_rows_than_their_own_are_found(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    right = predict.shared_blocks

    def swapped(*given: Any) -> list[predict.Shared]:
        """The first two rows of every block, where there are several requests."""
        found = right(*given)
        for own in found if len(given[0]) > 1 else ():
            own.block.keyed[:2] = own.block.keyed[:2][::-1].copy()
        return found

    monkeypatch.setattr(predict, "shared_blocks", swapped)
    assert not as_alone(model)


@pytest.fixture
def tokens_seen(model: Model) -> Iterator[list[int]]:
    """How many tokens each pass through the trunk read."""
    seen: list[int] = []
    handle = model.network.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].num_tokens))
    yield seen
    handle.remove()


def test_a_text_that_several_tasks_are_asked_about_goes_through_the_trunk_once(model: Model, tokens_seen: list[int]) -> None:
    model.predict("topic", TEXTS)
    model.answer([model.prepare(["topic", "score"], TEXTS)])
    assert tokens_seen[0] == tokens_seen[1] and len(tokens_seen) == 2
    model.answer([model.prepare(["topic", "tags"], WORDS), model.prepare(["score"], TEXTS)])
    assert tokens_seen[2] == 2 * tokens_seen[0] and len(tokens_seen) == 3
    model.answer([model.prepare(["topic", "words"], TEXTS)])  # hidden tokens are other tokens
    assert tokens_seen[3] == 2 * tokens_seen[0]


def test_a_task_s_vectors_have_unit_length_and_are_those_its_similarity_compares(model: Model) -> None:
    vectors = model.embed(TEXTS[:3], task="answer")
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    (found,) = model.predict("answer", [{"text": TEXTS[0], "reply": TEXTS[2]}])
    assert found["similarity"] == pytest.approx(float(vectors[0] @ vectors[2]), abs=1e-5)
    assert model.embed([], task="answer").shape == (0, model.width)
    with pytest.raises(UsageError, match="makes no vectors of texts"):
        model.embed(TEXTS, task="topic")


def test_a_row_without_its_column_is_named_as_the_caller_calls_it(model: Model) -> None:
    rows = [{"text": "a"}, {"txet": "b"}, {"text": "c"}, {}]
    with pytest.raises(DataError, match=r"row 1: has no 'text'\. Did you mean 'txet'") as raised:
        model.predict("topic", rows)
    assert set(raised.value.rows) == {1, 3}
    with pytest.raises(DataError, match="here:2: column 'text' is no text") as raised:
        model.predict("topic", [{"text": "a"}, {"text": 3}], where=lambda row: f"here:{row + 1}")
    assert set(raised.value.rows) == {1}
