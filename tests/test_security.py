"""What is never called in the package, and that no secret leaves: every rule refuses a planted fault."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from trunkline.cli.app import main

PLATFORM = Path(__file__).parent.parent / "platform" / "trunkline"
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "yaml"}
CALLS = {"eval", "exec", "torch.load", "torch.save", "os.system", "os.popen", "yaml.load", "numpy.load", "np.load"}
METHODS = {"extractall", "extract"}  # of archives
SENTINEL = "Sentinel9x7Qz5"


def forbidden(tree: ast.Module) -> Iterator[str]:
    """Whatever reads a pickle, runs text, or unpacks an archive; `line: what`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from (f"{node.lineno}: import {name}" for name in names if name.split(".")[0] in MODULES)
        if isinstance(node, ast.Call):
            yield from (f"{node.lineno}: {what}" for what in _called(node))


def _called(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    harmless = name.endswith(".load") and isinstance(given.get("allow_pickle"), ast.Constant) and not given["allow_pickle"].value
    if name in CALLS and not harmless:
        yield name
    if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
        yield node.func.attr
    for word in ("shell", "allow_pickle", "trust_remote_code"):
        if word in given and not (isinstance(given[word], ast.Constant) and not given[word].value):
            yield word


def test_the_package_reads_no_pickle_runs_no_text_and_unpacks_no_archive() -> None:
    found = {
        str(path.relative_to(PLATFORM)): faults
        for path in PLATFORM.rglob("*.py")
        if (faults := list(forbidden(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "def f():\n    import yaml",
        "torch.load(path)",
        "eval(text)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "subprocess.run(line, shell=True)",
        "tarfile.open(path).extractall(folder)",
        "AutoModel.from_pretrained(folder, trust_remote_code=flag)",
    ],
)
def test_a_planted_call_is_found(text: str) -> None:
    assert list(forbidden(ast.parse(text)))


@pytest.mark.parametrize("text", ["model.eval()", "np.load(path, allow_pickle=False)", "subprocess.run([a], shell=False)"])
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    assert not list(forbidden(ast.parse(text)))


PLUGIN = """
import os

from trunkline.losses.classification import CrossEntropy
from trunkline.registry import LOSSES


@LOSSES.register("crashing")
class Crashing(CrossEntropy):
    '''A cross entropy that crashes with a secret in its mouth.'''

    calls = 0

    def forward(self, outputs, targets):
        Crashing.calls += outputs.requires_grad
        if Crashing.calls > 2:
            raise RuntimeError("could not log in with " + os.environ["TEAM_PASSWORD"])
        return super().forward(outputs, targets)
"""


def holding(folder: Path) -> list[str]:
    """Files below the folder in which the sentinel stands."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and SENTINEL.encode() in path.read_bytes()]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose surroundings are full of secrets: the environment, a .env file, its own process's arguments."""
    from bad_inputs.project import Project
    from bad_inputs.table import trained_once

    folder = tmp_path / "p"
    made = Project(folder, trained_once)
    made.recipe("seed: 1", "seed: 1\ntrack: {wandb: {project: p, mode: offline}}")
    monkeypatch.setenv("TEAM_PASSWORD", f"{SENTINEL}-password")
    monkeypatch.setenv("WANDB_API_KEY", f"{SENTINEL}" + "0" * 26)
    monkeypatch.setenv("HF_TOKEN", f"hf_{SENTINEL}abcdefghij0")
    monkeypatch.setattr("sys.argv", ["trunkline", "train", f"--password={SENTINEL}"])
    monkeypatch.chdir(folder)
    return folder


def test_no_secret_reaches_a_file_or_the_console(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "recipes/r.yaml", "--in-process"]) == 0
    (run,) = (project / "outputs").iterdir()
    assert list((run / "wandb").rglob("*.wandb")), "W&B wrote no file to search"
    for folder in (project, Path(os.environ["HOME"]), Path(os.environ["TMPDIR"])):
        assert holding(folder) == []
    assert SENTINEL not in "".join(capfd.readouterr())


def test_no_secret_is_told_by_a_crash(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (project / "tasks/one/plugin.py").write_text(PLUGIN)
    card = project / "tasks/one/card.yaml"
    card.write_text(card.read_text() + "loss: crashing\n")
    for more in ([], ["--json"]):
        assert main(["train", "recipes/r.yaml", "--in-process", *more]) == 1
        said = "".join(capfd.readouterr())
        assert "could not log in with [redacted]" in said and SENTINEL not in said
    assert holding(project) == []


def test_the_search_finds_a_secret_that_was_written(project: Path) -> None:
    (project / "aside.bin").write_bytes(b"\0" + os.environ["TEAM_PASSWORD"].encode() + b"\0")
    assert holding(project) == [str(project / "aside.bin")]


def test_a_secret_in_a_card_or_recipe_is_refused_and_not_told(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for line in (f"api_key: {SENTINEL}", f"catalog: ['s3://me:{SENTINEL}@bucket/tasks']"):
        (project / "recipes/bad.yaml").write_text(f"{line}\n" + (project / "recipes/r.yaml").read_text())
        assert main(["train", "recipes/bad.yaml", "--in-process"]) == 3
        assert SENTINEL not in "".join(capfd.readouterr())
    assert not (project / "outputs").exists() or not list((project / "outputs").iterdir())
