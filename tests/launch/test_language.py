"""The kinds whose targets are the text's own tokens, through a whole run: learned, evaluated, predicted, resumed alike."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

import trunkline
from trunkline.build.evaluation import evaluate_model
from trunkline.errors import ConfigError

TUNES = (("red", "blue", "green", "pink"), ("old", "new", "worn", "used"), ("oak", "elm", "ash", "yew"), ("do", "re", "mi", "fa"))
HEADS = {
    "next": "{kind: causal_language}",
    "both": "{kind: bilm}",
    "odd": "{kind: replaced_token, replace: 0.2, from_row: 0.1}",
    "hidden": "{kind: masked_language}",
}
CARD = """
name: {name}
data: {{format: jsonl, rows: ../rows.jsonl, split: {{by: text, validation: 20, test: 0}}}}
inputs: [text]
head: {head}
"""
RECIPE = """
seed: 3
trunk: {{kind: transformer, hidden_size: 32, layers: 2, heads: 2, dropout: 0.0, architecture: {architecture}}}
tokenizer: {{kind: words}}
tasks: [{tasks}]
optim: {{kind: adamw, lr: 5e-3, head_lr: 1e-2}}
train: {{steps: 80, tokens_per_step: 1200, tokens_per_pass: 1200, max_length: 16, save_every: 60, evaluate_every: 60}}
workers: {{count: 1, cpus: 1}}
"""


def text(tune: tuple[str, ...], first: int, length: int) -> list[str]:
    return [tune[(first + step) % len(tune)] for step in range(length)]


def project(folder: Path, *, architecture: str = "bert", tasks: str = "next, both, odd, hidden") -> Path:
    """A text goes round one of four tunes: who sees one neighbour knows a word."""
    chance = random.Random(0)
    texts = (text(chance.choice(TUNES), chance.randrange(4), chance.randint(4, 12)) for _ in range(200))
    rows = [{"text": " ".join(words)} for words in texts]
    (folder / "tasks").mkdir()
    (folder / "tasks" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, head in HEADS.items():
        (folder / "tasks" / name).mkdir()
        (folder / "tasks" / name / "card.yaml").write_text(CARD.format(name=name, head=head).lstrip())
    recipe = folder / "small.yaml"
    recipe.write_text(RECIPE.format(architecture=architecture, tasks=tasks).lstrip())
    return recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only to be read."""
    return trunkline.train(project(tmp_path_factory.mktemp("language")), in_process=True).run


def test_every_kind_learns_far_more_than_its_baseline(run: Path) -> None:
    found = {row["task"]: row for row in json.loads((run / "result.json").read_text())["tasks"]}
    assert {name: row["metric"] for name, row in found.items()} == {
        **dict.fromkeys(("next", "both", "hidden"), "perplexity"),
        "odd": "auroc",
    }
    assert found["next"]["value"] < 0.3 * found["next"]["baseline"]
    assert found["both"]["value"] < 0.3 * found["both"]["baseline"]
    assert found["odd"]["baseline"] == 0.5 and found["odd"]["value"] > 0.65


def test_a_prediction_tells_a_likely_text_from_an_unlikely_one_and_finds_the_odd_word(run: Path) -> None:
    model = trunkline.load(run / "model")
    usual = text(TUNES[1], 2, 8)
    strange = [*usual[:4], "elm", *usual[5:]]
    for task in ("next", "both"):
        likely, unlikely = model.predict(task, [" ".join(usual), " ".join(strange)])
        assert 1 <= likely["perplexity"] < unlikely["perplexity"]
    both = model.predict("both", [" ".join(usual)])[0]
    assert both["perplexity"] ** 2 == pytest.approx(both["next"] * both["previous"], rel=1e-4)
    (found,) = model.predict("odd", [{"text": " ".join(strange)}])
    assert found["tokens"] == strange
    assert max(range(8), key=found["replaced"].__getitem__) == 4
    assert model.predict("next", [""]) == [{"perplexity": None}]


def test_a_model_is_measured_as_the_run_measured_it(run: Path) -> None:
    said: list[str] = []
    rows = evaluate_model(run / "model", tasks=None, split="validation", catalog=None, say=said.append)
    for row, trained in zip(rows, json.loads((run / "result.json").read_text())["tasks"], strict=True):
        assert row["value"] == pytest.approx(trained["value"], rel=1e-4)
        assert row["baseline"] == trained["baseline"]


@pytest.mark.parametrize(("task", "kind"), [("next", "causal_language"), ("both", "bilm")])
def test_a_trunk_that_reads_whole_rows_only_refuses_the_task_before_training(tmp_path: Path, task: str, kind: str) -> None:
    recipe = project(tmp_path, architecture="mpnet", tasks=f"odd, hidden, {task}")
    with pytest.raises(ConfigError, match=rf"small.yaml:2.*task '{task}': {kind} rows are read in one direction.*bert"):
        trunkline.train(recipe, in_process=True)
    assert not list(tmp_path.rglob("checkpoints"))
