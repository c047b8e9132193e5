"""`trunkline extend` (P8): old parameters, moments and answers, the gate, bad input, killed promotions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import phased
import trunkline
from extended import OLD, answers, extend, hashes, model_of, same_answers
from ranks import Ranks
from trunkline import checkpoint, durable
from trunkline.build.prepare import prepare
from trunkline.build.start import Parent
from trunkline.cli.app import main
from trunkline.config.recipe import load_recipe
from trunkline.continual import expand
from trunkline.launch.restored import by_name
from trunkline.tasks.catalog import Catalog
from trunkline.training.freezing import Freezing
from trunkline.workflows.extend import Job, write_recipe
from trunkline.workflows.lessons import lessons
from trunkline.workflows.line import Line
from trunkline.workflows.strategies import Settings, parsed, planned

# --- before the first step


def started(project: Path, strategy: str = "replay", overrides: tuple[str, ...] = (), name: str = "started") -> Path:
    """The run of an extension as it is before its first step."""
    model = model_of(project)
    manifest = json.loads((model / "manifest.json").read_text())
    job = Job(model, ["answer"], strategy, overrides=overrides)
    plan = planned(parsed(strategy), ["answer"], OLD, Settings())
    recipe = write_recipe(model, manifest, project / "tasks", plan, job, project / ".trunkline" / "extend" / "job")
    run = project / name
    run.mkdir()
    prepare(load_recipe(recipe, overrides), run, project / ".trunkline" / "store", lambda _: None)
    return run


def untouched_law(project: Path, run: Path) -> bool:
    """P8 before the first step: tokenizer, old parameters, moments and step counts are the old run's, bit for bit."""
    restored, _ = checkpoint.newest(model_of(project).parent / "checkpoints")
    assert restored is not None
    before, after = by_name(restored.tensors), phased.state(run, 0)
    same = all(name in after and after[name].keys() == entry.keys() for name, entry in before.items()) and all(
        torch.equal(after[name][key], value) for name, entry in before.items() for key, value in entry.items()
    )
    fresh = all(set(after[name]) == {"param"} for name in after.keys() - before.keys())
    texts = [(place / "tokenizer.json").read_text() for place in (run / "tokenizer", model_of(project) / "trunk")]
    return same and fresh and texts[0] == texts[1]


def test_before_the_first_step_everything_old_is_bit_equal_and_the_new_head_has_no_step(project: Path) -> None:
    run = started(project)
    assert untouched_law(project, run)
    assert any(name.startswith("heads.answer_") for name in phased.state(run, 0))


def test_moments_that_are_reset_are_caught(project: Path) -> None:
    assert not untouched_law(project, started(project, overrides=("start.moments=false",)))


