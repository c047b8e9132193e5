"""Forward transfer: what the trunk of a model knew of a new task, against the trunk its line began with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from extended import OLD, extend, model_of
from trunkline.build.assemble import assemble
from trunkline.build.model import load_model
from trunkline.cli.app import main
from trunkline.models.base import Trunk
from trunkline.workflows import forward
from trunkline.workflows.surgery import ancestors


@pytest.fixture
def project(project: Path) -> Path:
    """With two more tasks of whole rows: what `topic` asks, and what `score` asks."""
    for old, new in (("topic", "again"), ("score", "length")):
        (project / "tasks" / new).mkdir()
        text = (project / "tasks" / old / "card.yaml").read_text().replace(f"name: {old}", f"name: {new}")
        (project / "tasks" / new / "card.yaml").write_text(text.replace("rows: rows.jsonl", "rows: ../topic/rows.jsonl"))
    return project


def first(model: Path) -> Trunk:
    found = forward.first_trunk(model)
    assert not isinstance(found, str)
    return found.network.trunk


def same(a: Trunk, b: Trunk) -> bool:
    return all(torch.equal(own, other) for own, other in zip(a.parameters(), b.parameters(), strict=True))


def test_the_trunk_a_line_began_with_is_drawn_again_bit_for_bit(project: Path) -> None:
    model, drawn = model_of(project), torch.get_rng_state()
    untrained = assemble(model.parent).model.trunk
    torch.set_rng_state(drawn)
    assert same(first(model), untrained) and torch.equal(torch.get_rng_state(), drawn)
    assert not same(load_model(model).network.trunk, untrained)
    manifest = json.loads((model / "manifest.json").read_text())
    manifest["lineage"]["began"]["seed"] += 1
    (model / "manifest.json").write_text(json.dumps(manifest))
    assert not same(first(model), untrained)


def test_an_extension_reports_it_and_a_line_adds_it_up(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = str(project / "models" / "main")
    tasks = [option for name in ("again", "length", "answer") for option in ("--task", name)]
    assert extend(project, *tasks, "--strategy", "full", "--protect", "*:-200", "--line", line, "--json") == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert [row["task"] for row in report["forward"]] == ["again", "length"] and "answer: no forward transfer" in captured.err
    again, length = report["forward"]
    assert again["forward"] == pytest.approx(100 * (again["probe"] - again["untrained"])) and again["metric"] == "accuracy"
    assert report["forward_transfer"] == pytest.approx((again["forward"] + length["forward"]) / 2)
    changes = [row["change"] for row in report["old"]]
    assert report["backward_transfer"] == pytest.approx(sum(changes) / len(changes))
    # The line keeps what was found, so that it can be told where the run is gone.
    assert same(first(Path(report["current"])), first(model_of(project)))
    last, parent = ancestors(Path(report["current"]))
    assert last["transfer"] == {name: report[name] for name in last["transfer"]}
    assert set(parent["transfer"].values()) == {None} and set(parent["scores"]) == set(OLD)
    assert main(["lineage", line]) == 0
    assert f"forward transfer {report['forward_transfer']:+.2f}" in capsys.readouterr().out
    # Nothing was learned before: the trunk of the parent is the one the line began with, and nothing is carried over.
    monkeypatch.setattr(forward, "load_model", untrained)
    model, tasks = model_of(project), ["again", "length"]
    found = forward.forward(model, Path(report["model"]), tasks, project / "tasks", "validation", lambda _: None)
    assert [row["forward"] for row in found] == [0.0, 0.0]


def untrained(folder: Path, *more: object):
    model = load_model(folder, *more)
    model.network.trunk.load_state_dict(first(folder).state_dict())
    return model


def test_a_model_that_does_not_say_how_it_began_has_none_and_says_so(project: Path) -> None:
    model, told = model_of(project), list[str]()
    manifest = json.loads((model / "manifest.json").read_text())
    del manifest["lineage"]["began"]
    (model / "manifest.json").write_text(json.dumps(manifest))
    assert forward.forward(model, model, ["topic"], project / "tasks", "validation", told.append) == []
    assert "no forward transfer is told: the model does not say" in told[0]
