"""`finetune:` and `freeze:` of a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import laws
from small_project import write_project
from trunkline.build.finetune import hold_back, make_adapters, make_freezing, rehearsed, renew
from trunkline.config.recipe import Recipe, load_recipe
from trunkline.data.packing import Table, rows_of
from trunkline.errors import ConfigError
from trunkline.models.multitask import MultiTask
from trunkline.tasks.catalog import Catalog
from trunkline.training.freezing import sections


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path)


def trained(recipe: Recipe, net: MultiTask) -> set[str]:
    """The names that the recipe trains in its first step."""
    return {name for name, _ in net.named_parameters()} - make_freezing(recipe, net).at(1)


def test_each_word_trains_what_it_says(project: Path) -> None:
    net = laws.model()
    names = {name for name, _ in net.named_parameters()}
    heads = {name for name in names if name.startswith("heads.")}
    biases = {name for name in names if name.startswith("trunk.") and name.endswith("bias")}
    assert trained(load_recipe(project), net) == names
    assert trained(load_recipe(project, ["finetune=heads"]), net) == heads
    assert trained(load_recipe(project, ["finetune=bitfit"]), net) == heads | biases


def test_lora_trains_heads_and_one_adapter_per_task(project: Path) -> None:
    recipe, net, catalog = (
        load_recipe(project, ["finetune={kind: lora, rank: 3}"]),
        laws.model(),
        Catalog([project.parents[1] / "tasks"]),
    )
    cards = {name: catalog.get(name) for name in ("topic", "score")}
    adapters = make_adapters(recipe, cards, net.trunk)
    assert adapters is not None
    net = MultiTask(net.trunk, {task: net.head(task) for task in laws.TASKS}, adapters)
    found = trained(recipe, net)
    assert {name.split(".")[1] for name in found if name.startswith("adapters.")} == {"topic_", "score_"}
    assert not any(name.startswith("trunk.") for name in found)
    assert all(pair.lora_A.shape[0] == 3 for task in cards for pair in adapters.of(task).values())


def renewed_law(before: dict[str, torch.Tensor], net: MultiTask) -> bool:
    """The top layer alone is drawn anew: matrices of the spread it says, biases 0, norms 1; all else keeps its bits."""
    top = sections(net)["layers.1"]
    now = dict(net.named_parameters())
    drawn = [now[name] for name in top if now[name].ndim == 2]
    flat = [now[name] for name in top if now[name].ndim == 1]
    spread = torch.cat([value.flatten() for value in drawn]).std()
    plain = all(torch.equal(value, torch.full_like(value, float(value[0]))) and value[0] in (0, 1) for value in flat)
    still = all(torch.equal(now[name], before[name]) for name in before.keys() - top)
    return bool(
        0.015 < spread < 0.025
        and plain
        and still
        and not any(torch.equal(now[name], before[name]) for name in top if now[name].ndim == 2)
    )


def test_top_layers_are_drawn_anew_and_nothing_else_is(project: Path) -> None:
    net = laws.model()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    assert not renewed_law(before, net)
    renew(load_recipe(project, ["finetune.fresh_layers=1"]), net.trunk)
    assert renewed_law(before, net)
    renew(load_recipe(project, ["finetune.fresh_layers=2"]), net.trunk)
    assert not renewed_law(before, net)
    with pytest.raises(ConfigError, match="mixout puts weights back to what a trained trunk had"):
        hold_back(load_recipe(project, ["finetune.mixout=0.5"]), net.trunk)
    with pytest.raises(ConfigError, match="3 layers are to be drawn anew, and the trunk has 2"):
        renew(load_recipe(project, ["finetune.fresh_layers=3"]), net.trunk)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("finetune={kind: heads, fresh_layers: 1}", "'heads' would not train them"),
        ("finetune={kind: bitfit, mixout: 0.5}", "'bitfit' would not train them"),
        ("finetune.mixout=1", "finetune.mixout"),
        ("freeze=[layers.7]", "recipes/small.yaml|freeze.0"),
        ("finetune=lor", "full"),
        ("freeze=[{modules: trunk, until: 1.5}]", "freeze.0.until"),
        ("optim.layer_decay=0", "layer_decay"),
        ("freeze=['*']", "nothing is left to train"),
    ],
)
def test_what_can_not_be_is_a_sentence_with_its_place(project: Path, override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_freezing(load_recipe(project, [override]), laws.model())


def test_rows_of_what_was_learned_are_rehearsed_and_those_a_new_task_reads_stay_whole(project: Path, tmp_path: Path) -> None:
    manifest = {"tasks": {"topic": {}}, "lineage": {"aside": ["topic_news_1"]}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    recipe = load_recipe(project, [f"start={{model: {tmp_path}, rehearse: 3}}"])
    rows = rows_of([[number, 1] for number in range(10)])
    table = Table(rows, lambda given, _: (given.tokens.values, {}), rows)
    lengths = [
        len(rehearsed(recipe, tmp_path, task, table, {task, *riders}).rows)
        for task, riders in (("topic", []), ("topic_news_1", []), ("topic", ["topic_news_1"]), ("topic", ["new"]), ("new", []))
    ]
    assert lengths == [3, 3, 3, 10, 10]
