"""A recipe: what it may say, what its defaults are, and the sentence every mistake gets."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.config.recipe import json_schema, load_recipe
from trunkline.document import reader
from trunkline.errors import ConfigError, TrunklineError, UsageError

RECIPE = """\
seed: 17
trunk: {kind: transformer, hidden_size: 192, layers: 4, heads: 6}
tokenizer: {kind: wordpiece, vocab_size: 8000}
tasks: [entailment, {task: sentiment, weight: 0.5}]
sampling: {kind: temperature, temperature: 2.0}
weighting: uncertainty
optim: {kind: adamw, lr: 5e-4, head_lr: 1e-3, schedule: cosine, warmup: 0.06, betas: [0.9, 0.98]}
train: {steps: 300, tokens_per_step: 4096, max_length: 128, evaluate_every: 100}
engine: {zero_stage: 0, precision: auto}
workers: {count: 1, cpus: 2, gpus: 0}
track: {wandb: {project: trunkline, mode: offline}}
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text: str = RECIPE, **changes: str) -> Path:
        for key, line in changes.items():
            rows = [line if row.startswith(f"{key}:") else row for row in text.splitlines()]
            assert rows != text.splitlines(), f"no line {key}"
            text = "\n".join(rows) + "\n"
        Path("r.yaml").write_text(text, encoding="utf-8")
        return Path("r.yaml")

    return write


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, overrides)
    return str(caught.value)


def test_a_recipe_is_read_with_its_types(recipe):
    loaded = load_recipe(recipe())
    assert loaded.trunk.kind == "transformer"
    assert loaded.trunk.arguments == {"hidden_size": 192, "layers": 4, "heads": 6}
    assert [(use.task, use.weight) for use in loaded.tasks] == [("entailment", None), ("sentiment", 0.5)]
    assert loaded.weighting.kind == "uncertainty"
    assert loaded.optim.lr == 5e-4
    assert loaded.optim.arguments == {"betas": [0.9, 0.98]}
    assert loaded.track.wandb is not None
    assert loaded.path == Path("r.yaml")
    assert loaded.where("train", "steps") == "r.yaml:8:16: train.steps"


def test_a_short_recipe_gets_every_default(recipe):
    loaded = load_recipe(recipe("trunk: transformer\ntasks: [a]\ntrain: {steps: 1, tokens_per_step: 256}\n"))
    assert loaded.tokenizer.kind == "wordpiece"
    assert loaded.sampling.kind == "proportional"
    assert loaded.weighting.kind == "static"
    assert loaded.train.tokens_per_pass == 256
    assert loaded.track.wandb is None
    assert loaded.optim.head_lr is None


def test_a_part_without_kind_keeps_the_default_kind(recipe):
    loaded = load_recipe(recipe(tokenizer="tokenizer: {vocab_size: 100}", sampling="sampling: {}"))
    assert (loaded.tokenizer.kind, loaded.tokenizer.arguments) == ("wordpiece", {"vocab_size": 100})
    assert loaded.sampling.kind == "proportional"


def test_a_rendered_recipe_loads_equal_to_its_origin(recipe):
    loaded = load_recipe(recipe(), ["train.clip=null", "trunk.note='1e3'"])
    text = loaded.render()
    again = load_recipe(recipe(text))
    assert again.model_dump() == loaded.model_dump()
    assert again.render() == text


def test_a_rendered_recipe_names_its_catalog_wherever_it_is_put(recipe, tmp_path):
    text = load_recipe(recipe("catalog: [cards, 's3://bucket/cards']\n" + RECIPE)).render()
    assert reader.parse(text, "r").data["catalog"] == [str(tmp_path / "cards"), "s3://bucket/cards"]


def test_the_json_schema_accepts_what_the_reader_accepts(recipe):
    data = reader.read(recipe()).data
    jsonschema.Draft202012Validator(json_schema()).validate(data)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(json_schema()).validate({**data, "optm": 1})
    json.dumps(json_schema())


@pytest.mark.parametrize("stated", ["workers: {count: [2, 8], cpus: 2}", "workers: {count: 8, at_least: 2, cpus: 2}"])
def test_workers_may_be_as_many_as_there_is_room_for(recipe, stated):
    loaded = load_recipe(recipe(workers=stated))
    assert (loaded.workers.at_least, loaded.workers.count, loaded.workers.elastic) == (2, 8, True)
    assert [loaded.workers.on(cores) for cores in (1, 2, 7, 64)] == [2, 2, 3, 8]  # a machine of so many cores
    assert load_recipe(recipe(), ["workers.count=[2, 8]"]).workers.at_least == 2
    jsonschema.Draft202012Validator(json_schema()).validate(reader.read(recipe(workers=stated)).data)
    fixed = load_recipe(recipe(workers="workers: {count: [8, 8]}")).workers
    assert not fixed.elastic and fixed.on(1) == 8


