"""Every command of every page is typed in a small project of the names that the pages use, or stands below with a reason."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import documented
from trunkline import api
from trunkline.launch.runs import RunFolder, all_runs
from typed import Command, steps, told, walk

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FIRST_STEPS = "docs/first-steps.md"  # typed from an empty folder in tests/test_first_steps.py
NEW = "README.md"  # begins before there is a project

# Need Ray, or never end: typed by tests/docs/test_slow_commands.py.
SLOWLY = (
    "trunkline train recipes/quickstart.yaml -s workers.count=2 -s workers.cpus=1 -s engine.zero_stage=2",
    "trunkline submit recipes/quickstart.yaml --cluster local",
    "trunkline jobs",
    "trunkline status",
    "trunkline logs --follow",
    "trunkline logs --rank 1",
    "trunkline stop",
    "trunkline resume",
    "trunkline serve outputs/RUN-ID/model",
    "trunkline serve outputs/RUN-ID/model --port 8000 --replicas 2",
    """curl -s 127.0.0.1:8000/predict -d '{"tasks": ["topic", "urgency"], "rows": ["Where is my parcel?"]}'""",
)
# Typed by no test of this folder: why, and what holds it instead.
ELSEWHERE = {
    "make demo": "trains for five minutes; what it shows is held against the stored result in tests/test_docs.py",
    "make check": "runs the checks",
    "make test": "runs these tests",
    "source .venv/bin/activate": "changes the shell that it is typed in",
    "pip install 'trunkline[serve]'": "fetches packages; the extra is looked up below",
    "trunkline track sync": "sends to Weights & Biases; tests/monitor/test_tracked.py has a server on this machine",
    "trunkline parts heads": "once a package is installed; tests/build/test_third_party.py lays one beside",
    "export RAY_AUTH_MODE=token": "tests/clusters/test_ray_cluster.py starts Ray with a token",
    'umask 077; mkdir -p ~/.ray; python -c "import secrets; print(secrets.token_hex(32))" > ~/.ray/auth_token': "as above",
    "ray start --head --dashboard-host 127.0.0.1 --num-cpus 2": "the same test does, with tests/ray_start.py",
    "ray start --address 127.0.0.1:6379 --num-cpus 2": "the same test starts a second node",
    "deploy/pin": "asks a registry; tests/deploy has it read by shellcheck",
    "deploy/build cpu": "needs Docker and a registry; tests/deploy has it read by shellcheck and its Dockerfile by hadolint",
    "deploy/build cuda REGISTRY/trunkline:0.1.0-cuda": "as above",
}
HERE = ("train", "extend", "refresh", "tune")  # done in this process, not by Ray


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def commands(page: Path) -> list[str]:
    return [step.line for step in steps(page.read_text(encoding="utf-8")) if isinstance(step, Command)]


WITH_COMMANDS = [page for page in PAGES if commands(page) and name_of(page) != FIRST_STEPS]


class Reader:
    """Puts names of this place where a page has its own. RUN-ID and OTHER-ID are the newest runs that had ended when the page
    first named one, behind --resume the newest that has not."""

    def __init__(self) -> None:
        self.runs: list[RunFolder] = []

    def fills(self, line: str) -> str:
        if line.endswith("--resume RUN-ID"):
            return line.replace("RUN-ID", next(run.run_id for run in all_runs(Path("outputs")) if not run.finished))
        if "-ID" in line and not self.runs:
            self.runs = [run for run in all_runs(Path("outputs")) if run.finished]
        for name, run in zip(("RUN-ID", "OTHER-ID"), self.runs, strict=False):
            line = line.replace(name, run.run_id)
        return line.replace("s3://team/cards", "cards-of-the-team").replace(" --together 2", "")

    def adds(self, line: str) -> list[str]:
        """A refresh by a few rows of few words may break promises, which is another test's matter."""
        command = line.split()[1]
        return [*(["--in-process"] if command in HERE else []), *(["--protect", "*:-100"] if command == "refresh" else [])]


def prepare_merge() -> None:
    """Two models of one parent, by the names of the page."""
    parent = next(run for run in all_runs(Path("outputs")) if run.finished)
    for name, task in (("a", "next"), ("b", "trec6")):
        made = api.extend(parent.model, [task], strategy="replay", protect="*:-100", steps=2, in_process=True)
        shutil.copytree(made.model, Path(name) / "model")


def prepare_other() -> None:
    """A card in another project."""
    shutil.copytree("tasks/banking", "../other/tasks/mood")
    card = Path("../other/tasks/mood/card.yaml")
    card.write_text(card.read_text().replace("banking", "mood"))


PREPARED = {"docs/extend.md": prepare_merge, "docs/add-a-task.md": prepare_other}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documented") / "project"
    documented.train_project(folder)
    return folder


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name_of)
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("own_registries")
def test_every_command_of_a_page_does_and_says_what_the_page_says(
    page: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lay() -> None:
        documented.copy_project(project, Path.cwd())

    place, reader, name = tmp_path / "place", Reader(), name_of(page)
    place.mkdir()
    monkeypatch.chdir(place)
    if name != NEW:
        lay()
    if name in PREPARED:
        PREPARED[name]()
    left_out = {*SLOWLY, *ELSEWHERE}
    assert walk(page.read_text(encoding="utf-8"), left_out, reader.fills, reader.adds, lay) == []


def test_what_is_left_out_stands_in_a_page_and_has_a_reason() -> None:
    typed = {line for page in PAGES for line in commands(page)}
    assert set(SLOWLY) | set(ELSEWHERE) <= typed and all(ELSEWHERE.values())
    extras = re.findall(r"trunkline\[(\w+)\]", "".join(page.read_text(encoding="utf-8") for page in PAGES))
    known = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2]
    assert extras and {extra for extra in extras if f"\n{extra} = [" not in known} == set()
    named = {word for reason in ELSEWHERE.values() for word in re.findall(r"tests/[\w/.]+", reason)}
    assert {path for path in named if not (ROOT / path).exists()} == set()


@pytest.mark.parametrize("line", ["sudo reboot", "python -m benchmarks.serving", "make nothing"])
def test_a_command_that_no_list_knows_is_not_passed_over(line: str) -> None:
    with pytest.raises(AssertionError, match=line.split()[0]):
        walk(f"```sh\n{line}\n```\n", {*SLOWLY, *ELSEWHERE})


def test_only_measured_numbers_may_be_others() -> None:
    page = "```console{}\n$ trunkline init one\none/README.md 0.5\n```\n"
    assert told("a 0.94 of 12", "a 0.11 of 12", measured=True) and not told("a 0.94 of 12", "a 0.11 of 12")
    assert not told("a 0.94 of 12", "a 0.94 of 13", measured=True) and not told("a 0.94", "b 0.94", measured=True)
    assert [step.measured for mark in ("", " measured") for step in steps(page.format(mark))] == [False, True]