def test_a_head_that_is_drawn_anew_is_caught(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = expand.expanded

    def forgetful(model: Any, old: Any, moments: Any, grown: Any) -> Any:
        return right(model, {name: value for name, value in old.items() if "topic_" not in name}, moments, grown)

    monkeypatch.setattr("trunkline.build.start.expanded", forgetful)
    assert not untouched_law(project, started(project))


def test_a_tokenizer_trained_again_is_caught(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trunkline.registry import TOKENIZERS

    again = TOKENIZERS.get("wordpiece")(vocab_size=120).build(["river stone light old house"] * 9, max_length=16)
    monkeypatch.setattr(Parent, "tokenizer", lambda *_: again)
    assert not untouched_law(project, started(project, strategy="isolate"))


@pytest.mark.parametrize("labels", ["[water, land, fire]", "[fire, land, water]"])
def test_labels_that_grow_keep_the_old_rows(project: Path, labels: str) -> None:
    card = project / "tasks" / "topic" / "card.yaml"
    card.write_text(card.read_text().replace("[water, land]", labels))
    after, names = phased.state(started(project), 0), labels.strip("[]").split(", ")
    restored, _ = checkpoint.newest(model_of(project).parent / "checkpoints")
    assert restored is not None
    for name in ("heads.topic_.out.weight", "heads.topic_.out.bias"):
        old = restored.tensors[f"param/{name}"]
        assert torch.equal(after[name]["param"][[names.index("water"), names.index("land")]], old)
        assert after[name]["param"].shape[0] == 3 and "step" not in after[name]


def renewed_law(project: Path, run: Path) -> bool:
    """The one layer is drawn anew and counts its own steps; all else old stays bit for bit, with its moments."""
    restored, _ = checkpoint.newest(model_of(project).parent / "checkpoints")
    assert restored is not None
    before, after = by_name(restored.tensors), phased.state(run, 0)
    layer = {name for name in before if ".layer.0." in name}
    fresh = all(set(after[name]) == {"param"} for name in layer)
    moved = any(not torch.equal(after[name]["param"], before[name]["param"]) for name in layer)
    still = all(torch.equal(after[name]["exp_avg"], before[name]["exp_avg"]) for name in before.keys() - layer)
    return bool(layer) and fresh and moved and still


def test_a_run_on_a_trained_model_may_draw_its_top_layers_anew(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("finetune={kind: full, fresh_layers: 1}",)
    assert renewed_law(project, started(project, overrides=asked))
    monkeypatch.setattr("trunkline.build.start.renewed", lambda *_: set())
    assert not renewed_law(project, started(project, overrides=asked, name="kept"))


# --- through training


def test_isolate_leaves_old_answers_and_files_bit_equal_and_answers_the_new_task(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = hashes(model_of(project))
    assert extend(project, "--task", "answer", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    new = Path(report["model"])
    assert same_answers(model_of(project), new) and hashes(model_of(project)) == before
    after = hashes(new)
    kept = [name for name in before if name.endswith(".safetensors")]
    assert kept and all(after[name] == before[name] for name in kept)
    assert [(row["change"], row["low"], row["high"]) for row in report["old"]] == [(0.0, 0.0, 0.0)] * 3
    assert "heads/answer/adapter_model.safetensors" in after and list(trunkline.load(new).tasks) == [*OLD, "answer"]
    # The same job again is finished already; the model has the task now.
    assert extend(project, "--task", "answer", "--json") == 0
    assert json.loads(capsys.readouterr().out)["model"] == str(new)
    assert main(["extend", str(new), "--task", "answer", "--in-process"]) == 3
    assert main(["lineage", str(new)]) == 0
    drawn = capsys.readouterr().out
    assert drawn.index("small-") < drawn.index("extend-answer") and "4 tasks" in drawn
    assert main(["lineage", str(new), "--json"]) == 0
    last, first = (entry["scores"] for entry in json.loads(capsys.readouterr().out))
    assert {task: last[task] for task in OLD} == {row["task"]: row["before"] for row in report["old"]}
    assert first.keys() == set(OLD) and last["answer"] == report["new"][0]["value"]
    assert main(["diff", str(model_of(project)), str(new)]) == 0
    told = capsys.readouterr().out
    assert "the same, bit for bit" in told and "only in b: answer" in told and "heads differ" not in told
    assert main(["remove", str(new), "--task", "answer", "--to", str(project / "smaller")]) == 0
    assert same_answers(project / "smaller", new) and list(trunkline.load(project / "smaller").tasks) == OLD


def test_weight_decay_on_frozen_rows_is_caught(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Freezing, "hold", staticmethod(phased._decaying))
    extend(project, "--task", "answer", "--json", "--protect", "*:-100")
    new = Path(json.loads(capsys.readouterr().out)["model"])
    assert not same_answers(model_of(project), new)


def test_replay_keeps_the_promise_or_the_old_model_stays_current(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = project / "models" / "main"
    arguments = ("--task", "answer", "--strategy", "replay", "--rehearse", "20", "--line", str(line), "--json")
    assert extend(project, *arguments, "--protect", "topic:90,*:-100") == 9
    report = json.loads(capsys.readouterr().out)
    assert report["broken"] == ["topic"] and not report["kept"]
    assert hashes(Line(line).current) == hashes(model_of(project))
    # Judged again by another promise: the run is there already.
    assert extend(project, *arguments, "--protect", "*:-100") == 0
    report = json.loads(capsys.readouterr().out)
    assert hashes(Line(line).current) == hashes(Path(report["model"]))
    assert report["forgetting"] is not None and report["cost"]["steps"] == 6
    assert all(report["cost"][f"{of}{what}"] > 0 for of in ("", "parent_") for what in ("rows", "tokens", "seconds"))
    # One trunk of the old and the new: halfway between them.
    both = [str(model_of(project)), report["model"]]
    assert main(["merge", *both, "--to", str(project / "merged")]) == 0
    first, second, between = (dict(trunkline.load(m).network.trunk.named_parameters()) for m in (*both, project / "merged"))
    assert all(torch.allclose(between[name], (first[name] + second[name]) / 2, atol=1e-6) for name in first)
    assert set(trunkline.load(project / "merged").tasks) == {*OLD, "answer"}
    assert main(["merge", *both, "--to", str(project / "merged")]) == 3
    assert main(["rollback", str(line)]) == 0
    assert hashes(Line(line).current) == hashes(model_of(project))
    assert main(["rollback", str(line)]) == 3


# --- bad input


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--task", "topic"], 3, "the model has 'topic' already"),
        (["--task", "anwser"], 3, "Did you mean 'answer'"),
        (["--task", "answer", "--task", "answer"], 2, "named twice"),
        (["--task", "answer", "--protect", "tpoic:-1"], 3, "the model has no task 'tpoic' to protect. Did you mean 'topic'"),
        (["--task", "answer", "--protect", "topic"], 2, "is no promise"),
        (["--task", "answer", "--strategy", "isolat"], 2, "Did you mean 'isolate'"),
        (["--task", "answer", "--strategy", "isolate+replay"], 2, "stands alone"),
        (["--task", "answer", "-s", "trunk={kind: transformer, hidden_size: 32, layers: 1, heads: 2}"], 5, "another trunk"),
        (["--task", "answer", "-s", "tokenizer={kind: wordpiece, vocab_size: 90}"], 3, "the model brings its own tokenizer"),
        (["--task", "answer", "-s", "optm.lr=1"], 3, "optm"),
    ],
)
def test_bad_input_is_a_sentence_and_changes_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    outputs = hashes(project / "outputs")
    assert extend(project, *arguments, "--line", str(project / "line")) == code
    assert said in capsys.readouterr().err
    assert hashes(project / "outputs") == outputs and not (project / "line").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[water, land]", "[water, fire]", "labels lost ['land']"),
        ("[water, land]", "[land, water]", "labels has another order"),
        ("inputs: [text]", "inputs: [reply]", "inputs was ['text'] and is ['reply']"),
    ],
)
def test_an_old_card_that_changed_is_refused_with_the_difference(
    project: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    card, outputs = project / "tasks" / "topic" / "card.yaml", hashes(project / "outputs")
    card.write_text(card.read_text().replace(old, new))
    assert extend(project, "--task", "answer") == 3
    assert said in capsys.readouterr().err
    assert hashes(project / "outputs") == outputs


def test_a_damaged_model_is_refused(project: Path) -> None:
    (model_of(project) / "heads" / "topic" / "head.safetensors").write_bytes(b"no")
    assert extend(project, "--task", "answer") == 5


# --- the line


class Killed(BaseException):
    """As a process that is killed: nothing catches it."""


@pytest.mark.parametrize("point", ["line.before_rename", "line.before_switch", "line.after_switch", "line.during_prune"])
def test_a_promotion_killed_anywhere_leaves_a_whole_current_model(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    def killed(name: str) -> None:
        if name == point:
            raise Killed

    models = []
    for number in range(3):
        models.append(Path(shutil.copytree(model_of(project), tmp_path / f"model{number}")))
        manifest = json.loads((models[-1] / "manifest.json").read_text())
        (models[-1] / "manifest.json").write_text(json.dumps({**manifest, "number": number}))
    line = Line(tmp_path / "line", keep=2)
    for number in range(2):
        line.promote(models[number], str(number))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(durable, "crash_point", killed)
        line.promote(models[2], "2")
    switched = point in ("line.after_switch", "line.during_prune")
    assert hashes(line.current) == hashes(models[2 if switched else 1])
    line.promote(models[2], "2")
    assert hashes(line.current) == hashes(models[2]) and len(line.versions()) <= 3
    assert hashes(line.rollback()) == hashes(models[1])


# --- holding the trunk


def test_an_anchored_trunk_is_held_alike_at_every_zero_stage_and_its_start_lies_in_the_checkpoint(
    project: Path, two_ranks: Ranks
) -> None:
    ends = []
    for stage in (0, 1, 2, 3):
        overrides = (f"engine.zero_stage={stage}", "start.anchor=0.5", "start.fisher=2", "freeze=[]", "train.steps=3")
        run = started(project, "anchor", overrides, name=f"stage{stage}")
        two_ranks(phased.on_rank, str(run), timeout_s=300)
        begun, ended = phased.state(run, 0), phased.state(run, 3)
        trunk = [name for name in ended if name.startswith("trunk.")]
        assert all(torch.equal(ended[name]["anchor"], begun[name]["param"]) for name in trunk)
        assert all(torch.equal(ended[name]["fisher"], begun[name]["fisher"]) for name in trunk)
        ends.append({name: ended[name]["param"] for name in ended})
    for other in ends[1:]:
        assert all(torch.allclose(other[name], ends[0][name], atol=1e-5) for name in other)


def test_distill_holds_the_old_heads_still_and_the_old_answers_closer_than_training_alone(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = {}
    before = hashes(model_of(project))
    old = answers(model_of(project))
    for strategy in ("distill", "anchor"):
        loose = ("--anchor", "1e-9") if strategy == "anchor" else ("--share", "0.7")
        arguments = ("--task", "answer", "--strategy", strategy, *loose, "--json", "--protect", "*:-200", "-s", "optim.lr=2e-2")
        assert main(["extend", str(model_of(project)), "--in-process", "--steps", "30", *arguments]) == 0
        new = Path(json.loads(capsys.readouterr().out)["model"])
        assert list(trunkline.load(new).tasks) == [*OLD, "answer"]
        kept = [name for name in before if name.startswith("heads/") and name.endswith(".safetensors")]
        assert all(hashes(new)[name] == before[name] for name in kept)
        moved[strategy] = float(np.abs(answers(new)["topic"] - old["topic"]).mean())
    assert moved["distill"] < moved["anchor"]


def test_distilling_on_two_ranks_ends_where_one_rank_does(project: Path, two_ranks: Ranks, one_rank: Ranks) -> None:
    """One trunk, held by what the old model says, whoever reads which rows."""
    model, tasks = model_of(project), project / "tasks"
    own = project / ".trunkline" / "extend" / "distilled"
    held = lessons(model, Catalog([tasks]), ["answer"], own / "lessons", lambda _: None)
    plan = planned(["distill"], ["answer"], OLD, Settings(), held)
    manifest = json.loads((model / "manifest.json").read_text())
    recipe = write_recipe(model, manifest, tasks, plan, Job(model, ["answer"], "distill"), own)
    ends = {}
    for name, ranks, overrides in [
        ("one", one_rank, ()),
        ("two", two_ranks, ()),
        ("loose", one_rank, ("sampling=proportional",)),
    ]:
        run = project / name
        run.mkdir()
        prepare(load_recipe(recipe, ("train.steps=4", *overrides)), run, project / ".trunkline" / "store", lambda _: None)
        ranks(phased.on_rank, str(run), timeout_s=300)
        ends[name] = {key: entry["param"] for key, entry in phased.state(run, 4).items()}
    assert all(torch.allclose(ends["one"][name], ends["two"][name], atol=1e-5) for name in ends["one"])
    assert not all(torch.allclose(ends["one"][name], ends["loose"][name], atol=1e-5) for name in ends["one"])
