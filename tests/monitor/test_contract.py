"""All that Weights & Biases holds of a run on two workers that was killed and resumed, against the contract of docs/wandb.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trunkline.config.recipe import load_recipe
from trunkline.tasks.card import load_card

pytestmark = pytest.mark.timeout(600)
STEPS, SAVED, KILLED = 20, 10, 13
AXIS, TOKENS = "train/global_step", "train/tokens"
TASKS = ("topic", "answer", "words")
SUMMARIES = {
    "eval/topic/accuracy": "max",
    "eval/topic/macro_f1": "max",
    "eval/answer/retrieval_recall": "max",
    "eval/answer/retrieval_mrr": "max",
    "eval/words/perplexity": "min",
    "eval/words/masked_accuracy": "max",
    "eval/skill": "max",
    **{f"train/{task}/loss": "last" for task in TASKS},
}
SCRIPT = """
    import os, signal, sys, time
    from pathlib import Path
    import trunkline.launch.worker
    from faults.lab import Lab, at_steps
    from small_project import write_project

    def killed(_):
        record = next(run.glob("wandb/offline-run-*/run-*.wandb"))
        until, size = time.time() + 60, -1
        while size != record.stat().st_size and time.time() < until:  # W&B's own process writes behind us
            size = record.stat().st_size
            time.sleep(1.5)
        os.kill(os.getpid(), signal.SIGKILL)

    lab = Lab(Path(sys.argv[1]))
    write_project(lab.folder)
    run = lab.prepared(*sys.argv[3:])
    first = lab.ranks(run, 2, lambda rank: at_steps({int(sys.argv[2]): killed}) if rank == 0 else None)
    assert [child.wait() for child in first][0] == -signal.SIGKILL, first[0].said
    second = lab.ranks(run, 2)
    assert [child.wait() for child in second] == [0, 0], second[0].said
    print(run)
