"""A checkpoint that is of another model, or is none, is refused before it is used; memory that was short is remembered."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from small_project import write_project
from trunkline.build.memory import fitted, refused, shrink
from trunkline.checkpoint import PassedOver
from trunkline.config.recipe import load_recipe
from trunkline.errors import EnvironmentProblem, IntegrityError
from trunkline.launch.ray_train import embedded_ray, last_line, lost
from trunkline.launch.restored import by_name, check_any, check_fit

NET = nn.Linear(2, 3)
WHOLE = {"param/weight": torch.zeros(3, 2), "exp_avg/weight": torch.zeros(3, 2), "step/weight": torch.zeros(())}
WHOLE["param/bias"] = torch.zeros(3)


def test_what_fits_is_taken() -> None:
    check_fit(by_name(WHOLE), NET)
    check_any(object(), [PassedOver(Path("a"), "x")])
    check_any(None, [])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("param/bias", None, "missing tensors: bias"),
        ("param/evil", torch.zeros(1), "unknown ones: evil"),
        ("param/weight", torch.zeros(2, 3), r"another shape: param/weight \(2, 3\) for \(3, 2\)"),
        ("exp_avg/weight", torch.zeros(6), r"exp_avg/weight \(6,\) for \(3, 2\)"),
    ],
)
def test_what_is_of_another_model_is_named(name: str, value: torch.Tensor | None, said: str) -> None:
    tensors = {key: tensor for key, tensor in {**WHOLE, name: value}.items() if tensor is not None}
    with pytest.raises(IntegrityError, match=said):
        check_fit(by_name(tensors), NET)


def test_a_run_of_which_no_checkpoint_can_be_used_does_not_start_over() -> None:
    with pytest.raises(IntegrityError, match=r"none of 1 checkpoint\(s\) can be used: it is torn\. Mend"):
        check_any(None, [PassedOver(Path("a"), "it is torn.")])


def test_a_pass_is_halved_down_to_one_row(recipe: Path) -> None:
    (recipe.parent / "recipe.yaml").write_text(recipe.read_text())
    run = recipe.parent
    assert fitted(run).train.tokens_per_pass == 160
    assert [shrink(run) for _ in range(5)] == [80, 40, 20, 16, None]
    assert fitted(run).train.tokens_per_pass == 16 and fitted(run).train.tokens_per_step == 256


def test_what_an_allocator_says_is_known_from_other_errors() -> None:
    cpu = RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to allocate")
    assert refused(torch.OutOfMemoryError("x")) and refused(MemoryError()) and refused(cpu)
    assert not refused(RuntimeError("x")) and not refused(KeyboardInterrupt())


def test_an_error_is_the_same_wherever_it_happened() -> None:
    first, second = (KeyError(f"a\nob at 0x7f{number} of process {number}") for number in (12, 345))
    assert last_line(first) == last_line(second) != last_line(KeyError("b"))


def test_a_worker_that_is_gone_is_known_from_one_that_raised() -> None:
    ray = "The actor fbc2 is unavailable: The actor is temporarily unavailable: RpcError: recvmsg:Connection reset by peer"
    gloo = "[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [192.0.2.2]:36611"
    assert lost(RuntimeError(ray)) and lost(RuntimeError(f"worker 1 failed:\n{gloo}"))
    assert not lost(ValueError("a task's door is closed by its plugin"))


def test_a_ray_that_does_not_come_up_in_its_own_time_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def late(**_: object) -> None:
        raise Exception("The current node timed out during startup.")  # as Ray says it, of no class of its own

    monkeypatch.setattr(ray, "init", late)
    recipe = load_recipe(write_project(tmp_path))
    with pytest.raises(EnvironmentProblem, match="Ray does not start here: The current node timed out"), embedded_ray(recipe):
        raise AssertionError("it is up")
