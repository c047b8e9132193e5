"""Tasks of texts that belong together, trained and asked: negatives, scores, groups larger than a pass, vectors cut short."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import trunkline
from small_project import write_project
from trunkline.errors import ConfigError, DataError

LOSS = "{kind: matryoshka, loss: {kind: infonce, group: 24, cached: true}, dims: [16, 4]}"
CARDS = {
    "pairs": f"""
name: pairs
data: {{format: jsonl, rows: rows.jsonl, split: {{by: text, validation: 25, test: 0}}}}
inputs: [text]
target: reply
head: {{kind: contrastive, negatives: wrong, dropout: 0.0}}
loss: {LOSS}
metrics: [retrieval_recall, {{kind: retrieval_ndcg, k: 3}}, alignment, uniformity]
""",
    "alike": """
name: alike
data: {format: jsonl, rows: ../pairs/rows.jsonl, split: {by: text, validation: 21, test: 0}}
inputs: [text, reply]
target: value
head: {kind: contrastive, score_range: [0, 10], dropout: 0.0}
loss: {kind: cosent, group: 4}
""",
}
SETTINGS = ["tasks=[pairs, alike, topic]", "train.steps=4", "train.tokens_per_step=900", "train.tokens_per_pass=120"]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    made = write_project(tmp_path / "project")
    tasks = made.parent.parent / "tasks"
    for name, card in CARDS.items():
        (tasks / name).mkdir()
        (tasks / name / "card.yaml").write_text(card.lstrip())
    rows = [json.loads(line) for line in (tasks / "topic" / "rows.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["wrong"] = [None, "river house", ["cold train", row["reply"]]][number % 3]
    (tasks / "pairs" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return made


def lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_group_larger_than_a_pass_trains_as_it_does_in_one_pass_and_is_asked(recipe: Path) -> None:
    said: list[str] = []
    narrow = trunkline.train(recipe, in_process=True, overrides=SETTINGS, say=said.append)
    wide = trunkline.train(recipe, in_process=True, overrides=[*SETTINGS, "train.tokens_per_pass=900"])
    drawn = [record["rows"]["pairs"] for record in map(json.loads, (narrow.run / "rows.jsonl").read_text().splitlines())
             if "pairs" in record["rows"]]  # fmt: skip
    assert drawn and all(len(rows) % 24 == 0 for rows in drawn)
    for here, there in zip(*(lines(run.run / "metrics.jsonl") for run in (narrow, wide)), strict=True):
        names = [name for name in there if name.endswith("/loss")]
        assert [here[name] for name in names] == pytest.approx([there[name] for name in names], rel=1e-3)
    assert {row["task"]: row["metric"] for row in narrow.tasks} == {
        "pairs": "retrieval_recall",
        "alike": "spearman",
        "topic": "accuracy",
    }
    assert narrow.tasks[0]["metrics"].keys() == {"retrieval_recall", "retrieval_ndcg", "alignment", "uniformity"}
    assert any("negatives like positive dropped: " in line and "without negatives: " in line for line in said)
    model = trunkline.load(narrow.model)
    (pair,) = model.predict("pairs", [{"text": "red river", "reply": "river red"}])
    (alike,) = model.predict("alike", [{"text": "red river", "reply": "red river"}])
    assert -1 <= pair["similarity"] <= 1 and alike["similarity"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("old", "new", "error", "said"),
    [
        ("dims: [16, 4]", "dims: [32, 4]", ConfigError, r"card\.yaml:6:7: loss: dims: the vectors have 16 entries, found 32"),
        ("group: 24", "group: 500", DataError, "task 'pairs': its loss draws 500 rows at a time, and there are"),
        ("group: 24", "group: 100", ConfigError, r"can hold \d+ tokens, above train\.tokens_per_step 900"),
        ("cached: true", "cached: false", ConfigError, r"can hold \d+ tokens, above train\.tokens_per_pass 120"),
        ("negatives: wrong", "negatives: wrnog", DataError, r"no column 'wrnog'\. Did you mean 'wrong'"),
        ("negatives: wrong", "negatives: label2", DataError, "no column 'label2'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_training(
    recipe: Path, old: str, new: str, error: type[Exception], said: str
) -> None:
    card = recipe.parent.parent / "tasks" / "pairs" / "card.yaml"
    assert old in card.read_text()
    card.write_text(card.read_text().replace(old, new))
    with pytest.raises(error, match=said):
        trunkline.train(recipe, in_process=True, overrides=SETTINGS)
    assert not list((recipe.parent.parent / "outputs").iterdir())
