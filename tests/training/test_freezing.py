"""Freezing by name and phase: what is frozen stays bit for bit, phases follow exactly, at any ZeRO stage, resumed anywhere."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import laws
import phased
from ranks import Ranks
from small_project import write_project
from trunkline.batch import Batch
from trunkline.errors import ConfigError
from trunkline.models.lora import Adapters, LoRA
from trunkline.models.multitask import MultiTask
from trunkline.training.freezing import Freezing, Rule, layer_scale, sections

STAGES = (0, 1, 2, 3)
STEPS = 6
# Steps 1 and 2 without embeddings and both layers' first; 3 and 4 without the first layer.
PHASES = [
    "trunk.layers=2",
    f"train.steps={STEPS}",
    "train.save_every=1",
    "train.evaluate_every=6",
    "train.keep_last=99",
    "train.ema=0.9",
    "freeze=[{modules: embeddings, until: 0.34}, {modules: layers.0, until: 0.67}]",
]
BORDER, MIDDLE = 2, 3


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("phases"))


@pytest.fixture(scope="module")
def straight(recipe: Path, two_ranks: Ranks) -> dict[int, Path]:
    """ZeRO stage -> a run that was never stopped, on two ranks."""
    runs = {}
    for stage in STAGES:
        runs[stage] = phased.prepared(recipe, recipe.parent / f"stage{stage}", [*PHASES, f"engine.zero_stage={stage}"])
        two_ranks(phased.on_rank, str(runs[stage]), timeout_s=300)
    return runs


def frozen_law(run: Path) -> bool:
    """Frozen parameters keep their bits and have no moments that move; freed ones move; step counts are of steps trained."""
    held = {"embeddings": range(1, 3), "layer.0": range(1, 5)}
    start = phased.state(run, 1)
    for name in start:
        last = max((steps[-1] for word, steps in held.items() if word in name and name.startswith("trunk.")), default=0)
        for step in range(1, STEPS + 1):
            entry = phased.state(run, step)[name]
            if step <= last and (set(entry) != {"param"} or not torch.equal(entry["param"], start[name]["param"])):
                return False
            if step > last and float(entry["step"]) != step - last:
                return False
        if last and torch.equal(phased.state(run, STEPS)[name]["param"], start[name]["param"]):
            return False
    return True


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_frozen_keeps_its_bits_and_what_is_freed_starts_its_own_step_count(straight: dict[int, Path], stage: int) -> None:
    assert frozen_law(straight[stage])
    told = phased.events(straight[stage], "trained")
    assert [event["step"] for event in told] == [1, 3, 5] and told[-1]["frozen"] == 0


@pytest.mark.parametrize("fault", ["frozen rows decay", "moments reset"])
def test_a_freeze_that_only_stops_the_gradient_or_forgets_the_moments_is_rejected(
    recipe: Path, one_rank: Ranks, tmp_path: Path, fault: str
) -> None:
    run = phased.prepared(recipe, tmp_path / "run", PHASES)
    one_rank(phased.on_rank, str(run), fault)
    assert not frozen_law(run)


@pytest.mark.parametrize(("stage", "step"), [*((stage, BORDER) for stage in STAGES), (0, MIDDLE), (2, MIDDLE)])
def test_a_run_stopped_at_the_border_of_a_phase_or_within_one_ends_bit_equal(
    straight: dict[int, Path], two_ranks: Ranks, tmp_path: Path, stage: int, step: int
) -> None:
    resumed = phased.cut_back(straight[stage], tmp_path / "run", step)
    two_ranks(phased.on_rank, str(resumed))
    assert laws.bit_equal(phased.state(resumed, STEPS), phased.state(straight[stage], STEPS))


def test_a_frozen_prefix_has_no_backward() -> None:
    net = laws.model()
    Freezing.hold(net, Freezing(net, [Rule("embeddings"), Rule("layers.0")], 10).at(1))
    seen: list[bool] = []
    first, second = net.trunk.blocks
    for layer in (first, second):
        layer.register_forward_hook(lambda _, __, out: seen.append((out[0] if isinstance(out, tuple) else out).requires_grad))
    net(laws.pack(laws.stream().next_step(1), laws.tables(), seed=0))
    assert seen == [False, True]


def test_sections_divide_the_model_as_a_reader_would() -> None:
    net = laws.model()
    known = sections(net)
    assert known["layers"] == known["layers.0"] | known["layers.1"] and not known["layers.0"] & known["layers.1"]
    assert known["trunk"] == known["layers"] | known["embeddings"]
    assert known["heads"] == set().union(*(known[f"heads.{task}"] for task in laws.TASKS))
    assert known["heads"] | known["trunk"] == {name for name, _ in net.named_parameters()}


def test_rules_hold_until_their_share_of_the_steps() -> None:
    net = laws.model()
    rules = [Rule("layers.0-1", 0.5), Rule("*.bias", 0.25), Rule("heads.topic")]
    freezing = Freezing(net, rules, 20)
    sizes = [len(freezing.at(step)) for step in (1, 5, 6, 10, 11, 20)]
    assert sizes[0] == sizes[1] > sizes[2] == sizes[3] > sizes[4] == sizes[5] == len(sections(net)["heads.topic"])


def test_what_the_model_itself_does_not_train_stays_frozen() -> None:
    net = laws.model()
    net.trunk.embeddings.requires_grad_(False)
    freezing = Freezing(net, [Rule("layers.0", 0.5)], 10)
    freezing.hold(net, freezing.at(10))
    assert {name for name, parameter in net.named_parameters() if not parameter.requires_grad} == {
        f"trunk.encoder.embeddings.word_embeddings.{name}" for name, _ in net.trunk.embeddings.named_parameters()
    }


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        ("embedings", "Did you mean 'embeddings'"),
        ("layers.1-7", "layers 0 to 1, found 'layers.1-7'"),
        ("*nothing*", "the model has no"),
        ("*", "nothing is left to train"),
    ],
)
def test_modules_that_are_not_there_and_a_phase_without_training_are_sentences(modules: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("*", r"\*")):
        Freezing(laws.model(), [Rule(modules, 0.5)], 10)


def test_layer_decay_by_hand() -> None:
    net = laws.model()
    scales, known = layer_scale(net, 0.5), sections(net)
    for word, scale in (("layers.1", 1.0), ("layers.0", 0.5), ("embeddings", 0.25)):
        assert {scales[name] for name in known[word]} == {scale}
    assert not known["heads"] & scales.keys()


def adapted(seed: int = 4) -> MultiTask:
    """The small world's model with adapters that do something, for two of the tasks."""
    net = laws.model()
    torch.manual_seed(seed)
    adapters = Adapters(net.trunk.adaptable, {"score": LoRA(2, 4.0), "rank": LoRA(3)})
    made = MultiTask(net.trunk, {task: net.head(task) for task in laws.TASKS}, adapters)
    for parameter in adapters.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def test_an_adapter_changes_its_own_task_s_slice_and_leaves_every_other_bit_alone() -> None:
    batch = laws.pack(laws.stream().next_step(1), laws.tables(), seed=0)
    plain, changed = laws.model().eval()(batch), adapted()(batch)
    for task in laws.TASKS:
        assert torch.equal(plain[task], changed[task]) == (task not in ("score", "rank")), task


