"""A whole run in this process: what it leaves, that it can be killed anywhere, and that what it leaves can be used."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import trunkline
from trunkline import checkpoint
from trunkline.build.assemble import Assembly, assemble
from trunkline.data.packing import pack
from trunkline.data.units import Unit
from trunkline.errors import ClusterError, ConfigError, DataError, IntegrityError, UsageError
from trunkline.launch.runs import RunFolder, RunLock
from trunkline.models.multitask import MultiTask


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def without_times(records: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{k: v for k, v in record.items() if k != "time" and not k.startswith("system/")} for record in records]


def weights(run: Path) -> dict[str, torch.Tensor]:
    restored, passed = checkpoint.newest(run / "checkpoints")
    assert restored is not None and not passed
    return restored.tensors


def test_a_run_leaves_all_that_is_promised(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert {"recipe.yaml", "cards", "tokenizer", "metrics.jsonl", "events.jsonl", "checkpoints", "model", "result.json"} <= names
    result = json.loads((finished / "result.json").read_text())["tasks"]
    assert [row["task"] for row in result] == ["topic", "score", "tags", "answer", "words"]
    assert {row["kind"] for row in result} == {"classification", "regression", "tagging", "contrastive", "masked_language"}
    logged = lines(finished / "metrics.jsonl")
    assert [record["step"] for record in logged if "train/lr" in record] == list(range(1, 21))
    assert {name.split("/")[0] for record in logged for name in record} >= {"train", "weight", "share", "eval", "system"}


def test_training_makes_the_losses_smaller_and_beats_the_baseline_on_what_is_easy(finished: Path) -> None:
    logged = [record for record in lines(finished / "metrics.jsonl") if "train/tags/loss" in record]
    assert float(str(logged[-1]["train/tags/loss"])) < float(str(logged[0]["train/tags/loss"]))
    tags = next(row for row in json.loads((finished / "result.json").read_text())["tasks"] if row["task"] == "tags")
    assert tags["value"] > tags["baseline"]


def test_the_same_recipe_and_seed_give_the_same_numbers_bit_for_bit(finished: Path, recipe: Path) -> None:
    again = trunkline.train(recipe, in_process=True)
    assert without_times(lines(again.run / "metrics.jsonl")) == without_times(lines(finished / "metrics.jsonl"))
    mine, theirs = weights(again.run), weights(finished)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


# In the middle of a step before and after a checkpoint; before the second checkpoint counts; while the first is removed.
CRASHES = ["worker.in_step:3", "worker.in_step:8", "checkpoint.after_rename:2", "checkpoint.during_prune"]


@pytest.mark.parametrize("point", CRASHES)
def test_a_run_killed_anywhere_and_resumed_ends_bit_equal(finished: Path, recipe: Path, point: str) -> None:
    command = [sys.executable, "-m", "trunkline", "train", str(recipe), "--in-process"]
    environment = {**os.environ, "TRUNKLINE_CRASH_AT": point}
    killed = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    assert killed.returncode == -signal.SIGKILL
    resumed = trunkline.train(recipe, resume=True, in_process=True)
    mine, theirs = weights(resumed.run), weights(finished)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert without_times(lines(resumed.run / "metrics.jsonl")) == without_times(lines(finished / "metrics.jsonl"))
    assert lines(resumed.run / "rows.jsonl") == lines(finished / "rows.jsonl")
    kept = sorted(path.name for path in (resumed.run / "checkpoints").iterdir())
    assert kept == sorted(path.name for path in (finished / "checkpoints").iterdir()), "a killed save left something"


def test_an_interrupted_run_says_how_to_go_on(recipe: Path) -> None:
    command = [sys.executable, "-m", "trunkline", "train", str(recipe), "--in-process", "-s", "train.steps=5000"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    outputs = recipe.parent.parent / "outputs"
    deadline = time.time() + 120
    while not list(outputs.glob("*/checkpoints/*/COMMIT")) and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    (run,) = outputs.iterdir()
    assert process.returncode == 130
    assert f"--resume {run.name}" in said and "Traceback" not in said


def test_a_damaged_checkpoint_is_passed_over_and_said(finished: Path, recipe: Path) -> None:
    run = trunkline.train(recipe, in_process=True).run
    (run / "result.json").unlink()
    newest = checkpoint.committed(run / "checkpoints")[0]
    shard = next(newest.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x01")
    trunkline.train(recipe, resume=run.name, in_process=True)
    said = [event for event in lines(run / "events.jsonl") if event["event"] == "checkpoint_passed_over"]
    assert [event["path"] for event in said] == [newest.name]
    mine, theirs = weights(run), weights(finished)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_the_loaded_model_is_the_trained_one_bit_for_bit(finished: Path) -> None:
    model = trunkline.load(finished / "model")
    trained = {name.removeprefix("param/"): t for name, t in weights(finished).items() if name.startswith("param/")}
    loaded = dict(model.network.named_parameters())
    assert loaded.keys() == trained.keys()
    assert all(torch.equal(loaded[name], trained[name]) for name in trained)
    storages = [p.data_ptr() for p in model.network.trunk.parameters()]
    assert len(set(storages)) == len(storages) == len({p.data_ptr() for n, p in loaded.items() if n.startswith("trunk.")})


def outputs_of(network: MultiTask, built: Assembly) -> dict[str, torch.Tensor]:
    """What every head gives on one pack of all tasks."""
    units = [Unit(task, np.arange(4), np.zeros(4, np.int64), 1) for task in built.tables]
    with torch.no_grad():
        return network.eval()(pack(units, built.tables, seed=0))


def test_the_loaded_model_gives_the_trained_one_s_outputs_bit_for_bit_and_a_moved_weight_is_found(finished: Path) -> None:
    built = assemble(finished)
    params = {name.removeprefix("param/"): t for name, t in weights(finished).items() if name.startswith("param/")}
    built.model.load_state_dict(params)
    loaded = trunkline.load(finished / "model").network
    trained, found = outputs_of(built.model, built), outputs_of(loaded, built)
    assert all(torch.equal(trained[task], found[task]) for task in built.tables)
    with torch.no_grad():
        weight = loaded.head("topic").out.weight
        weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0)) + 1e-6
    assert not torch.equal(trained["topic"], outputs_of(loaded, built)["topic"])


def test_a_fresh_process_opens_the_trunk_without_trunkline(finished: Path) -> None:
    script = (
        "import sys, torch; from transformers import AutoModel, AutoTokenizer\n"
        "path, text = sys.argv[1:]\n"
        "model, tokenizer = AutoModel.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)\n"
        "with torch.no_grad(): hidden = model(**tokenizer(text, return_tensors='pt')).last_hidden_state[0].mean(0)\n"
        "assert not any(name.startswith('trunkline') for name in sys.modules)\n"
        "print(hidden.tolist())"
    )
    text = "old river stone"
    command = [sys.executable, "-c", script, str(finished / "model" / "trunk"), text]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    theirs = np.array(json.loads(said.stdout.splitlines()[-1]))
    assert np.allclose(trunkline.load(finished / "model").embed([text])[0], theirs, atol=1e-5)


def test_every_task_answers_rows_in_order(finished: Path) -> None:
    model = trunkline.load(finished / "model")
    texts = ["red river", "old house stone light bread", "wind"]
    both = model.predict("topic", texts)
    assert [model.predict("topic", [text])[0]["label"] for text in texts] == [answer["label"] for answer in both]
    assert len(model.predict("score", [{"text": text} for text in texts])) == 3
    assert [len(answer["tags"]) for answer in model.predict("tags", [{"words": text.split()} for text in texts])] == [2, 5, 1]
    answers = model.predict("answer", [{"text": texts[0], "reply": texts[0]}, {"text": texts[0], "reply": texts[1]}])
    assert answers[0]["similarity"] > answers[1]["similarity"]
    assert len(model.predict("words", texts)) == 3
    assert model.embed(texts).shape == (3, 16)


def test_embeddings_do_not_depend_on_what_else_is_embedded(finished: Path) -> None:
    model = trunkline.load(finished / "model")
    texts = ["red river", "old house stone light bread", "wind", "new paper"]
    assert np.allclose(model.embed(texts), np.concatenate([model.embed([text]) for text in texts]), atol=1e-5)


def test_a_model_with_a_flipped_bit_is_refused(finished: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "model"
    shutil.copytree(finished / "model", copy)
    head = copy / "heads" / "topic" / "head.safetensors"
    head.write_bytes(head.read_bytes()[:-1] + b"\x01")
    with pytest.raises(IntegrityError, match=r"heads/topic/head\.safetensors"):
        trunkline.load(copy)


def test_unknown_tasks_and_missing_columns_are_sentences(finished: Path) -> None:
    model = trunkline.load(finished / "model")
    with pytest.raises(UsageError, match="Did you mean 'topic'"):
        model.predict("topik", ["a"])
    with pytest.raises(DataError, match="row 1: has no 'text'"):
        model.predict("topic", [{"text": "a"}, {"txt": "b"}])
    with pytest.raises(ConfigError, match="no model here"):
        trunkline.load(finished)


def test_nothing_is_left_of_a_run_whose_data_is_wrong(recipe: Path) -> None:
    rows = recipe.parent.parent / "tasks" / "topic" / "rows.jsonl"
    rows.write_text(rows.read_text().replace('"land"', '"lnd"', 1))
    with pytest.raises(DataError, match="land"):
        trunkline.train(recipe, in_process=True)
    assert not list((recipe.parent.parent / "outputs").iterdir())


def test_training_on_what_is_evaluated_is_refused_and_a_partial_leak_is_told(recipe: Path) -> None:
    card = recipe.parent.parent / "tasks" / "topic" / "card.yaml"
    data = "data: {format: jsonl, rows: rows.jsonl, split: {by: text, validation: 25, test: 0}}"
    card.write_text(card.read_text().replace(data, "data: {format: jsonl, train: rows.jsonl, validation: rows.jsonl}"))
    with pytest.raises(DataError, match="every validation row is a training row"):
        trunkline.train(recipe, in_process=True, overrides=["tasks=[topic]"])
    rows = (card.parent / "rows.jsonl").read_text().splitlines(keepends=True)
    new = (
        '{"text": "bread glass wind train old", "words": ["a"], "tags": ["short"], "label": "land", "value": 1.0, "reply": "r"}\n'
    )
    (card.parent / "validation.jsonl").write_text(rows[0] + new)
    card.write_text(card.read_text().replace("validation: rows.jsonl", "validation: validation.jsonl"))
    said: list[str] = []
    trunkline.train(recipe, in_process=True, overrides=["tasks=[topic]", "train.steps=1"], say=said.append)
    assert any("topic: 1 of 2 validation rows read the same as a training row" in line for line in said)


def test_two_processes_never_train_one_run(finished: Path, recipe: Path) -> None:
    with RunLock(RunFolder(finished)), pytest.raises(ClusterError, match="another process"):
        RunLock(RunFolder(finished))


def test_a_recipe_changed_since_the_run_was_started_is_shown_and_refused_unless_kept(finished: Path, recipe: Path) -> None:
    command = [sys.executable, "-m", "trunkline", "train", str(recipe), "--in-process", "-s", "optim.warmup=0.06"]
    environment = {**os.environ, "TRUNKLINE_CRASH_AT": "worker.in_step:8"}
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    kept = recipe.read_text()
    recipe.write_text(f"# a comment\n{kept}".replace("steps: 20", "steps: 30"))
    with pytest.raises(UsageError, match=r"train\.steps 20 -> 30\. A run keeps its recipe: .*--keep-recipe"):
        trunkline.train(recipe, resume=True, in_process=True)
    resumed = trunkline.train(recipe, resume=True, in_process=True, keep_recipe=True)
    mine, theirs = weights(resumed.run), weights(finished)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_resume_says_what_there_is(recipe: Path) -> None:
    with pytest.raises(UsageError, match="nothing to resume"):
        trunkline.train(recipe, resume=True, in_process=True)


def test_the_head_file_holds_one_head_and_the_trunk_file_the_trunk_once(finished: Path) -> None:
    head = safetensors.torch.load_file(finished / "model" / "heads" / "topic" / "head.safetensors")
    assert set(head) == {"out.weight", "out.bias"}
    trunk = safetensors.torch.load_file(finished / "model" / "trunk" / "model.safetensors")
    assert not any("head" in name for name in trunk)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_sharded_run_loses_alike_resumes_and_leaves_the_same_kind_of_model(finished: Path, recipe: Path, stage: int) -> None:
    run = trunkline.train(recipe, in_process=True, overrides=[f"engine.zero_stage={stage}"])
    mine, theirs = (without_times(lines(folder / "metrics.jsonl")) for folder in (run.run, finished))
    for here, there in zip(mine, theirs, strict=True):
        names = [name for name in there if name.endswith("/loss")]
        assert [here[name] for name in names] == pytest.approx([there[name] for name in names], abs=1e-4)
    loaded, reference = (dict(trunkline.load(folder / "model").network.named_parameters()) for folder in (run.run, finished))
    assert loaded.keys() == reference.keys()
    assert all(torch.allclose(loaded[name], reference[name], atol=1e-4) for name in reference)


def test_the_best_checkpoint_outlives_the_newest_ones(recipe: Path) -> None:
    overrides = ["train.evaluate_every=5", "train.keep_last=1", "tasks=[topic]", "optim.lr=1e-9", "optim.head_lr=1e-9"]
    run = trunkline.train(recipe, in_process=True, overrides=overrides).run
    best = json.loads((run / "result.json").read_text())["best"]
    kept = [path.name for path in checkpoint.committed(run / "checkpoints")]
    assert best["step"] == 5, "with nothing learned the first measured step stays the best"
    assert kept == ["step-00000020", "step-00000005"]


def test_a_task_without_validation_rows_is_trained_and_said_not_to_be_measured(recipe: Path) -> None:
    card = recipe.parent.parent / "tasks" / "topic" / "card.yaml"
    card.write_text(card.read_text().replace("rows: rows.jsonl, split: {by: text, validation: 25, test: 0}", "train: rows.jsonl"))
    result = trunkline.train(recipe, in_process=True, overrides=["tasks=[topic, score]", "train.steps=2"])
    topic, score = result.tasks
    assert topic["value"] is None and topic["learned"] is None and score["value"] is not None


def test_an_offline_tracker_run_holds_what_metrics_jsonl_holds(recipe: Path) -> None:
    track = "track.wandb={project: laws, mode: offline}"
    run = trunkline.train(recipe, in_process=True, overrides=[track, "train.steps=6"]).run
    (folder,) = (run / "wandb").glob("offline-run-*")
    (file,) = folder.glob("*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert '"train/global_step"' in said
    for record in lines(run / "metrics.jsonl"):
        for name in record.keys() - {"step", "time"}:
            assert f'"{name}"' in said, name


def test_a_disk_without_room_for_a_checkpoint_costs_the_checkpoint_and_not_the_run(finished: Path, recipe: Path) -> None:
    blocked = """
import sys
from pathlib import Path
from trunkline import checkpoint
from trunkline.cli.app import main
write = checkpoint._write
def refused(path, content):
    if path.parent.name == ".step-00000010.tmp" and path.suffix == ".safetensors":
        Path("/dev/full").write_bytes(content)
    return write(path, content)
checkpoint._write = refused
sys.exit(main(sys.argv[1:]))
"""
    command = [sys.executable, "-c", blocked, "train", str(recipe), "--in-process"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (run,) = (recipe.parent.parent / "outputs").iterdir()
    (failed,) = [event for event in lines(run / "events.jsonl") if event["event"] == "checkpoint_failed"]
    assert failed["step"] == 10 and "No space left" in str(failed["reason"]) and failed["newest"] == ["step-00000005"]
    assert "checkpoint_failed" in done.stderr
    mine, theirs = weights(run), weights(finished)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
