"""A real Ray cluster of two nodes with token authentication: submit, follow, status, logs, stop, resume, a node that dies."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chromium import chromium, complaints, pictured
from ray_nodes import TOKEN, TwoNodes
from small_project import write_project
from trunkline.cli.app import main
from trunkline.cluster import load_cluster
from trunkline.clusters.ray_jobs import Api
from trunkline.clusters.submit import submit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(5400)]
PATIENCE_S = 2400
STEPS = 80
TRAIN = {"steps: 20": f"steps: {STEPS}", "save_every: 5": "save_every: 10", "evaluate_every: 10": "evaluate_every: 40"}
SMALLER = {"tasks: [topic, score, tags, {task: answer, weight: 0.7}, words]": "tasks: [topic, {task: answer, weight: 0.7}]"}
FILE = """\
kind: ray
address: {address}
token_file: {folder}/token
storage: {folder}/runs
python: {python}
placement: spread
grace_s: 300
timeout_s: 120
"""
# A step takes a tenth of a second at least, or the run would be over before it is disturbed; while `hold` is there it waits.
PLUGIN = """\
import time
from pathlib import Path

from trunkline.losses.classification import CrossEntropy
from trunkline.registry import LOSSES


@LOSSES.register("unhurried")
class Unhurried(CrossEntropy):
    def forward(self, outputs, targets):
        time.sleep(0.1)
        while (Path.home() / "hold").exists():
            time.sleep(0.1)
        return super().forward(outputs, targets)
"""
# Stands where `python -m trunkline` would: takes the whole of a node for a moment.
WAITER = """\
#!{python}
import os, time
import ray


@ray.remote(num_cpus=2)
def work():
    time.sleep(1)


ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False)
ray.get(work.remote())
"""
WITHOUT_PLACE = (
    "shown => { shown.textContent = shown.textContent.replace(/^\\S+/, 'python') }"  # of the interpreter, in a picture
)
SUBMIT = ("submit", "recipes/small.yaml", "--cluster", "two", "--set", "workers.count=2")


def spoken(*words: str, code: int = 0) -> tuple[str, str]:
    """What a command prints, and what it tells people."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        ended = main(list(words))
    assert ended == code, f"{words}: {ended}\n{out.getvalue()}\n{err.getvalue()[-3000:]}"
    return out.getvalue(), err.getvalue()


def command(*words: str, code: int = 0) -> str:
    return spoken(*words, code=code)[0]


def asked(*words: str, code: int = 0) -> Any:
    return json.loads(command(*words, "--json", code=code))


def wait(until: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not until():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s for {what}"
        time.sleep(0.5)


@dataclass
class Place:
    """The cluster, the project whose cluster file names it, and where its runs go."""

    nodes: TwoNodes
    project: Path
    runs: Path

    def submitted(self, *more: str) -> str:
        return str(asked(*SUBMIT, *more)["id"])

    def lines(self, job: str, name: str) -> list[dict[str, Any]]:
        file = self.runs / job / name
        return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []

    def events(self, job: str, name: str) -> list[dict[str, Any]]:
        return [event for event in self.lines(job, "events.jsonl") if event["event"] == name]

    def wait_for(self, job: str, name: str, count: int = 1) -> None:
        """An event of the run; a job that ended without it is told with its log."""

        def there() -> bool:
            if len(self.events(job, name)) >= count:
                return True
            state = asked("status", job)["state"]
            assert state in ("pending", "running"), f"{state} before '{name}':\n{command('logs', job)[-5000:]}"
            return False

        wait(there, f"'{name}' of {job}")

    def wait_until_ended(self, job: str) -> str:
        wait(lambda: asked("status", job)["state"] not in ("pending", "running"), f"the end of {job}")
        return str(asked("status", job)["state"])

    def figures(self, job: str) -> list[dict[str, Any]]:
        return json.loads((self.runs / job / "result.json").read_text())["tasks"]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="tl-", dir="/tmp"))  # the paths of sockets are short
    recipe = write_project(folder / "project")
    text, project = recipe.read_text(), recipe.parents[1]
    for before, after in {**TRAIN, **SMALLER}.items():
        assert before in text
        text = text.replace(before, after)
    recipe.write_text(text)
    card = project / "tasks" / "topic" / "card.yaml"
    card.write_text(f"{card.read_text()}loss: unhurried\n")
    card.with_name("plugin.py").write_text(PLUGIN)
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("HOME", str(folder))
        changed.chdir(project)
        nodes = TwoNodes(folder)
        try:
            (project / "clusters").mkdir()
            stated = FILE.format(address=nodes.address, folder=folder, python=sys.executable)
            (project / "clusters" / "two.yaml").write_text(stated)
            yield Place(nodes, project, folder / "runs")
        finally:
            nodes.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def followed(place: Place) -> tuple[str, str]:
    """A job on both nodes that `submit --follow` followed to its end, and what was seen of it."""
    out, seen = spoken(*SUBMIT, "--json", "--follow")
    return str(json.loads(out)["id"]), seen


@pytest.fixture(scope="module")
def undisturbed(followed: tuple[str, str]) -> str:
    return followed[0]


def test_a_job_that_was_followed_to_its_end_says_what_it_did(place: Place, followed: tuple[str, str]) -> None:
    undisturbed, seen = followed
    assert f"step {STEPS}" in seen and f"{undisturbed}-a1: finished" in seen
    status = asked("status", undisturbed)
    assert (status["state"], status["step"], status["workers"], status["restarts"]) == ("finished", STEPS, 2, 0)
    assert any(name.startswith("eval/") for name in status["figures"])
    said = command("logs", undisturbed)
    assert f"run {undisturbed}" in said and "@trunkline" not in said
    assert all(f"--- rank {rank} of 2: process " in command("logs", undisturbed, "--rank", str(rank)) for rank in (0, 1))
    assert asked("resume", undisturbed) | {"submitted": False, "was": "finished"} == asked("resume", undisturbed)