def test_overrides_change_values_lists_and_parts_written_short(recipe):
    overrides = ["train.steps=7", "tasks.0.weight=2", "weighting.note=hello there", "optim.betas=[0.5, 0.6]", "track.wandb=null"]
    loaded = load_recipe(recipe(), overrides)
    assert loaded.train.steps == 7
    assert loaded.tasks[0].weight == 2
    assert loaded.weighting.arguments == {"note": "hello there"}
    assert loaded.optim.arguments["betas"] == [0.5, 0.6]
    assert loaded.track.wandb is None


def test_an_override_reaches_a_section_that_the_file_leaves_out(recipe):
    loaded = load_recipe(
        recipe("trunk: transformer\ntasks: [a]\ntrain: {steps: 1, tokens_per_step: 256}\n"), ["track.wandb.project=x"]
    )
    assert loaded.track.wandb is not None and loaded.track.wandb.project == "x"


def test_shell_text_in_an_override_stays_text(recipe):
    assert load_recipe(recipe(), ["weighting.note=; touch x $(id)"]).weighting.arguments == {"note": "; touch x $(id)"}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("a.b", "needs '='"),
        ("=1", "must be a key"),
        ("train..steps=1", "must be a key"),
        ("tasks[9].w=1", "Write tasks.0.weight=2"),
        ("tasks.9.weight=1", "tasks has entries 0 to 1, not '9'"),
        ("seed.x=1", "seed is 17 and has no keys"),
    ],
)
def test_a_broken_override_is_a_usage_error(recipe, override, said):
    with pytest.raises(UsageError) as caught:
        load_recipe(recipe(), [override])
    assert said in str(caught.value)
    assert f"-s {override}" in str(caught.value)


def test_an_override_of_an_unknown_key_names_the_nearest(recipe):
    assert refusal(recipe(), "train.stpes=3").startswith("-s train.stpes=3: train.stpes: unknown key. Did you mean 'steps'?")
    assert refusal(recipe(), "trian.steps=3").startswith("-s trian.steps=3: trian: unknown key. Did you mean 'train'?")


def test_an_override_of_a_wrong_type_is_placed_at_the_override(recipe):
    assert refusal(recipe(), "train.steps=many") == "-s train.steps=many: train.steps: expected a whole number, found 'many'."