"""
SETTINGS = (
    "tasks=[topic, {task: answer, weight: 0.7}, words]",
    f"train={{steps: {STEPS}, tokens_per_step: 256, tokens_per_pass: 160, max_length: 16, evaluate_every: {SAVED}, "
    "save_every: 5, log_every: 1, watch_gradients: 5}",
    "track.wandb={project: laws, mode: offline}",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose rank 0 was killed before step 13, and which went on from step 10 on two ranks to its end."""
    home = tmp_path_factory.mktemp("home")
    folders = dict.fromkeys(("HOME", "TMPDIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"), str(home))
    plain = {name: value for name, value in os.environ.items() if name not in ("WANDB_API_KEY", "WANDB_MODE")}
    paths = os.pathsep.join(path for path in (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")) if path)
    words = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path_factory.mktemp("project")), str(KILLED), *SETTINGS]
    environment = {**plain, **folders, "PYTHONPATH": paths, "DS_ACCELERATOR": "cpu"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=580, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def attempts(run: Path) -> list[list[dict[str, Any]]]:
    """The records of each attempt, in order."""
    program = str(Path(sys.executable).with_name("wandb"))
    found = []
    for path in sorted(run.glob("wandb/offline-run-*/run-*.wandb")):
        words = [program, "leet", "inspect", "--json", str(path)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
        found.append([json.loads(line) for line in done.stdout.splitlines()])
    return found


def told(records: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What the records say, but for what W&B notes of itself: header, telemetry, files, and the summary at each moment."""
    return [line for record in records for line in _told(record["type"], record.get(record["type"], {}))]


def _told(kind: str, own: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    if kind == "run":
        yield "run", own["run_id"], own["project"]
    elif kind == "metric":
        yield "metric", own.get("name", own.get("glob_name")), own.get("step_metric"), tuple(own.get("summary", ()))
    elif kind == "artifact":
        table = own["manifest"]["contents"][0]["path"].removesuffix(".table.json")
        yield "artifact", own["type"], table if own["type"] == "run_table" else own["name"], tuple(sorted(own["aliases"]))
    elif kind == "history":
        figures = {name: value for name, value in own["item"].items() if not name.startswith("_") and "." not in name}
        drawn = {name.removesuffix("._type"): value for name, value in own["item"].items() if name.endswith("._type")}
        yield "history", {**figures, **drawn}
    elif kind == "alert":
        yield "alert", own["title"], own["level"]
    elif kind not in ("header", "telemetry", "files", "summary"):
        yield kind, own.get("exit_code")


def contract(run: Path, attempt: int, first: int, last: int) -> Iterator[tuple[Any, ...]]:
    """What an attempt that trained the steps above `first`, up to `last`, has to say, by the run's own files."""
    yield "run", run.name, "laws"
    yield "metric", AXIS, None, ()
    yield "metric", "*", AXIS, ()
    yield from (("metric", name, AXIS, (way,)) for name, way in SUMMARIES.items())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    skill = {row["step"]: row["eval/skill"] for row in rows if "eval/skill" in row}
    pictures, tokens = Pictures(), 0
    happened = [*(row for row in rows if first < row["step"] <= last), *events(run)[attempt]]
    for record in sorted(happened, key=lambda record: record["time"]):
        if "event" in record:
            yield from _of_event(record, run.name, skill)
            continue
        tokens = record.get(TOKENS, tokens)
        values = {name: value for name, value in record.items() if name not in ("step", "time")}
        yield "history", {AXIS: record["step"], TOKENS: tokens, **values}
        yield from pictures.of(record)
    if last == STEPS:
        yield from pictures.at_the_end()
        yield "exit", 0


def events(run: Path) -> list[list[dict[str, Any]]]:
    """Of each attempt, from where its tracker began."""
    found: list[list[dict[str, Any]]] = []
    for line in (run / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "tracker_started":
            found.append([])
        found[-1].append(event)
    return found


def _of_event(event: dict[str, Any], run: str, skill: dict[int, float]) -> Iterator[tuple[Any, ...]]:
    if event["event"] == "training":
        yield "artifact", "cards", f"cards-{run}", ("latest",)
        yield "artifact", "data", f"data-{run}", ("latest",)
    elif event["event"] == "checkpoint":
        step = event["step"]
        best = step in skill and skill[step] == max(value for at, value in skill.items() if at <= step)
        yield (
            "artifact",
            "checkpoint",
            f"checkpoint-{run}",
            tuple(sorted(["latest", f"step-{step}", *(["best"] if best else [])])),
        )
    elif event["event"] == "finished":
        yield "artifact", "model", f"model-{run}", ("candidate", "latest")
        yield "artifact", "run_table", "results", ("latest",)
        yield "history", {AXIS: STEPS, "results": "table-file"}
        yield "alert", "Finished", "INFO"


class Pictures:
    """Of the cosines: where the first was seen, where the run is a quarter longer, and in the end."""

    def __init__(self) -> None:
        self.seen, self.drawn = 0, 0

    def of(self, record: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
        self.seen = record["step"] if any(name.startswith("grad/cosine/") for name in record) else self.seen
        if self.seen > self.drawn and self.seen >= 1.25 * self.drawn:
            yield from self.at_the_end()

    def at_the_end(self) -> Iterator[tuple[Any, ...]]:
        if self.seen > self.drawn:
            self.drawn = self.seen
            yield "artifact", "run_table", "grad/cosines", ("latest",)
            yield "history", {AXIS: self.seen, "grad/cosines": "table-file", "grad/heat_map": "plotly-file"}


def test_what_went_on_after_the_kill_is_told_to_the_last_record(run: Path, attempts: list[list[dict[str, Any]]]) -> None:
    assert len(attempts) == 2
    assert told(attempts[1]) == list(contract(run, 1, SAVED, STEPS))


def test_what_was_told_before_the_kill_stands_and_steps_that_came_again_have_the_same_figures(
    run: Path, attempts: list[list[dict[str, Any]]]
) -> None:
    """Of the first attempt all but the end is on disk: what W&B still held in memory is gone."""
    before, promised = told(attempts[0]), list(contract(run, 0, 0, SAVED))
    assert before[: len(promised)] == promised[: len(before)]
    assert [line for line in before if line[0] == "history"]
    again = {line[1][AXIS]: _figures(line[1]) for line in told(attempts[1]) if line[0] == "history" and "train/lr" in line[1]}
    lost = [line[1] for line in before[len(promised) :] if line[0] == "history" and "train/lr" in line[1]]
    assert [row[AXIS] for row in lost] == list(range(SAVED + 1, SAVED + 1 + len(lost)))
    assert all(_figures(row) == again[row[AXIS]] for row in lost)


def _figures(row: dict[str, Any]) -> dict[str, Any]:
    """But for how fast it went."""
    return {name: value for name, value in row.items() if not name.startswith("system/")}


def test_every_step_has_each_tasks_loss_weight_share_and_gradient(attempts: list[list[dict[str, Any]]]) -> None:
    rows = [line[1] for line in told(attempts[1]) if line[0] == "history" and "train/lr" in line[1]]
    assert [row[AXIS] for row in rows] == list(range(SAVED + 1, STEPS + 1))
    for row in rows:
        assert {f"{kind}/{task}" for kind in ("weight", "share", "grad/norm_share") for task in TASKS} <= row.keys()
        assert all(f"train/{task}/loss" in row for task in TASKS if row[f"share/{task}"]) and TOKENS in row


def test_a_record_that_is_missing_doubled_or_changed_is_found(run: Path, attempts: list[list[dict[str, Any]]]) -> None:
    """The fault: for each kind of record one that is not as it was promised."""
    found, promised = told(attempts[1]), list(contract(run, 1, SAVED, STEPS))
    places = {line[0]: place for place, line in enumerate(found)}
    assert set(places) == {"run", "metric", "artifact", "history", "alert", "exit"}
    for place in places.values():
        assert [*found[:place], *found[place + 1 :]] != promised
        assert [*found[: place + 1], *found[place:]] != promised
    loss = next(place for place, line in enumerate(found) if line[0] == "history" and "train/topic/loss" in line[1])
    changed = {**found[loss][1], "train/topic/loss": found[loss][1]["train/topic/loss"] + 1e-6}
    assert [*found[:loss], ("history", changed), *found[loss + 1 :]] != promised


def test_the_summary_has_each_metrics_best_in_its_own_direction(run: Path, attempts: list[list[dict[str, Any]]]) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    summary: dict[str, Any] = {}
    for record in attempts[1]:
        if record["type"] == "summary":
            summary |= record["summary"]["update"]
    pick = {"max": max, "min": min, "last": lambda values: values[-1]}
    for name, way in SUMMARIES.items():
        values = [row[name] for row in rows if row["step"] > SAVED and name in row]
        assert summary[name] == {way: pytest.approx(pick[way](values), rel=1e-12)}


def test_both_attempts_are_the_run_of_the_checkpoint_with_its_recipe_and_cards(
    run: Path, attempts: list[list[dict[str, Any]]]
) -> None:
    state = json.loads((run / "checkpoints" / f"step-{STEPS:08d}" / "state.json").read_text())
    assert state["run_id"] == run.name
    cards = {task: load_card(run / "cards" / task).model_dump(mode="json") for task in TASKS}
    for records in attempts:
        (own,) = [record["run"] for record in records if record["type"] == "run"]
        assert own["run_id"] == run.name
        assert own["config"]["update"]["recipe"] == load_recipe(run / "recipe.yaml").model_dump(mode="json")
        assert own["config"]["update"]["cards"] == cards