def test_what_was_sent_holds_no_token_and_nobody_gets_in_without_one(place: Place, undisturbed: str) -> None:
    kept = b"".join(path.read_bytes() for path in (place.project / ".trunkline" / "jobs").rglob("*") if path.is_file())
    told = Api(load_cluster(place.project / "clusters" / "two.yaml")).get("/api/jobs/") or b""
    assert undisturbed.encode() in kept and undisturbed.encode() in told
    assert TOKEN.encode() not in kept and TOKEN.encode() not in told
    token = place.nodes.folder / "token"
    token.write_text("f" * 32)
    try:
        assert "does not accept the token" in command("status", undisturbed, "--json", code=7)
    finally:
        token.write_text(TOKEN)


def test_the_dashboards_page_of_the_job_has_no_console_errors(place: Place, undisturbed: str, tmp_path: Path) -> None:
    """The picture is docs/images/ray-job.png."""
    cookie = {"name": "ray-authentication-token", "value": TOKEN, "url": place.nodes.address}
    with chromium() as browser:
        context = browser.new_context(viewport={"width": 1000, "height": 700})
        context.add_cookies([cookie])
        page = context.new_page()
        said = complaints(page)
        page.goto(f"{place.nodes.address}/#/jobs/{undisturbed}-a1")
        page.get_by_text(f"{undisturbed}-a1").first.wait_for(timeout=120_000)
        page.get_by_text("SUCCEEDED").first.wait_for(timeout=120_000)
        page.wait_for_timeout(5000)
        page.get_by_text("-m trunkline train").first.evaluate(WITHOUT_PLACE)
        pictured(page, tmp_path / "ray-job.png")
    assert said == []


def test_twenty_jobs_at_once_wait_for_their_resources_and_all_end(place: Place) -> None:
    program = place.nodes.folder / "waiter"
    program.write_text(WAITER.format(python=sys.executable))
    program.chmod(0o755)
    clusters = place.project / "clusters"
    stated = (clusters / "two.yaml").read_text().replace(f"python: {sys.executable}", f"python: {program}")
    (clusters / "many.yaml").write_text(stated)

    def sent(_: int) -> str:
        recipe = Path("recipes/small.yaml")
        return submit(recipe, "many", ["workers.count=2"], say=lambda _: None, skip_data=True).job.run_id

    with ThreadPoolExecutor(20) as pool:
        jobs = list(pool.map(sent, range(20)))
    assert len(set(jobs)) == 20
    states: dict[str, str] = {}

    def ended() -> bool:
        states.update({row["id"]: row["state"] for row in asked("jobs") if row["id"] in jobs})
        return all(state in ("finished", "failed", "stopped") for state in states.values())

    wait(ended, "twenty jobs")
    assert states == dict.fromkeys(jobs, "finished")


def test_a_node_that_is_lost_shrinks_the_job_and_one_that_comes_grows_it_and_rows_stay_in_their_steps(
    place: Place, undisturbed: str
) -> None:
    hold = place.nodes.folder / "hold"
    job = place.submitted("--set", "workers={count: [1, 2], cpus: 2, grow_every_s: 1}")  # a node has room for one
    place.wait_for(job, "checkpoint")
    hold.touch()
    place.nodes.second.kill()
    place.wait_for(job, "training", 2)
    place.nodes.join()
    place.wait_for(job, "training", 3)
    hold.unlink()
    assert place.wait_until_ended(job) == "finished", command("logs", job)[-5000:]
    began = place.events(job, "training")
    assert [event["workers"] for event in began] == [2, 1, 2]
    assert began[1]["step"] >= 10 and all(event["resumed"] for event in began[1:])
    mine, theirs = (place.lines(own, "rows.jsonl") for own in (job, undisturbed))
    assert len(mine) == STEPS and mine == theirs
    mine, theirs = ([row for row in place.lines(own, "metrics.jsonl") if "train/lr" in row] for own in (job, undisturbed))
    for here, there in zip(mine, theirs, strict=True):
        losses = {name: value for name, value in there.items() if name.startswith("train/") and name.endswith("/loss")}
        assert losses == pytest.approx({name: here[name] for name in losses}, abs=1e-3)


def test_a_job_that_was_stopped_and_resumed_and_lost_a_node_ends_as_if_nothing_had_been(place: Place, undisturbed: str) -> None:
    job = place.submitted()
    place.wait_for(job, "checkpoint")
    assert asked("stop", job)["asked"]
    assert place.wait_until_ended(job) == "stopped"
    assert not asked("stop", job)["asked"]
    stood = place.events(job, "checkpoint")[-1]["step"]
    assert 0 < stood < STEPS

    resumed = [asked("resume", job) for _ in range(2)]
    assert [(found["attempt"], found["submitted"]) for found in resumed] == [(2, True), (2, False)]
    place.wait_for(job, "training", 2)
    assert place.events(job, "training")[-1]["step"] == stood
    place.nodes.second.kill()
    assert place.wait_until_ended(job) == "finished", command("logs", job)[-5000:]
    assert asked("status", job)["restarts"] == 1 and place.events(job, "training")[-1]["resumed"]
    assert place.figures(job) == place.figures(undisturbed)
    states = {row["id"]: row["state"] for row in asked("jobs")}
    assert states[undisturbed] == states[job] == "finished"
