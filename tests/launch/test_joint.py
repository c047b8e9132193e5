"""A joint card: its parts are tasks over the same rows, from the card to predictions merged again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import trunkline
from shared_rows import change, rows, write_joint
from trunkline.batch import Batch
from trunkline.build.assemble import assemble
from trunkline.build.prepare import prepare
from trunkline.build.task import check_task
from trunkline.cli.app import main
from trunkline.config.recipe import load_recipe
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import ConfigError, UsageError
from trunkline.registry import TOKENIZERS
from trunkline.tasks.card import load_card
from trunkline.tasks.catalog import Catalog

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a finished run of the joint task and one that shares its rows. Only to be read."""
    folder = tmp_path_factory.mktemp("joint")
    recipe = write_joint(folder)
    change(folder, "score", "rows_of: topic", "rows_of: talk")
    return trunkline.train(recipe, in_process=True).run


def test_parts_are_tasks_that_share_rows_each_with_the_weight_of_the_card(finished: Path) -> None:
    built = assemble(finished)
    assert list(built.cards) == ["score", "talk_intent", "talk_slots"]
    assert [table.host for table in built.tables.values()] == ["talk_intent", None, "talk_intent"]
    assert built.weighting.coefficients().tolist() == [1.0, 0.25, 0.25]
    assert [card.weight for card in built.cards.values()] == [1.0, 0.5, 0.5]
    tasks = json.loads((finished / "result.json").read_text())["tasks"]
    assert [(row["task"], row["kind"]) for row in tasks][1:] == [("talk_intent", "classification"), ("talk_slots", "tagging")]
    assert all(row["value"] is not None for row in tasks)


def test_a_joint_answer_is_that_of_its_parts_in_one_pass(finished: Path, capsys: Captured, tmp_path: Path) -> None:
    model = trunkline.load(finished / "model")
    asked: list[Any] = [{"words": ["red", "river", "stone"]}, {"words": ["train"]}]
    passes: list[int] = []
    model.network.trunk.register_forward_pre_hook(lambda _, given: passes.append(given[0].num_tokens))
    answers = model.predict("talk", asked)
    assert len(passes) == 1
    assert [list(answer) for answer in answers] == [["intent", "slots"]] * 2
    assert [answer["intent"] for answer in answers] == model.predict("talk_intent", asked)
    assert [answer["slots"] for answer in answers] == model.predict("talk_slots", asked)
    assert [len(answer["slots"]["tags"]) for answer in answers] == [3, 1]
    assert model.predict("talk", ["red river stone", "train"]) == answers
    file = tmp_path / "rows.jsonl"
    file.write_text("red river stone\ntrain\n")
    assert main(["predict", str(finished / "model"), str(file), "--task", "talk"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == answers
    with pytest.raises(UsageError, match=r"no task 'talks'\. Did you mean 'talk'"):
        model.predict("talks", asked)


def test_rows_without_a_word_leave_the_others_answers_alone(finished: Path) -> None:
    model = trunkline.load(finished / "model")
    mixed = model.predict("talk", [{"words": ["red"]}, {"words": ["river", "train"]}])
    assert mixed[1] == model.predict("talk", [{"words": ["river", "train"]}])[0]
    assert model.predict("talk", [{"words": []}])[0]["slots"] == {"tags": []}


def test_a_joint_model_is_measured_part_by_part(finished: Path, capsys: Captured) -> None:
    assert main(["evaluate", str(finished / "model"), "--json"]) == 0
    measured = {row["task"]: row["value"] for row in json.loads(capsys.readouterr().out)}
    for row in json.loads((finished / "result.json").read_text())["tasks"]:
        assert measured[row["task"]] == pytest.approx(row["value"], abs=1e-5)


def test_a_pack_holds_the_rows_once(finished: Path) -> None:
    built = assemble(finished)
    units = built.stream.next_step(1)
    from trunkline.data.dealing import build_step

    batch: Batch = build_step(1, units, built.tables, seed=0, rank=0, world=1, tokens_per_pass=256).batches[0]
    assert not any(part.dummy for part in batch.tasks.values())
    assert batch.num_tokens == sum(unit.tokens for unit in units)


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    made: Tokenizer = TOKENIZERS.get("words")().build(())
    return made


def test_check_new_list_and_show_know_joint_cards(tmp_path: Path, capsys: Captured, words: Tokenizer) -> None:
    place = ["--catalog", str(tmp_path / "tasks")]
    assert main(["task", "new", "order", "--kind", "joint", *place]) == 0
    assert main(["task", "check", "order", *place]) == 0
    said = capsys.readouterr().out
    assert "order_intent: classification, metrics accuracy" in said and "order_slots: tagging, metrics accuracy" in said
    assert main(["task", "list", *place]) == 0
    assert "joint" in capsys.readouterr().out
    assert Catalog([tmp_path / "tasks"]).get("order_slots").target == "tags"
    assert len(check_task(load_card(tmp_path / "tasks" / "order"), None, words)) == 6


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("kind: tagging", "kind: taging", "head.parts.slots.kind: no head named 'taging'. Did you mean 'tagging'?"),
        ("[short, long]", "[short]", "head.parts.slots.labels: a choice needs at least 2 labels, found 1."),
        ("{kind: crf}", "{kind: crv}", "head.parts.slots.loss.kind: no loss named 'crv'. Did you mean 'crf'?"),
        ("{kind: crf}", "{kind: mse}", "head.parts.slots.loss: loss 'mse' does not fit a tagging task."),
        ("target: tags, ", "", "head.parts.slots.target: is missing: the column a tagging task learns."),
        ("slots: {", "Slots: {", "'talk_Slots' is not a task name."),
        ("kind: joint\n", "kind: joint\n  dropout: 0.1\n", "head.dropout: stands in each part of a joint task."),
        ("weight: 0.5", "target: label", "target: stands in each part of a joint task. Move it into head.parts."),
        ("    slots:", "    slot: 3\n    slots:", "head.parts: expected a kind of task for each name"),
        ("kind: tagging, ", "", "head.parts.slots.kind: is missing"),
        (
            "labels: [short, long]",
            "labels: [short, long], dropuot: 1",
            "head.parts.slots.dropuot: head 'tagging' takes no 'dropuot'",
        ),
    ],
)
def test_mistakes_in_a_part_are_told_with_their_place(old: str, new: str, said: str, tmp_path: Path, capsys: Captured) -> None:
    recipe = write_joint(tmp_path)
    change(tmp_path, "talk", old, new)
    assert main(["train", str(recipe), "--in-process", "-s", "tasks=[talk]"]) == 3
    found = capsys.readouterr().err
    assert said in found and "talk/card.yaml:" in found


def test_a_part_may_be_trained_alone_and_none_twice(tmp_path: Path) -> None:
    recipe = write_joint(tmp_path, rows(missing=0.0))
    run = tmp_path / "run"
    run.mkdir()
    prepare(load_recipe(recipe, ["tasks=[talk_slots]"]), run, tmp_path / "store", lambda _: None)
    assert list(assemble(run).cards) == ["talk_slots"]
    with pytest.raises(ConfigError, match="task 'talk_slots' stands twice in the recipe"):
        prepare(load_recipe(recipe, ["tasks=[talk, talk_slots]"]), run, tmp_path / "store", lambda _: None)
