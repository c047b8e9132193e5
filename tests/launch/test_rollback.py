"""After too many bad steps a run may go back to before them, past their rows: what is trained is what it was then, all of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import phased
from ranks import RankError, Ranks
from small_project import write_project
from trunkline import checkpoint

BAD, BACK, STEPS = (5, 6, 7), 4, 10
TRAIN = [
    "tasks=[topic, score]",
    "weighting=dwa",
    f"train={{steps: {STEPS}, tokens_per_step: 256, max_length: 16, save_every: 2, keep_last: 9, max_bad_steps: 3, ema: 0.9}}",
]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("rollback"))


@pytest.fixture(scope="module")
def straight(recipe: Path, two_ranks: Ranks) -> Path:
    run = phased.prepared(recipe, recipe.parent / "straight", [*TRAIN, "train.rollbacks=1", "engine.zero_stage=1"])
    two_ranks(phased.on_rank, str(run), bad=BAD)
    return run


def equal(mine: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in theirs)


def back_law(run: Path) -> bool:
    """After the last bad step parameters, moments, step counts, average and weighting are those of before; the rows are not."""
    before, after = (checkpoint.load(run / "checkpoints" / checkpoint.name_of(step)) for step in (BACK, BAD[-1]))
    rows = [restored.state["stream"] for restored in (before, after)]
    return equal(after.tensors, before.tensors) and before.state["weighting"] == after.state["weighting"] and rows[0] != rows[1]


def test_it_goes_on_from_before_the_bad_steps_past_their_rows_and_ends(straight: Path) -> None:
    assert back_law(straight)
    (told,) = phased.events(straight, "rolled_back")
    assert (told["step"], told["to"], told["rollbacks"]) == (BAD[-1], BACK, 1)
    (last,) = phased.events(straight, "finished")
    assert last["steps"] == STEPS


def test_parameters_put_back_without_their_moments_are_rejected(recipe: Path, two_ranks: Ranks, tmp_path: Path) -> None:
    run = phased.prepared(recipe, tmp_path / "run", [*TRAIN, "train.rollbacks=1"])
    two_ranks(phased.on_rank, str(run), "moments reset", BAD)
    assert not back_law(run)


@pytest.mark.parametrize("step", [BACK, BAD[-1], 8])
def test_killed_before_or_after_it_ends_bit_equal(straight: Path, two_ranks: Ranks, tmp_path: Path, step: int) -> None:
    resumed = phased.cut_back(straight, tmp_path / "run", step)
    two_ranks(phased.on_rank, str(resumed), bad=BAD)
    runs = [checkpoint.load(run / "checkpoints" / checkpoint.name_of(STEPS)) for run in (resumed, straight)]
    assert equal(runs[0].tensors, runs[1].tensors) and {**runs[0].state, "run_id": 0} == {**runs[1].state, "run_id": 0}


def test_once_more_than_the_recipe_allows_ends_the_run(recipe: Path, one_rank: Ranks, tmp_path: Path) -> None:
    for rollbacks, bad in ((0, BAD), (1, (*BAD, 8, 9, 10))):
        run = phased.prepared(recipe, tmp_path / str(rollbacks), [*TRAIN, f"train.rollbacks={rollbacks}"])
        with pytest.raises(RankError, match="max_bad_steps 3"):
            one_rank(phased.on_rank, str(run), bad=bad)
        assert len(phased.events(run, "rolled_back")) == rollbacks


def test_without_a_checkpoint_from_before_there_is_no_way_back(recipe: Path, one_rank: Ranks, tmp_path: Path) -> None:
    run = phased.prepared(recipe, tmp_path / "run", [*TRAIN, "train.rollbacks=1"])
    with pytest.raises(RankError, match="max_bad_steps 3"):
        one_rank(phased.on_rank, str(run), bad=(1, 2, 3))
