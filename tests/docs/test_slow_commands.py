"""Commands of the pages that need Ray or never end, typed as they stand."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import documented
from trunkline.launch.runs import all_runs
from typed import Command, steps, typed, words_of

ROOT = Path(__file__).parent.parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    documented.train_project(tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def lines(page: str, start: str = "trunkline ") -> list[Command]:
    found = [step for step in steps((ROOT / page).read_text(encoding="utf-8")) if isinstance(step, Command)]
    return [step for step in found if step.line.startswith(start)]


@pytest.mark.parametrize(
    ("page", "start"), [("README.md", "trunkline train recipes/quickstart.yaml -s"), ("docs/tune.md", "trunkline")]
)
def test_what_ray_carries_is_done(page: str, start: str, project: Path) -> None:
    (step,) = lines(page, start)
    code, said = typed(step.line)
    assert code == 0, said


def test_a_job_on_this_machine_is_sent_followed_stopped_and_resumed(project: Path) -> None:
    recipe = project / "recipes" / "quickstart.yaml"
    recipe.write_text(recipe.read_text().replace("count: 1", "count: 2").replace("steps: 6", "steps: 60"))
    steps = [step.line for step in lines("docs/clusters.md") if "task " not in step.line]
    submitted, rest = steps[:2], steps[2:]
    for line in submitted + rest:
        code, said = typed(line)
        assert code == 0, f"{line}: {said}"


class Server:
    """The page's `trunkline serve`, at a port that is free, in a process of its own."""

    def __init__(self, line: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        run = next(run for run in all_runs(Path("outputs")) if run.finished)
        words = words_of(line.replace("RUN-ID", run.run_id).replace("8000", str(self.port)))
        command = [sys.executable, "-m", *words, *([] if "--port" in words else ["--port", str(self.port)])]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().strip()


@pytest.fixture
def served(project: Path) -> Iterator[Server]:
    (step,) = lines("docs/serve.md")
    server = Server(step.line)
    yield server
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(120) == 0


def test_the_endpoint_says_to_curl_what_the_page_says(served: Server) -> None:
    (step,) = lines("docs/serve.md", "curl")
    words = words_of(step.line.replace("8000", str(served.port)))
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    shown, answered = json.loads(step.shown)["answers"], json.loads(said)["answers"]
    assert shown.keys() == answered.keys()
    for task, (answer,) in shown.items():
        assert answer.keys() == answered[task][0].keys()
