"""The probe: the tasks' gradients out of one backward are those of a backward each, on any ranks, under any ZeRO stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
import torchjd.aggregation as jd
from torch import Tensor

import gram
import laws
from ranks import Ranks
from trunkline.batch import Batch
from trunkline.data.packing import pack
from trunkline.models.transformer import Transformer
from trunkline.training.gram import Probe
from trunkline.training.objective import Objective, factors
from trunkline.weighting.gram import ordered

CLOSE = 1e-5
# One task in few rows, one nowhere.
UNEVEN = {"topic": 1.0, "score": 0.0, "tags": 0.15, "rank": 0.5, "words": 1.0}


def apart(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the product of the two norms (so that short gradients count as long ones do)."""
    norms = expected.diagonal().clamp(min=1e-30).sqrt()
    return float(((found - expected).abs() / norms / norms[:, None]).max())


@pytest.fixture(scope="module")
def expected() -> Tensor:
    gradients = gram.stacked(laws.stream().next_step(1))
    return gradients @ gradients.T


@pytest.mark.parametrize("tokens_per_pass", [240, 80])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_ranks_and_any_micro_batches_show_the_gram_matrix_of_a_backward_per_task(
    two_ranks: Ranks, stage: int, tokens_per_pass: int, expected: Tensor
) -> None:
    first, second = two_ranks(gram.train, 1, stage=stage, tokens_per_pass=tokens_per_pass, weighting="upgrad")
    assert apart(first.grams[0], expected) < CLOSE
    assert torch.equal(first.grams[0], second.grams[0]) and first.weights == second.weights
    assert first.mixes != second.mixes


@pytest.mark.parametrize("stage", [0, 3])
def test_one_rank_shows_it_too(one_rank: Ranks, stage: int, expected: Tensor) -> None:
    (alone,) = one_rank(gram.train, 1, stage=stage, weighting="upgrad")
    assert apart(alone.grams[0], expected) < CLOSE


THEIRS: dict[str, Callable[[Tensor], Tensor]] = {
    "upgrad": lambda matrix: 5 * jd.UPGradWeighting()(matrix),
    "dualproj": lambda matrix: 5 * jd.DualProjWeighting()(matrix),
    "mgda": lambda matrix: 5 * jd.MGDAWeighting()(matrix),
    "aligned_mtl": lambda matrix: 5 * jd.AlignedMTLWeighting(scale_mode="rmse")(matrix),
    "cagrad": lambda matrix: 5 * jd.CAGradWeighting(0.5)(matrix),
    "imtl_g": lambda matrix: proportional(jd.IMTLGWeighting()(matrix)),
    "fairgrad": lambda matrix: proportional(jd.FairGradWeighting(2.0)(matrix)),
    "nash_mtl": lambda matrix: proportional(jd.FairGradWeighting(1.0)(matrix)),
    "pcgrad": lambda matrix: ordered(jd.PCGradWeighting(), matrix, 5, 1),
    "gradvac": lambda matrix: ordered(jd.GradVacWeighting(0.5), matrix, 0, 1),
}


def proportional(found: Tensor) -> Tensor:
    kept = found.clamp(min=0)
    return kept * len(kept) / kept.sum()


@pytest.mark.parametrize("number", range(len(THEIRS)), ids=THEIRS)
def test_coefficients_are_torchjd_s_on_the_stacked_gradients(two_ranks: Ranks, number: int, expected: Tensor) -> None:
    kind = list(THEIRS)[number]
    first, second = two_ranks(gram.train, 1, stage=number % 4, tokens_per_pass=80, weighting=kind)
    wanted = torch.tensor(laws.WEIGHTS) * THEIRS[kind](expected / expected.diagonal().mean())
    assert first.weights[0] == pytest.approx(wanted.tolist(), rel=1e-2, abs=2e-3)
    assert first.weights == second.weights


@pytest.mark.parametrize("fault", ["RankLocal", "Weighted", "MeanOfMeans"])
@pytest.mark.parametrize("kind", ["fairgrad", "pcgrad", "gradvac", "nash_mtl"])
def test_coefficients_from_a_mistaken_probe_are_rejected(two_ranks: Ranks, kind: str, fault: str, expected: Tensor) -> None:
    first, _ = two_ranks(gram.train, 1, stage=1, tokens_per_pass=80, weighting=kind, fault=fault)
    wanted = torch.tensor(laws.WEIGHTS) * THEIRS[kind](expected / expected.diagonal().mean())
    assert first.weights[0] != pytest.approx(wanted.tolist(), rel=1e-2, abs=2e-3)


@pytest.mark.parametrize("fault", gram.FAULTS)
def test_a_probe_with_a_mistake_in_it_is_rejected(two_ranks: Ranks, fault: str, expected: Tensor) -> None:
    first, _ = two_ranks(gram.train, 1, stage=1, tokens_per_pass=80, weighting="upgrad", fault=fault)
    assert first.micro_batches == [2]
    assert apart(first.grams[0], expected) > 100 * CLOSE