def test_a_route_that_runs_over_the_slice_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = laws.pack(laws.stream().next_step(1), laws.tables(), seed=0)
    net, right = adapted(), Adapters.over

    def shifted(adapters: Adapters, given: Batch) -> AbstractContextManager[None]:
        tasks = {task: replace(part, tokens=slice(part.tokens.start, part.tokens.stop + 1)) for task, part in given.tasks.items()}
        return right(adapters, replace(given, tasks=tasks))

    monkeypatch.setattr(Adapters, "over", shifted)
    assert not torch.equal(laws.model().eval()(batch)["tags"], net(batch)["tags"])


def test_lora_by_hand_is_the_layer_with_its_weight_changed() -> None:
    net = adapted()
    units = [unit for unit in laws.stream().next_step(1) if unit.task == "score"]
    batch = laws.pack(units, {"score": laws.tables()["score"]}, seed=0)
    routed = net(batch)["score"]
    assert net.adapters is not None
    for site, linear in net.trunk.adaptable.items():
        pair = net.adapters.of("score")[site.replace(".", "-")]
        linear.weight.data += 4.0 / 2 * pair.lora_B @ pair.lora_A
    merged = MultiTask(net.trunk, {"score": net.head("score")}).eval()(batch)["score"]
    assert torch.allclose(routed, merged, atol=1e-5)


def test_saved_adapters_bear_peft_s_names_and_open_again() -> None:
    net, other = adapted(4), adapted(5)
    assert net.adapters is not None and other.adapters is not None
    saved = net.adapters.saved("score")
    assert "base_model.model.encoder.layer.0.attention.self.query.lora_A.weight" in saved
    other.adapters.open("score", saved)
    again = other.adapters.saved("score")
    assert all(torch.equal(saved[name], again[name]) for name in saved)