TRAIN = "train: {steps: 300, tokens_per_step: 4096, %s}"
BAD = [
    pytest.param({"sampling": "optm: {lr: 1}"}, "r.yaml:5:1: optm: unknown key. Did you mean 'optim'?", id="6 unknown key"),
    pytest.param(
        {"seed": "steps: 10"}, "r.yaml:1:1: steps: unknown key at this level. Did you mean 'train.steps'?", id="7 wrong level"
    ),
    pytest.param(
        {"train": TRAIN % "lr: 1"}, "train.lr: unknown key at this level. Did you mean 'optim.lr'?", id="7 wrong section"
    ),
    pytest.param({"optim": "optim: {lr: fast}"}, "r.yaml:7:13: optim.lr: expected a number, found 'fast'.", id="8 text"),
    pytest.param({"optim": "optim:\n  lr: 1,5"}, "optim.lr: expected a number, found '1,5'. Write a point", id="8 comma"),
    pytest.param({"optim": "optim: {lr: .nan}"}, "optim.lr: expected a finite number", id="9 nan"),
    pytest.param({"optim": "optim: {lr: -.inf}"}, "optim.lr: expected a finite number", id="9 inf"),
    pytest.param({"optim": "optim: {lr: -1e-3}"}, "optim.lr: must be above 0", id="9 negative"),
    pytest.param(
        {"train": TRAIN.replace("300", "1.5") % "clip: 1"}, "train.steps: expected a whole number, found 1.5", id="10 fraction"
    ),
    pytest.param(
        {"train": TRAIN.replace("300", "true") % "clip: 1"}, "train.steps: expected a whole number, found true", id="10 boolean"
    ),
    pytest.param({"train": TRAIN.replace("300", "-1") % "clip: 1"}, "train.steps: must be above 0, found -1", id="10 negative"),
    pytest.param({"train": TRAIN.replace("300", "1" + "0" * 30) % "clip: 1"}, "train.steps: must be at most", id="10 huge"),
    pytest.param(
        {"optim": "optim: {kind: adamww}"}, "optim.kind: no optimizer named 'adamww'. Did you mean 'adamw'?", id="11 part"
    ),
    pytest.param(
        {"optim": "optim: {schedule: cosin}"}, "optim.schedule: unknown value 'cosin'. Did you mean 'cosine'?", id="11 choice"
    ),
    pytest.param({"trunk": "trunk: transfomer"}, "r.yaml:2:8: trunk: no trunk named 'transfomer'. Did you mean", id="11 trunk"),
    pytest.param(
        {"seed": "cluster: mine"}, "r.yaml:1:1: cluster: does not belong here. A recipe never says where it runs", id="15 cluster"
    ),
    pytest.param({"seed": "metrics: [f1]"}, "metrics: does not belong here. It belongs in the task's card", id="15 card"),
    pytest.param({"engine": "engine: {precision: fp16}"}, "engine.precision: unknown value 'fp16'.", id="16 fp16"),
    pytest.param(
        {"train": TRAIN % "tokens_per_pass: 9000"}, "train.tokens_per_pass: a worker holds 9000", id="16 pass above step"
    ),
    pytest.param(
        {"train": TRAIN % "tokens_per_pass: 64"}, "train.max_length: a row may have 128 tokens but", id="16 row above pass"
    ),
    pytest.param(
        {"seed": "schema_version: 2"}, "schema_version: found 2, but this trunkline reads up to 1. Upgrade", id="newer schema"
    ),
    pytest.param({"tasks": "tasks: [a, {task: a}]"}, "tasks.1: task 'a' is already tasks.0.", id="task twice"),
    pytest.param({"tasks": "tasks: []"}, "tasks: must not be empty.", id="no tasks"),
    pytest.param({"tasks": "tasks: [{task: a, weight: 0}]"}, "tasks.0.weight: must be above 0, found 0", id="29 weight 0"),
    pytest.param(
        {"engine": "engine: {zero_stage: 4}"}, "engine.zero_stage: unknown value 4. Known: 0, 1, 2, 3.", id="zero stage"
    ),
    pytest.param({"train": "train: {tokens_per_step: 4096}"}, "train.steps: is missing: how many optimizer steps", id="missing"),
    pytest.param({"workers": "workers: {count: [8, 2]}"}, "workers: at least 8 is above the most, 2. Turn", id="range turned"),
    pytest.param({"workers": "workers: {count: [2]}"}, "workers: count is one number, or the least and the", id="half a range"),
    pytest.param({"workers": "workers: {count: [2, x]}"}, "workers.count: expected a whole number, found", id="no number"),
    pytest.param({"train": "train: 3"}, "train: expected keys and values, found 3.", id="section of the wrong type"),
]


@pytest.mark.parametrize(("changes", "said"), BAD)
def test_a_wrong_recipe_gets_a_sentence_with_place_and_remedy(recipe, changes, said):
    message = refusal(recipe(**changes))
    assert said in message
    assert message.startswith("r.yaml:")
    assert "\n" not in message


@pytest.mark.parametrize("key", ["api_key", "WANDB_API_KEY", "token", "password"])
def test_a_secret_is_sent_away_and_not_echoed(recipe, key):
    message = refusal(recipe(seed=f"{key}: hunter2"))
    assert "does not belong in a file" in message
    assert "hunter2" not in message


def test_several_mistakes_are_reported_together_in_line_order(recipe):
    lines = refusal(recipe(weighting="weighting: uncertain", optim="optim: {lr: fast}", seed="sed: 1")).splitlines()
    assert [line.split(":")[1] for line in lines] == ["1", "6", "7"]


def test_contradicting_keys_are_both_explained(recipe):
    message = refusal(recipe(train=TRAIN % "tokens_per_pass: 9000"))
    assert "9000" in message
    assert "train.tokens_per_step gives 4096" in message
    assert "Lower tokens_per_pass or raise tokens_per_step" in message


def mutations() -> st.SearchStrategy[str]:
    """The recipe with a stretch of it replaced by anything."""
    return st.builds(
        lambda start, length, text: RECIPE[:start] + text + RECIPE[start + length :],
        st.integers(0, len(RECIPE)),
        st.integers(0, 30),
        st.text(alphabet=st.sampled_from("{}[]:,-#&*!|>'\"%@`?~.\\ \n\tabkindtrue0123456789eé\x00\ud800"), max_size=20)
        | st.text(max_size=10),
    )


@given(mutations() | st.text(max_size=80))
def test_no_text_whatever_raises_anything_but_a_trunkline_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load_recipe(path)
    except TrunklineError as error:
        assert str(error)
        assert error.exit_code == 3


@given(st.text(max_size=30), st.text(max_size=20))
def test_no_override_whatever_raises_anything_but_a_trunkline_error(tmp_path_factory, key, value):
    path = tmp_path_factory.getbasetemp() / "fixed.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    for override in (f"{key}={value}", f"train.steps={value}", f"trunk.{key}={value}", key):
        try:
            load_recipe(path, [override])
        except TrunklineError as error:
            assert error.exit_code in (2, 3)
