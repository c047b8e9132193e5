"""`extend --prompt`: the new task reads a prompt of its own; old answers stay bit for bit; one rank is two."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import phased
import trunkline
from extended import OLD, ROWS, extend, hashes, model_of, same_answers
from ranks import Ranks
from trunkline.build.finetune import make_adapters
from trunkline.build.prepare import prepare
from trunkline.cli.app import main
from trunkline.config.recipe import load_recipe
from trunkline.errors import ConfigError
from trunkline.models.lora import Adapters
from trunkline.registry import TRUNKS
from trunkline.tasks.catalog import Catalog
from trunkline.workflows.extend import Job, write_recipe
from trunkline.workflows.strategies import Settings, planned

ASKED = ("-s", "optim.lr=0.1", "--json")


@pytest.fixture
def project(project: Path) -> Path:
    (project / "tasks" / "again").mkdir()
    text = (project / "tasks" / "topic" / "card.yaml").read_text()
    card = text.replace("name: topic", "name: again").replace("rows.jsonl", "../topic/rows.jsonl")
    (project / "tasks" / "again" / "card.yaml").write_text(card)
    return project


def test_a_task_with_a_prompt_alone_leaves_old_answers_bit_equal_and_reads_it(
    project: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = hashes(model_of(project))
    assert extend(project, "--task", "again", "--rank", "0", "--prompt", "3", *ASKED) == 0
    report = json.loads(capsys.readouterr().out)
    new, after = Path(report["model"]), hashes(Path(report["model"]))
    assert same_answers(model_of(project), new) and [row["change"] for row in report["old"]] == [0.0] * 3
    assert all(after[name] == before[name] for name in before if name.endswith(".safetensors"))
    names = {name.rpartition("/")[2] for name in after if name.startswith("heads/again/")}
    assert names == {"card.yaml", "head.safetensors", "prompt.safetensors"}
    opened = trunkline.load(new)
    said, adapters = opened.scores("again", ROWS), opened.network.adapters
    assert adapters is not None and all(value.any() for value in adapters.prompt("again").values())
    for parameter in adapters.parameters():
        torch.nn.init.zeros_(parameter)
    assert not np.array_equal(opened.scores("again", ROWS), said)
    assert main(["export", str(new), "--task", "again", "--format", "hf", "--to", str(tmp_path / "out")]) == 3
    assert "reads a prompt" in capsys.readouterr().err and not (tmp_path / "out").exists()
    # A task on top of it: its prompt is carried along.
    assert main(["extend", str(new), "--task", "answer", "--prompt", "2", "--in-process", "--steps", "2", "--json"]) == 0
    last = Path(json.loads(capsys.readouterr().out)["model"])
    assert np.array_equal(trunkline.load(last).scores("again", ROWS), said) and same_answers(new, last)
    assert {"adapter_model.safetensors", "prompt.safetensors"} <= {path.name for path in (last / "heads" / "answer").iterdir()}


def test_a_prompt_that_every_task_reads_is_caught(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert extend(project, "--task", "again", "--rank", "0", "--prompt", "3", *ASKED) == 0
    new, right = Path(json.loads(capsys.readouterr().out)["model"]), Adapters._prompting

    def shared(adapters: Adapters, *given: object) -> object:
        adapters._spans = [("again", slice(0, 10**9))]
        return right(adapters, *given)

    monkeypatch.setattr(Adapters, "_prompting", shared)
    assert not same_answers(model_of(project), new)


def test_a_run_with_prompts_ends_on_two_ranks_and_at_zero_3_where_one_rank_does(
    project: Path, two_ranks: Ranks, one_rank: Ranks
) -> None:
    model, tasks = model_of(project), project / "tasks"
    manifest = json.loads((model / "manifest.json").read_text())
    new = ["again", "answer"]  # two, so that each rank has micro-batches in which one of them is a dummy
    plan = planned(["isolate"], new, OLD, Settings(rank=2, prompt=3))
    recipe = write_recipe(model, manifest, tasks, plan, Job(model, new), project / ".trunkline" / "extend" / "prompted")
    ends = {}
    for name, ranks, overrides in [
        ("one", one_rank, ()),
        ("two", two_ranks, ("train.tokens_per_pass=80", "engine.zero_stage=3")),
        ("without", one_rank, ("finetune.prompt=0",)),
    ]:
        run = project / name
        run.mkdir()
        asked = ("train.steps=3", *overrides)
        prepare(load_recipe(recipe, asked), run, project / ".trunkline" / "store", lambda _: None)
        ranks(phased.on_rank, str(run), timeout_s=300)
        ends[name] = {key: entry["param"] for key, entry in phased.state(run, 3).items()}
    assert any("prompt_V" in name and value.any() for name, value in ends["one"].items())
    assert all(torch.allclose(ends["one"][name], ends["two"][name], atol=1e-5) for name in ends["one"])
    assert not all(torch.allclose(ends["one"][name], value, atol=1e-5) for name, value in ends["without"].items())


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("{kind: full, prompt: 3}", r"finetune.prompt: 'full' would not train one. Take kind lora"),
        ("{kind: lora, rank: 0}", r"finetune.rank: 0 is nothing to train"),
        ("{kind: fuse, rank: 0, prompt: 3}", r"finetune.rank: 0 is nothing to train"),
    ],
)
def test_a_prompt_that_nothing_would_train_is_a_sentence(project: Path, asked: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_recipe(project / "recipes" / "small.yaml", [f"finetune={asked}"])


def test_a_trunk_whose_layers_do_not_attend_has_no_place_for_one(project: Path) -> None:
    recipe = load_recipe(project / "recipes" / "small.yaml", ["finetune={kind: lora, prompt: 3}"])
    trunk = TRUNKS.get("transformer")(60, 0, 16, hidden_size=16, layers=1, heads=2, packed=False)
    with pytest.raises(ConfigError, match="no linear layers that run on the pack's tokens"):
        make_adapters(recipe, {"topic": Catalog([project / "tasks"]).get("topic")}, trunk)
