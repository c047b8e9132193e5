"""A run that keeps a moving average of its weights: in the checkpoint, in the figures, in the model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import trunkline
from trunkline import checkpoint
from trunkline.build.model import load_model
from trunkline.cli.app import main
from trunkline.launch.runs import RunFolder


def tensors(run: RunFolder) -> dict[str, torch.Tensor]:
    restored, _ = checkpoint.newest(run.checkpoints)
    assert restored is not None
    return restored.tensors


def test_a_run_writes_the_average_and_resumes_with_it_bit_for_bit(recipe: Path) -> None:
    changes = ["tasks=[topic, tags]", "train.steps=6", "train.save_every=3", "train.ema=0.9", "optim.kind=lion", "optim.lr=1e-3"]
    run = RunFolder(trunkline.train(recipe, overrides=changes, in_process=True).run)
    straight = tensors(run)
    written = dict(load_model(run.model).network.named_parameters())
    for name, value in written.items():
        assert torch.equal(value, straight[f"ema/{name}"])
    assert any(not torch.equal(value, straight[f"param/{name}"]) for name, value in written.items())
    shutil.rmtree(checkpoint.committed(run.checkpoints)[0])
    run.result.unlink()
    trunkline.train(recipe, resume=run.run_id, in_process=True)
    resumed = tensors(run)
    assert resumed.keys() == straight.keys()
    assert all(torch.equal(resumed[name], straight[name]) for name in straight)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("train.ema=1", "train.ema"),
        ("optim.cooldown=0.1", "schedule 'cosine' has none. Leave it out, or take schedule wsd."),
        ("optim={schedule: wsd, warmup: 0.6, cooldown: 0.5}", "warmup 0.6 and cooldown 0.5 are more than all steps"),
        ("optim={kind: muon, head_decay: -1}", "optim.head_decay"),
    ],
)
def test_a_wrong_setting_ends_with_exit_code_3(recipe: Path, change: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(recipe), "--in-process", "-s", change]) == 3
    assert said in " ".join(capsys.readouterr().err.split())