@pytest.mark.parametrize("stage", [1, 3])
def test_under_bf16_it_is_as_near_as_bf16_is(two_ranks: Ranks, stage: int, expected: Tensor) -> None:
    first, second = two_ranks(gram.train, 1, stage=stage, tokens_per_pass=80, weighting="upgrad", precision="bf16")
    assert CLOSE < apart(first.grams[0], expected) < 0.05
    assert torch.equal(first.grams[0], second.grams[0])


def test_it_does_not_depend_on_the_coefficients_and_sees_past_weights_of_a_millionth(two_ranks: Ranks, one_rank: Ranks) -> None:
    # After the first step mgda's coefficients are far from 1, and the parameters are those of both runs.
    runs = [*two_ranks(gram.train, 3, stage=2, tokens_per_pass=80, weighting="cagrad")[:1]]
    runs += one_rank(gram.train, 3, weighting="cagrad")
    for one, other in zip(runs[0].grams, runs[1].grams, strict=True):
        assert apart(one, other) < 1e-2
    net = laws.model()
    batch = pack(laws.stream().next_step(1), laws.tables(), seed=0)
    shown = [probed(net, batch, torch.tensor(scale)) for scale in ([1.0] * 5, [1e-6, 3.0, 1.0, -2.0, 1e-6])]
    assert apart(shown[1], shown[0]) < CLOSE


def probed(net: laws.MultiTask, batch: Batch, coefficients: Tensor) -> Tensor:
    """One pass without an engine; the gradients as they are in this process."""
    probe = gram.RankLocal(net.trunk, len(laws.TASKS))
    scale = factors(coefficients, {task: part.num_targets for task, part in batch.tasks.items()})
    with probe.watching(batch, coefficients):
        Objective(net, laws.losses())(batch, scale)[0].backward()
    return probe.gram()


def test_an_absent_task_and_one_of_coefficient_0_have_rows_of_0() -> None:
    flow = laws.stream(UNEVEN)
    batch = pack(flow.next_step(1), laws.tables(), seed=0)
    found = probed(laws.model(), batch, torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0]))
    absent = [task for task, part in batch.tasks.items() if part.dummy]
    assert "score" in absent
    for number, task in enumerate(laws.TASKS):
        assert bool((found[number] == 0).all()) == (task in absent or task == "rank") == bool((found[:, number] == 0).all())


def test_a_padded_trunk_shows_what_a_packed_one_does() -> None:
    packed, padded = laws.model(), laws.model()
    padded.trunk = Transformer(laws.VOCAB, 0, 64, hidden_size=laws.WIDTH, layers=2, heads=2, dropout=0.0, packed=False)
    padded.trunk.load_state_dict(packed.trunk.state_dict())
    assert not padded.trunk.packed
    batch = pack(laws.stream().next_step(1), laws.tables(), seed=0)
    one, other = (probed(net, batch, torch.ones(5)) for net in (packed, padded))
    assert apart(one, other) < CLOSE


def test_nothing_is_left_on_the_layers_and_a_loss_based_weighting_installs_nothing(one_rank: Ranks) -> None:
    net = laws.model()
    batch = pack(laws.stream().next_step(1), laws.tables(), seed=0)
    probed(net, batch, torch.ones(5))
    assert not any(part._forward_hooks for part in net.modules())
    (run,) = one_rank(gram.train, 2, weighting="famo")
    assert run.grams == [None, None]


def test_every_second_step_is_looked_at_where_it_is_asked_for(one_rank: Ranks) -> None:
    (run,) = one_rank(gram.train, 4, weighting="mgda")  # every: 2 in laws.WEIGHTING_SETTINGS
    assert [found is not None for found in run.grams] == [True, False, True, False]
    assert run.weights[0] == run.weights[1] != run.weights[2]


@pytest.mark.parametrize("weighting", ["static", "mgda", "gls"])  # gls is exact in laws.WEIGHTING_SETTINGS
def test_a_run_that_is_watched_is_bit_for_bit_the_one_that_is_not(one_rank: Ranks, weighting: str, expected: Tensor) -> None:
    (off,) = one_rank(gram.train, 4, weighting=weighting)
    (on,) = one_rank(gram.train, 4, weighting=weighting, watch=1)
    assert [found is not None for found in off.grams] == [weighting == "mgda", False, weighting == "mgda", False]
    assert all(found is not None for found in on.grams) and apart(on.grams[0], expected) < CLOSE
    assert on.losses == off.losses and on.weights == off.weights and laws.bit_equal(on.state, off.state)


def test_probes_are_the_linear_layers_of_the_last_block() -> None:
    trunk = laws.model().trunk
    names = [name for name, part in trunk.named_modules() if any(part is probe for probe in trunk.probes)]
    assert len(names) == 6 and all(".layer.1." in name for name in names)
    assert len(Probe(trunk, 2).layers) == 6


