"""A line of models: which one may take the current one's place, and which one a rollback returns to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from extended import extend, hashes, model_of
from trunkline.build.model import file_entry
from trunkline.cli.app import main
from trunkline.errors import ConfigError
from trunkline.workflows.line import Line, check_follows


def made(folder: Path, *tasks: str) -> Path:
    """A model folder as far as a line looks into one."""
    folder.mkdir()
    (folder / "README.md").write_text(folder.name)
    files = {"README.md": file_entry(folder / "README.md")}
    (folder / "manifest.json").write_text(
        json.dumps({"schema_version": 1, "files": files, "tasks": {name: {} for name in tasks}})
    )
    return folder


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    return [made(tmp_path / f"model{number}", "topic", *["fresh"][: number % 2]) for number in range(4)]


def name_of(line: Line) -> str:
    return (line.current / "README.md").read_text()


def test_only_what_goes_on_from_the_current_model_takes_its_place(models: list[Path], tmp_path: Path) -> None:
    line, (first, second, third, _) = Line(tmp_path / "line"), models
    check_follows(None, first, [])
    check_follows(line, first, [])  # it is made by the first promotion
    line.promote(first, "first")
    line.promote(second, "run-2")
    check_follows(line, second, [])
    check_follows(line, first, ["run-2"])  # the same job again
    with pytest.raises(ConfigError, match=r"'fresh' would be gone.* Give .*line in place of the model"):
        check_follows(line, first, ["run-3"])
    with pytest.raises(ConfigError, match="another model is current"):
        check_follows(line, third, [])


def test_a_model_that_does_not_follow_the_current_one_is_refused_before_anything_is_made(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = Line(project / "line")
    line.promote(made(project / "other", "topic", "score", "tags", "fresh"), "other")
    before = hashes(project)
    assert extend(project, "--task", "answer", "--line", str(line.folder)) == 3
    said = capsys.readouterr().err
    assert "another model is current" in said and "'fresh' would be gone" in said
    assert hashes(project) == before
    rows, outputs = project / "new.jsonl", hashes(project / "outputs")
    rows.write_text('{"text": "a river", "label": "water"}\n{"text": "a house", "label": "land"}\n' * 9)
    asked = ["--task", "topic", "--data", str(rows), "--line", str(line.folder), "--in-process"]
    assert main(["refresh", str(model_of(project)), *asked]) == 3
    assert "another model is current" in capsys.readouterr().err and hashes(project / "outputs") == outputs


def rollback_law(line: Line, models: list[Path]) -> bool:
    """A rollback undoes the last promotion that stands: it never returns to what was rolled back before."""
    for number in (0, 1):
        line.promote(models[number], str(number))
    line.rollback()
    line.promote(models[2], "2")
    line.promote(models[3], "3")
    found = [name_of(line)]
    for _ in range(2):
        line.rollback()
        found.append(name_of(line))
    return found == ["model3", "model2", "model0"]


def test_a_rollback_never_returns_to_what_was_rolled_back(models: list[Path], tmp_path: Path) -> None:
    line = Line(tmp_path / "line")
    assert rollback_law(line, models)
    with pytest.raises(ConfigError, match="no version before"):
        line.rollback()


def test_a_rollback_by_the_numbers_of_versions_is_caught(
    models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Line, "_before", lambda self: [path for path in self.versions() if path.name < self.current.name])
    assert not rollback_law(Line(tmp_path / "line"), models)


def test_a_switch_killed_before_it_was_noted_is_rolled_back_all_the_same(
    models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(tmp_path / "line")
    for number in range(3):
        line.promote(models[number], str(number))
    with monkeypatch.context() as patch:
        patch.setattr(Line, "_note", lambda *_: None)
        line.promote(models[3], "3")
    assert line.rollback() and name_of(line) == "model2"
    with monkeypatch.context() as patch:
        patch.setattr(Line, "_note", lambda *_: None)
        line.rollback()
    assert line.rollback() and name_of(line) == "model0"


def test_a_version_that_is_gone_is_passed_over(models: list[Path], tmp_path: Path) -> None:
    line = Line(tmp_path / "line", keep=2)
    for number in range(3):
        line.promote(models[number], str(number))
    assert line.rollback() and name_of(line) == "model1"
    with pytest.raises(ConfigError, match="no version before"):
        line.rollback()
