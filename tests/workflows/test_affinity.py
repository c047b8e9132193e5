"""A constructed conflict: opposed tasks, duplicates and a stranger are what the figures say they are."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from small_project import write_project
from trunkline.cli.app import main

TASKS = ("up", "down", "same", "other")
RECIPE = """
seed: 3
trunk: {kind: transformer, hidden_size: 64, layers: 1, heads: 2, dropout: 0.0}
tokenizer: {kind: words, vocab_size: 60}
tasks: [up, down, same, other]
optim: {kind: adamw, lr: 1e-4}
train: {steps: 8, tokens_per_step: 4096, max_length: 16}
"""


def conflict(folder: Path) -> Path:
    """Rows whose first word says `up`, its opposite `down` and its double `same`; another word says `other`, on its own."""
    chance = random.Random(0)
    rows = []
    for number in range(240):
        one, two = number % 2, number // 2 % 2
        words = [
            ("red", "blue")[one],
            ("river", "house")[two],
            *chance.sample(["small", "old", "new", "warm", "quick", "slow"], 3),
        ]
        rows.append(
            {"text": " ".join(words), "up": 1.0 - 2 * one, "down": 2.0 * one - 1, "same": 1.0 - 2 * one, "other": 1.0 - 2 * two}
        )
    for task in TASKS:
        place = folder / "tasks" / task
        place.mkdir(parents=True)
        head = "" if task in ("up", "other") else "head_of: up\n"
        (place / "card.yaml").write_text(
            f"name: {task}\ndata: {{format: jsonl, train: ../rows.jsonl}}\ninputs: [text]\ntarget: {task}\n"
            f"head: {{kind: regression, pooling: mean, dropout: 0.0}}\n{head}"
        )
    (folder / "tasks" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipes").mkdir()
    (folder / "recipes" / "conflict.yaml").write_text(RECIPE.lstrip())
    return folder / "recipes" / "conflict.yaml"


def test_opposed_tasks_are_separated_duplicates_stay_together_and_strangers_are_at_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = conflict(tmp_path)
    assert main(["affinity", str(recipe), "--steps", "6", "--every", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tasks"] == list(TASKS)
    cosine = {(a, b): found["cosine"][i][j] for i, a in enumerate(TASKS) for j, b in enumerate(TASKS)}
    # Rows drawn by lot are not the same for all, so that the figures are not the constructed ones of test_interference.py.
    assert cosine["up", "down"] < -0.1 and cosine["same", "down"] < -0.1 and cosine["up", "same"] > 0.5
    for task in ("up", "down", "same"):
        assert cosine[task, "other"] == pytest.approx(0, abs=0.1)
    ahead = {(a, b): found["lookahead"][i][j] for i, a in enumerate(TASKS) for j, b in enumerate(TASKS)}
    assert ahead["up", "same"] > 0 > ahead["up", "down"] and ahead["down", "up"] < 0
    # Opposed tasks pull along the same directions; the stranger's are its own.
    shared = {(a, b): found["shared"][i][j] for i, a in enumerate(TASKS) for j, b in enumerate(TASKS)}
    assert min(shared["up", "down"], shared["up", "same"]) > 3 * max(shared["up", "other"], shared["down", "other"])
    assert shared["up", "up"] == pytest.approx(1) and shared["up", "down"] == pytest.approx(shared["down", "up"])
    group = {task: number for number, tasks in enumerate(found["groups"]) for task in tasks}
    assert group["up"] == group["same"] != group["down"]
    assert found["proposals"]["up"].startswith("keep together") and "cosine" in found["proposals"]["down"]
    assert not (tmp_path / "outputs").exists()


def test_one_task_or_a_trunk_whose_layers_do_not_fit_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = conflict(tmp_path)
    assert main(["affinity", str(recipe), "-s", "tasks=[up]", "--steps", "1"]) == 3
    assert "-s tasks=[up]: tasks: affinity is between tasks, and there is one. Add a task." in capsys.readouterr().err
    assert main(["affinity", str(recipe), "-s", "train.probes=['*.layer.7.*']", "--steps", "1"]) == 3
    assert "Say train.probes" in capsys.readouterr().err


def test_a_loss_that_can_be_below_0_has_no_lookahead_and_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = write_project(tmp_path)
    card = tmp_path / "tasks" / "score" / "card.yaml"
    card.write_text(card.read_text() + "loss: heteroscedastic\n")
    assert main(["affinity", str(recipe), "-s", "tasks=[topic, score]", "--steps", "1"]) == 3
    assert "tasks: the loss of 'score' may be below 0, and a lookahead is a part of it" in capsys.readouterr().err