def test_a_task_that_shares_rows_is_no_case_for_the_probe() -> None:
    batch = pack(laws.stream().next_step(1), laws.tables(), seed=0)
    parts = dict(batch.tasks)
    parts["score"] = parts["topic"]
    shared = Batch(batch.tokens, batch.positions, batch.segments, batch.row_starts, batch.row_lengths, parts)
    with pytest.raises(AssertionError, match="share rows"):
        probed(laws.model(), shared, torch.ones(5))


@pytest.mark.parametrize("tokens_per_pass", [240, 80])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_exact_weights_are_those_of_this_step_s_gradients_and_this_step_goes_by_them(
    two_ranks: Ranks, stage: int, tokens_per_pass: int, expected: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"stage": stage, "tokens_per_pass": tokens_per_pass, "clip": None, "weighting": "aligned_mtl"}
    first, second = two_ranks(gram.train, 1, **settings)
    assert first.micro_batches == [1 if tokens_per_pass == 240 else 2]
    assert apart(first.grams[0], expected) < CLOSE
    wanted = torch.tensor(laws.WEIGHTS) * THEIRS["aligned_mtl"](expected / expected.diagonal().mean())
    assert first.used[0] == second.used[0] == pytest.approx(wanted.tolist(), rel=1e-3, abs=1e-4)
    units = laws.stream().next_step(1)
    monkeypatch.setattr(laws, "WEIGHTS", first.used[0])
    assert laws.furthest(laws.gradients(first.state), laws.reference(units, clip=None)) < 1e-4
    monkeypatch.undo()
    assert laws.furthest(laws.gradients(first.state), laws.reference(units, clip=None)) > 1e-2  # those of a lagged step


def test_on_one_rank_an_exact_step_is_that_of_two(two_ranks: Ranks, one_rank: Ranks) -> None:
    straight, _ = two_ranks(gram.train, 3, stage=1, tokens_per_pass=80, weighting="aligned_mtl")
    (alone,) = one_rank(gram.train, 3, weighting="aligned_mtl")
    assert alone.used[0] != alone.used[1]
    for one, other in zip(alone.used, straight.used, strict=True):
        assert one == pytest.approx(other, rel=1e-2, abs=1e-3)


def looked(net: laws.MultiTask, batch: Batch, *, shared: bool) -> Tensor:
    """One pack, whose backward stops at the probe layers."""
    probe = gram.RankLocal(net.trunk, len(laws.TASKS), shared=shared)
    scale = factors(torch.ones(5), {task: part.num_targets for task, part in batch.tasks.items()})
    with probe.watching(batch, torch.ones(5)):
        scalar, _ = Objective(net, laws.losses())(batch, scale)
        probe.look(scalar, scale)
    found = probe.gram()
    assert all(parameter.grad is None for parameter in net.parameters())
    scalar.backward()
    assert all(probe.sums.get(number) is None for number in range(len(probe.layers)))
    return found


def test_a_look_shows_what_a_whole_backward_does_and_leaves_it_to_come() -> None:
    batch = pack(laws.stream().next_step(1), laws.tables(), seed=0)
    whole = probed(laws.model(), batch, torch.ones(5))
    for shared in (False, True):
        assert apart(looked(laws.model(), batch, shared=shared), whole) < CLOSE


def test_tasks_that_share_rows_are_told_apart_by_a_look_for_each() -> None:
    batch = pack(laws.stream({**dict.fromkeys(laws.TASKS, 0.0), "topic": 1.0}).next_step(1), laws.tables(), seed=0)
    topic = batch.tasks["topic"]
    labels = torch.arange(len(topic.row_ids)) % 3
    tasks = {
        **batch.tasks,
        "score": dataclasses.replace(topic, targets={"target": labels.float()}),
        "topic": dataclasses.replace(topic, targets={"labels": labels}),
    }
    both = dataclasses.replace(batch, tasks=tasks)
    net = laws.model()
    weights = [layer.weight for layer in net.trunk.probes]
    values = laws.task_values(both, net(both))
    rows = [torch.autograd.grad(values[task], weights, retain_graph=True) for task in ("topic", "score")]
    stack = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows]).double()
    assert apart(looked(net, both, shared=True)[:2, :2], stack @ stack.T) < CLOSE


def test_probe_layers_can_be_chosen_by_name() -> None:
    trunk = laws.model().trunk
    chosen = trunk.probed(["*.layer.0.attention.*", "*.layer.1.output.*"])
    names = [name for name, part in trunk.named_modules() if any(part is layer for layer in chosen)]
    assert len(names) == 5 and all(".layer.0.attention." in name or ".layer.1.output." in name for name in names)
    assert trunk.probed(["*.layer.9.*"]) == [] and trunk.probed() == trunk.probes
