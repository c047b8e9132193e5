"""Settings that are wrong and rows that are strange, beside the table of tests/bad_inputs."""

from __future__ import annotations

import json
import re
import resource
import time
from pathlib import Path
from typing import Any

import pytest

from trunkline.build.prepare import prepare
from trunkline.cli.app import main
from trunkline.config.recipe import load_recipe
from trunkline.data.store import StoredSplit

LINE = "red blue green small large old new warm cold quick slow river house stone light"
WORDS = LINE.split()
ROWS: list[dict[str, Any]] = [
    {
        "text": f"{first} {second} {third}",
        "other": f"{third} {first}",
        "label": "warm" if number % 2 else "cold",
        "value": float(number % 7),
        "tags": ["a", "b", "a"],
    }
    for number, (first, second, third) in enumerate((a, b, c) for a in WORDS for b in WORDS[:4] for c in WORDS[:2])
]
TOPIC = "inputs: [text]\ntarget: label\nhead: {kind: classification, labels: [warm, cold]}"
TAGS = "inputs: [text]\ntarget: tags\nhead: {kind: tagging, labels: [a, b]}"
RECIPE = """
seed: 1
trunk: {kind: transformer, hidden_size: 16, layers: 1, heads: 2}
tokenizer: {kind: wordpiece, vocab_size: 80}
tasks: [one]
sampling: uniform
train: {steps: 2, tokens_per_step: 128, max_length: 16}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tasks/one").mkdir(parents=True)
    Path("recipes").mkdir()
    Path("recipes/r.yaml").write_text(RECIPE.lstrip())
    card(TOPIC)
    rows(ROWS)
    return tmp_path


def card(parts: str, data: str = "format: jsonl, train: rows.jsonl") -> None:
    Path("tasks/one/card.yaml").write_text(f"name: one\ndata: {{{data}}}\n{parts}\n")


def rows(given: list[Any], name: str = "rows.jsonl") -> None:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in given]
    Path("tasks/one", name).write_text("\n".join(lines) + "\n")


def changed(number: int, **values: Any) -> list[dict[str, Any]]:
    return [{**row, **values} if place == number else row for place, row in enumerate(ROWS)]


def prepared(*overrides: str) -> tuple[list[str], StoredSplit]:
    """What preparing the run said, and its stored training rows."""
    said: list[str] = []
    Path("run").mkdir(exist_ok=True)
    prepare(load_recipe(Path("recipes/r.yaml"), list(overrides)), Path("run"), Path("store"), said.append)
    return said, StoredSplit.open(json.loads(Path("run/prepared.json").read_text())["splits"]["one"]["train"])


SAMPLINGS = {
    "{kind: expression, rates: {one: sqr(size)}}": r"sampling\.rates\.one: a formula has no 'sqr\(\)'\. Did you mean 'sqrt'",
    "{kind: expression, rates: {on: size}}": r"sampling\.rates: the recipe has no task 'on'\. Did you mean 'one'",
    "{kind: sequential, phases: [{tasks: [oen], share: 1}]}": r"sampling\.phases\.0\.tasks: the recipe has no task 'oen'",
    "{kind: temperature, temperature: -1}": r"sampling\.temperature: must be above 0, found -1",
    "{kind: mixture, mixtures: {top: {of: [one, low]}, low: {of: [top]}}}": r"sampling\.mixtures\.top: a mixture contains",
    "{kind: mixture, mixtures: {top: {of: [one], kind: temperature, cap: 0}}}": r"sampling\.mixtures\.top\.cap: must be",
    "{kind: block, of: {kind: explicit, rates: {one: -1}}}": r"sampling\.of\.rates: must be at least 0",
    "{kind: gap, scores: {one: 0}}": r"sampling\.scores\.one: must be a finite number, not 0",
    "{kind: exp3, floor: 2}": r"sampling\.floor: must be a number from 0 to 1, found 2",
    "{kind: gap, scores: {one: 0.5}}": r"sampling: 'gap' learns from evaluations during training\. Give train\.evaluate_every",
    "exp3": r"sampling: 'exp3' learns from evaluations",
    "{kind: block, of: ucb1}": r"sampling: 'block' learns from evaluations",
    "{kind: mixture, mixtures: {top: {of: [one], kind: exp3}}}": r"sampling: 'mixture' learns from evaluations",
    "{kind: explicit, rates: {one: 0}}": r"sampling\.rates: must be at least 0 and not all 0",
}


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_wrong_sampling_ends_with_3_at_its_line_before_a_row_is_read(sampling, project, capsys):
    Path("recipes/r.yaml").write_text(RECIPE.lstrip().replace("sampling: uniform", f"sampling: {sampling}"))
    Path("tasks/one/rows.jsonl").write_text("no row is read")
    assert main(["train", "recipes/r.yaml", "--in-process"]) == 3
    assert re.match(rf"error: recipes/r\.yaml:5:\d+: {SAMPLINGS[sampling]}", capsys.readouterr().err)
    assert not Path(".trunkline", "store").exists()


LIVES = {
    "{task: one, start: 0.6, stop: 0.5}": r"tasks\.0\.stop: 0\.5 of the run is not after start, 0\.6",
    "{task: one, min_share: 0.6, max_share: 0.5}": r"tasks\.0\.max_share: 0\.5 is below min_share",
    "{task: one, max_share: 0.5}": r"tasks: their max_share add up to 0\.5, below 1",
    "{task: one, patience: 0}": r"tasks\.0\.patience: must be above 0, found 0",
    "{task: one, patience: 2}": r"tasks\.0\.patience: asks for evaluations during training\. Give train\.evaluate_every",
    "{task: one, strat: 0.1}": r"tasks\.0\.strat: .*Did you mean 'start'",
}


@pytest.mark.parametrize("life", LIVES)
def test_a_task_whose_life_can_not_be_ends_with_3_at_its_line_before_a_row_is_read(life, project, capsys):
    Path("recipes/r.yaml").write_text(RECIPE.lstrip().replace("tasks: [one]", f"tasks: [{life}]"))
    Path("tasks/one/rows.jsonl").write_text("no row is read")
    assert main(["train", "recipes/r.yaml", "--in-process"]) == 3
    assert re.match(rf"error: recipes/r\.yaml:4:\d+: {LIVES[life]}", capsys.readouterr().err)
    assert not Path(".trunkline", "store").exists()


def test_a_task_that_starts_when_no_other_is_there_ends_with_3(project, capsys):
    Path("recipes/r.yaml").write_text(RECIPE.lstrip().replace("tasks: [one]", "tasks: [{task: one, start: 0.5}]"))
    assert main(["train", "recipes/r.yaml", "--in-process"]) == 3
    assert "rates at step 1 must be at least 0, finite and not all 0" in capsys.readouterr().err


def test_a_curriculum_by_a_column_that_rows_lack_or_that_is_no_number_is_refused(project, capsys):
    for column, code, said in (
        ("valeu", 4, "no column 'valeu'"),
        ("other", 4, "says how hard rows are, and has no finite number"),
    ):
        sampling = f"sampling: {{kind: curriculum, by: {column}}}"
        Path("recipes/r.yaml").write_text(RECIPE.lstrip().replace("sampling: uniform", sampling))
        assert main(["train", "recipes/r.yaml", "--in-process"]) == code
        assert said in capsys.readouterr().err


WEIGHTINGS = {
    "{kind: mgda}": r"weighting\.kind: weighs the gradients of tasks .*, and there is one task, 'one'\. Take static",
    "{kind: stch, mu: 0}": r"weighting\.mu: must be a finite number above 0, found 0",
    "{kind: dwa, window: 0}": r"weighting\.window: must be a whole number of steps",
}


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_wrong_weighting_ends_with_3_at_its_line_before_a_row_is_read(weighting, project, capsys):
    Path("recipes/r.yaml").write_text(RECIPE.lstrip().replace("sampling: uniform", f"weighting: {weighting}"))
    Path("tasks/one/rows.jsonl").write_text("no row is read")
    assert main(["train", "recipes/r.yaml", "--in-process"]) == 3
    assert re.match(rf"error: recipes/r\.yaml:5:\d+: {WEIGHTINGS[weighting]}", capsys.readouterr().err)
    assert not Path(".trunkline", "store").exists()


def test_a_loss_that_can_be_below_0_and_a_weighting_that_needs_positive_ones_end_with_3_at_the_weighting(project, capsys):
    card(TOPIC.replace("target: label", "target: value").replace("classification, labels: [warm, cold]", "regression"))
    Path("tasks/one/card.yaml").write_text(Path("tasks/one/card.yaml").read_text() + "loss: heteroscedastic\n")
    for weighting, code in (("uncertainty", 3), ("{kind: scaled}", 3), ("{kind: scaled, chance: {one: 4}}", 0), ("stch", 0)):
        Path("recipes/r.yaml").write_text(RECIPE.lstrip().replace("sampling: uniform", f"weighting: {weighting}"))
        assert main(["train", "recipes/r.yaml", "--in-process"]) == code
        said = capsys.readouterr().err
        if code:
            assert re.search(
                r"error: recipes/r\.yaml:5:\d+: weighting: .* needs losses that are never below 0.*'one' may be", said
            )
            assert not Path(".trunkline", "store", "splits").exists()


def test_what_only_sizes_can_tell_of_a_sampling_has_its_line_too(project, capsys):
    for sampling, said in (
        ("{kind: expression, rates: {one: log(size - 120)}}", "sampling.rates.one: 'log(size - 120)' is undefined at step 1"),
        ("{kind: expression, rates: {one: 1 - 2 * progress}}", "sampling.rates.one: '1 - 2 * progress' is -1.0 at step 2"),
        ("{kind: unimax, passes: 0.001}", "sampling.passes: 0.001 passes over all tasks are"),
        ("{kind: temperature, cap: 1000}", "sampling.cap: is above every task's size, found 1000: the largest is 'one', with"),
    ):
        Path("recipes/r.yaml").write_text(RECIPE.lstrip().replace("sampling: uniform", f"sampling: {sampling}"))
        assert main(["train", "recipes/r.yaml", "--in-process"]) == 3
        assert re.search(rf"error: recipes/r\.yaml:5:\d+: {re.escape(said)}", capsys.readouterr().err)


def test_labels_that_no_training_row_has_are_named(project):
    card(TOPIC.replace("[warm, cold]", "[warm, cold, hot, Warm]"))
    said, _ = prepared()
    assert [line for line in said if line.startswith("warning")] == [
        "warning: one: no training row has the label 'hot', 'Warm'. Is it spelled as in the data?"
    ]
    card(TAGS.replace("[a, b]", "[a, b, c]"))
    assert "warning: one: no training row has the label 'c'." in " ".join(prepared()[0])
    card(TAGS)
    assert not [line for line in prepared()[0] if line.startswith("warning")]


def test_quarantine_is_told_by_prepare_and_by_task_check_whether_stored_or_reused(project, capsys):
    card(TOPIC, "format: jsonl, train: rows.jsonl, on_bad: quarantine")
    rows([*changed(2, label="wram"), "{"])
    assert main(["task", "check", "one"]) == 0
    assert "train: 2 of 101 rows quarantined, the first rows.jsonl:121: not JSON" in capsys.readouterr().out
    for _ in range(2):
        said, stored = prepared()
        (line,) = [line for line in said if "quarantined, the first" in line]
        assert line.startswith("warning: one/train: 2 of 121 rows quarantined, the first rows.jsonl:121: not JSON")
        assert len(stored) == 119 and str(stored.path.with_suffix(".json").name) in line
    rows([*changed(2, label="wram"), *["{"] * 8])
    assert main(["train", "recipes/r.yaml", "--in-process"]) == 4
    assert "9 of 128 rows can not be used, more than data.max_bad 0.05 allows" in capsys.readouterr().err


STRANGE = {
    "lone surrogate": r"red \ud800 house",
    "NUL": r"red \u0000 house",
    "right to left": r"red \u202e\u05d0\u05d1 house",
    "zero width": r"re\u200bd \u200d house",
    "emoji": r"red \ud83d\udc68\u200d\ud83d\udc69\u200d\ud83d\udc67 house",
    "empty": "",
    "white space": r" \t\u3000\n ",
    "only special tokens": "[CLS] [SEP] [PAD]",
}


def test_strange_texts_are_rows_like_any_other_and_empty_ones_are_counted(project):
    strange = [json.dumps({"text": "@", "label": "warm"}).replace("@", text) for text in STRANGE.values()]
    rows([*ROWS, *strange])
    path = Path("tasks/one/rows.jsonl")
    path.write_bytes(path.read_bytes() + b'{"text": "red \xff\xfe house", "label": "cold"}\n')
    said, stored = prepared()
    assert len(stored) == len(ROWS) + len(STRANGE) + 1
    assert stored.notes["empty"] == 2 and stored.notes["undecodable"] == 1
    assert "empty: 2" in " ".join(said) and "undecodable: 1" in " ".join(said)


def test_a_text_of_10_megabytes_is_cut_and_counted_in_bounded_time_and_memory(project):
    rows([*ROWS, {"text": "red house " * 1_000_000, "label": "warm"}])
    start, peak = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _, stored = prepared("tokenizer.kind=words")
    assert stored.notes["cut"] == 1 and stored.sizes.max() == 16
    assert time.monotonic() - start < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 1_000_000  # KiB


def test_a_run_with_rows_set_aside_trains_and_evaluate_tells_them_too(project, capsys):
    card(TOPIC, "format: jsonl, train: rows.jsonl, validation: dev.jsonl, on_bad: quarantine, max_bad: 0.2")
    rows([*ROWS[:100], {**ROWS[0], "label": "wram"}])
    rows([*ROWS[100:], {**ROWS[0], "label": None}], "dev.jsonl")
    assert main(["train", "recipes/r.yaml", "--in-process", "--json"]) == 0
    done = capsys.readouterr()
    assert "warning: one/train: 1 of 101 rows quarantined" in done.err
    assert main(["evaluate", json.loads(done.out)["model"], "--json"]) == 0
    done = capsys.readouterr()
    assert "one/validation: 1 of 21 rows quarantined, the first dev.jsonl:21: no value in 'label'" in done.err
    assert json.loads(done.out)[0]["rows"] == 20
