"""`extend --strategy fuse`: the new task mixes what old tasks change in the trunk; old answers stay bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import phased
import trunkline
from extended import ROWS, extend, hashes, same_answers
from trunkline.build import finetune
from trunkline.cli.app import main
from trunkline.training.freezing import Rule

PAIRS = [{"text": row, "reply": " ".join(reversed(row.split()))} for row in ROWS]


@pytest.fixture
def isolated(project: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A model with one task that has a LoRA; and a card for another task beside it."""
    place = project / "tasks" / "again"
    place.mkdir()
    text = (project / "tasks" / "topic" / "card.yaml").read_text()
    (place / "card.yaml").write_text(text.replace("name: topic", "name: again").replace("rows.jsonl", "../topic/rows.jsonl"))
    assert extend(project, "--task", "answer", "--json") == 0
    return Path(json.loads(capsys.readouterr().out)["model"])


def fuse(model: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    given = ["--task", "again", "--strategy", "fuse", "--in-process", "--steps", "6", "--json", "--protect", "*:-100"]
    code = main(["extend", str(model), *given, *arguments])
    return code, json.loads(capsys.readouterr().out)


def old_law(before: Path, after: Path) -> bool:
    """Old answers and old files are those of the model before, bit for bit."""
    first, second = (trunkline.load(model).scores("answer", PAIRS) for model in (before, after))
    now = hashes(after)
    kept = all(now.get(name) == found for name, found in hashes(before).items() if name.endswith(".safetensors"))
    return kept and same_answers(before, after) and bool(np.array_equal(first, second))


def mixed_law(before: Path, run: Path) -> bool:
    """The run ends with the adapter it mixes as it was: that of the model before, whose file the new model has."""
    adapters, ended = trunkline.load(before).network.adapters, phased.state(run, 6)
    assert adapters is not None
    named = {f"adapters.answer_.{name}": value for name, value in adapters.of("answer").named_parameters()}
    return all(torch.equal(ended[name]["param"], value) for name, value in named.items())


def test_the_new_task_mixes_what_an_old_one_changes_and_old_answers_stay_bit_for_bit(
    isolated: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, report = fuse(isolated, capsys)
    new = Path(report["model"])
    assert code == 0 and old_law(isolated, new) and mixed_law(isolated, Path(report["run"]))
    assert json.loads((new / "manifest.json").read_text())["tasks"]["again"]["lora"]["of"] == ["answer"]
    assert (new / "heads" / "again" / "fusion.safetensors").is_file()
    opened = trunkline.load(new)
    assert opened.network.adapters is not None
    said = opened.scores("again", ROWS)
    for pair in opened.network.adapters.of("answer").values():
        pair.lora_B.data += 1.0
    assert not np.array_equal(opened.scores("again", ROWS), said)
    assert main(["remove", str(new), "--task", "answer", "--to", str(tmp_path / "less")]) == 3
    assert "again mix(es) the LoRA" in capsys.readouterr().err and not (tmp_path / "less").exists()


def test_a_mixed_adapter_that_is_trained_too_is_caught(
    isolated: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune, "Rule", lambda modules, *rest: Rule("embeddings" if "adapters" in modules else modules, *rest))
    _, report = fuse(isolated, capsys)
    assert not mixed_law(isolated, Path(report["run"]))


def test_without_a_lora_there_is_nothing_to_mix(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = hashes(project / "outputs")
    assert extend(project, "--task", "answer", "--strategy", "fuse") == 3
    assert "no task here has a LoRA" in capsys.readouterr().err and hashes(project / "outputs") == before
