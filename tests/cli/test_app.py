"""The command line's frame: exit codes, errors as text and JSON, a quick start."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time

import pytest

from trunkline.cli import COMMANDS, app, output
from trunkline.errors import (
    ClusterError,
    ConfigError,
    DataError,
    Diverged,
    EnvironmentProblem,
    IntegrityError,
    TrunklineError,
    UsageError,
)

HEAVY = ("torch", "ray", "deepspeed", "wandb", "transformers", "pyarrow", "tokenizers", "numpy")
ENV = {**os.environ, "PYTHONPATH": ":".join(path for path in sys.path if path)}


def trunkline(*arguments, **options):
    command = [sys.executable, "-m", "trunkline", *arguments]
    return subprocess.run(command, env={**ENV, **options.pop("env", {})}, capture_output=True, text=True, check=False, **options)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("task",), ("task", "list", "--help"), ("config",)])
def test_help_is_printed_on_stdout_with_exit_code_0(capsys, arguments):
    assert app.main(arguments) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Usage: trunkline")
    assert err == ""


def test_every_command_of_the_table_is_there(capsys):
    app.main(["--help"])
    out = capsys.readouterr().out
    assert all(f"\n  {name}" in out for name in COMMANDS)


def test_the_version_is_printed(capsys):
    assert app.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("trunkline ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["tsk"], "No such command 'tsk'. Did you mean 'task'?", id="59 command"),
        pytest.param(["task", "lst"], "No such command 'lst'. Did you mean 'list'?", id="59 subcommand"),
        pytest.param(
            ["task", "list", "--catalgo", "x"], "No such option: --catalgo (Possible options: --catalog)", id="59 option"
        ),
        pytest.param(["task", "show"], "Missing argument", id="60 argument"),
        pytest.param(["task", "new", "x", "--kind"], "Option '--kind' requires an argument", id="60 value"),
        pytest.param(["config", "schema", "recip"], "'recip' is not one of", id="60 choice"),
        pytest.param(["parts", "haeds"], "Did you mean 'heads'?", id="59 room"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_a_hint(capsys, arguments, said):
    assert app.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert said in err


@pytest.mark.parametrize(
    "arguments", [["task", "shwo", "--json"], ["config", "render", "nowhere.yaml", "--json"], ["task", "show", "--json"]]
)
def test_errors_are_one_json_object_with_json(capsys, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = app.main(arguments)
    out, err = capsys.readouterr()
    error = json.loads(out)["error"]
    assert error["exit_code"] == code in (2, 3)
    assert error["message"]
    assert err == ""


@pytest.fixture
def commanded(monkeypatch):
    """Runs `main` with a command that raises what it is given."""

    def run(error: BaseException, *arguments: str) -> int:
        def fail(_arguments: object) -> int:
            raise error

        monkeypatch.setattr(app, "_run", fail)
        return app.main(arguments)

    return run


@pytest.mark.parametrize(
    "error", [UsageError, ConfigError, DataError, IntegrityError, EnvironmentProblem, ClusterError, Diverged, TrunklineError]
)
def test_an_error_ends_with_its_exit_code_and_one_sentence(commanded, capsys, error):
    assert commanded(error("is wrong.", where="f:1:2")) == error.exit_code
    out, err = capsys.readouterr()
    assert (out, err) == ("", "error: f:1:2: is wrong.\n")


def test_an_interrupt_ends_with_130(commanded, capsys):
    assert commanded(KeyboardInterrupt()) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_bug_ends_with_1_and_its_traceback(commanded, capsys):
    assert commanded(ZeroDivisionError("x")) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "this is a bug in trunkline: ZeroDivisionError: x" in err


def test_a_full_disk_is_no_bug(commanded, capsys):
    assert commanded(OSError(28, "No space left on device", "out.json")) == 6
    assert capsys.readouterr().err == "error: out.json: No space left on device.\n"


def test_a_closed_reader_ends_the_command_quietly():
    command = f"{sys.executable} -m trunkline parts --json | head -c 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], env=ENV, capture_output=True, text=True, check=False)
    assert done.stdout == "["
    assert done.stderr == ""
    assert done.returncode == 0


def test_a_stream_that_can_not_say_a_letter_escapes_it():
    done = trunkline("task", "show", "näme", env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert done.returncode in (2, 3)
    assert "Traceback" not in done.stderr
    assert "n\\xe4me" in done.stderr


@pytest.mark.parametrize("env", [{"TERM": "dumb", "COLUMNS": "20"}, {"HOME": "/nonexistent"}])
def test_a_poor_terminal_is_enough(env):
    done = trunkline("--help", env=env)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_a_table_has_aligned_columns(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    output.table(("a", "b"), [("long", 1), (None, "x")])
    assert out.getvalue() == "a     b\nlong  1\n      x\n"


@pytest.mark.parametrize(
    "arguments", [("--help",), ("task", "list", "--catalog", "."), ("parts",), ("config", "schema"), ("config", "schema", "card")]
)
def test_commands_that_only_show_load_nothing_heavy(arguments, tmp_path):
    command = [sys.executable, "-X", "importtime", "-m", "trunkline", *arguments]
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, check=True, cwd=tmp_path)
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "trunkline" in loaded
    assert not loaded & set(HEAVY)


def test_help_takes_at_most_three_times_the_import_of_its_libraries():
    def quickest(*arguments: str) -> float:
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            subprocess.run([sys.executable, *arguments], env=ENV, stdout=subprocess.DEVNULL, check=True)
            times.append(time.perf_counter() - begin)
        return min(times)

    assert quickest("-m", "trunkline", "--help") < 3 * quickest("-c", "import typer, rich")
