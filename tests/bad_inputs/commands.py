"""Rows 59 to 64: the command line and the place it runs in."""

from __future__ import annotations

from collections.abc import Callable

from bad_inputs.project import Case, Outcome, Project


def run(*arguments: str) -> Callable[[Project], Outcome]:
    return lambda project: project.run(*arguments)


def submit(address: str) -> Callable[[Project], Outcome]:
    def act(project: Project) -> Outcome:
        project.write("clusters/far.yaml", f"kind: ray\naddress: {address}\nstorage: /mnt/runs\n")
        return project.run("submit", "recipes/r.yaml", "--cluster", "far")

    return act


def process(what: str, line: str, code: int, says: str, **environment: str | None) -> Case:
    """A line of bash, in a process of its own."""
    return Case(63, what, lambda project: project.shell(line, **environment), code, says, slow=True)


SHOW = "trunkline config render recipes/r.yaml"
NOTE = "weighting.note=; touch canary $(touch canary) `touch canary`"
CASES = [
    Case(59, "a command misspelled", run("tsk"), 2, r"No such command 'tsk'\. Did you mean 'task'"),
    Case(59, "an option misspelled", run("task", "list", "--catalgo", "x"), 2, r"No such option: --catalgo .*--catalog"),
    Case(60, "an argument missing", run("task", "show"), 2, r"Missing argument"),
    Case(
        60, "options that exclude each other", run("train", "recipes/r.yaml", "--resume", "-s", "seed=2"), 2, r"-s and --resume"
    ),
    Case(
        60, "a bad recipe with --json", run("config", "render", "q.yaml", "--json"), 3, r'(?s)^\{"error": \{"kind": "config".*\}$'
    ),
    Case(
        62,
        "shell text in an override",
        run("config", "render", "recipes/r.yaml", "-s", NOTE),
        0,
        r"touch canary \$\(touch canary\)",
    ),
    Case(62, "shell text in a name", run("task", "new", "x; touch canary"), 2, r"is not a task name"),
    process("stdout closed", f"{SHOW} | head -n 1", 0, r"schema_version|seed"),
    process("stdout full", f"{SHOW} >/dev/full", 6, r"No space left"),
    process("no locale, a terminal of 20 columns", f"{SHOW} >/dev/null", 0, r"^$", TERM="dumb", LC_ALL="C", COLUMNS="20"),
    process("a Chinese name in the C locale", "trunkline config render 没有.yaml", 3, r"yaml", LC_ALL="C", PYTHONUTF8="0"),
    process("no HOME", "trunkline parts >/dev/null && trunkline task list", 0, r"one", HOME=None),
    process("a HOME that can not be written", "trunkline task list", 0, r"one", HOME="/proc/1"),
    process("a TMPDIR that is not there", "trunkline task check one", 0, r"sound", TMPDIR="/nowhere"),
    Case(61, "an address where nothing listens", submit("http://127.0.0.1:9"), 7, r"nothing listens at http"),
    Case(61, "an address of another kind", submit("ray://127.0.0.1:10001"), 3, r"address must be http://HOST:PORT"),
    Case(61, "an address elsewhere and no token", submit("http://192.0.2.1:8265"), 7, r"there is no token\. Give"),
    Case(64, "a job before there is any", run("status", "r-2"), 2, r"Nothing was submitted"),
    Case(64, "a cluster that is not there", run("submit", "recipes/r.yaml", "--cluster", "lcoal"), 3, r"Did you mean 'local'"),
    Case(64, "an unknown run", run("train", "recipes/r.yaml", "--resume", "r-2"), 2, r"no run 'r-2'"),
]
NOT_RUN: dict[int, str] = {}  # servers that refuse, lie or hang: tests/clusters/test_ray_jobs.py
