"""`python -m benchmarks.quality.tuning`: a study whose trials are killed, the same one stopped and continued, and its worth.

The study runs twice, each in a folder of its own under outputs/tuning/: in `killed` processes of trials are killed, `stopped` is
stopped half-way and goes on by the same command. Both must end, with the same figures. Then the tuned recipe and the recipe as
it is train over seeds that the study did not see and are measured on the test rows. What is there is not run again; the result
is benchmarks/results/tuning.json, the table goes into docs/tune.md.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import typer
from benchmarks.quality.cells import circumstances, cut_off
from benchmarks.quality.mixed import Scores, delta
from benchmarks.quality.table import write_section

import trunkline
from trunkline.document import reader, writer
from trunkline.registry import METRICS
from trunkline.tasks.catalog import Catalog
from trunkline.workflows.baseline import measured

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "tuning.json"
COMMAND = "python -m benchmarks.quality.tuning"
TRIAL = "ray::_one"  # how Ray names a process while it runs a trial
FILES = {"train", "validation", "test", "documents", "queries", "judgements"}  # what a card's data names
RESAMPLES = 100
PATIENCE_S = 3600
NO_RAY, STARTS = 6, 10  # an exit code of trunkline's; how often a study is started until Ray comes up
Say = Callable[[str], None]
Trouble = Callable[[subprocess.Popen[bytes]], dict[str, Any]]


class Tuning:
    """The study of one file, in <outputs>/killed and <outputs>/stopped, and its seeds in <outputs>/seeds."""

    def __init__(self, path: Path, outputs: Path) -> None:
        self.stated: dict[str, Any] = reader.read(path).data
        self.outputs = outputs
        self.catalog = outputs / "cards" / "tasks"
        self.recipe = {**self.stated["recipe"], "catalog": [str(self.catalog)]}
        for task in self.recipe["tasks"]:
            self._write_card((path.parent / self.stated["recipe"]["catalog"][0] / task).resolve())

    def _write_card(self, folder: Path) -> None:
        """The ladder's card with validation rows."""
        card = reader.read(folder / "card.yaml").data
        data = {**card["data"], **self.stated["validation"].get(folder.name, {})}
        for key in FILES & data.keys():
            data[key] = [str(folder / one) for one in data[key]] if isinstance(data[key], list) else str(folder / data[key])
        place = self.catalog / folder.name
        place.mkdir(parents=True, exist_ok=True)
        (place / "card.yaml").write_text(writer.render({**card, "data": data}), encoding="utf-8")

    def study(self, name: str, trouble: Trouble, say: Say) -> dict[str, Any]:
        """The study in a folder of its own. trouble: what is done to it while it runs, and what of that is told."""
        place = self.outputs / name
        done = place / "study.json"
        if done.is_file():
            say(f"{name}: stands")
            return dict(json.loads(done.read_text()))
        for folder in ("recipes", "tasks"):  # an empty `tasks` makes it a project of its own
            (place / folder).mkdir(parents=True, exist_ok=True)
        (place / "recipes" / "quick.yaml").write_text(writer.render(self.recipe), encoding="utf-8")
        (place / "search.yaml").write_text(writer.render(self.stated["search"]), encoding="utf-8")
        began = time.time()
        code, told = self._ended(place, trouble)
        codes = [code]
        if code == 128 + signal.SIGINT:
            codes.append(self._ended(place, lambda _: {})[0])
        if codes[-1]:
            raise SystemExit(f"{name}: the study ended with {codes}; see {place / 'err.txt'}")
        found = json.loads((place / "out.json").read_text())
        document = {"seconds": round(time.time() - began), "exit_codes": codes, **told, "study": found}
        done.write_text(json.dumps(document))
        say(f"{name}: {document['seconds']} s, exit codes {codes}, {told}")
        return document

    def _ended(self, place: Path, trouble: Trouble) -> tuple[int, dict[str, Any]]:
        """The command's exit code and what `trouble` did to it; again where Ray did not come up, as on a machine under load."""
        for _ in range(STARTS):
            with self._started(place) as study:
                told = trouble(study)
                code = study.wait(PATIENCE_S)
            if code != NO_RAY:
                break
        return code, told

    def _started(self, place: Path) -> subprocess.Popen[bytes]:
        """The command in a process of its own; what it says goes to out.json and err.txt."""
        (place / "recipes" / "quick-tuned.yaml").unlink(missing_ok=True)
        command = ["tune", str(place / "recipes" / "quick.yaml"), "--search", str(place / "search.yaml"), "--json"]
        more = ["--together", str(self.stated["together"])]
        with (place / "out.json").open("wb") as out, (place / "err.txt").open("ab") as err:
            return subprocess.Popen([sys.executable, "-m", "trunkline", *command, *more], stdout=out, stderr=err)

    def killed(self, study: subprocess.Popen[bytes]) -> dict[str, Any]:
        """Kills one process of a trial after the other, each in the middle of its steps and each in another trial."""
        hit: dict[str, int] = {}
        while len(hit) < self.stated["kills"] and study.poll() is None:
            for process in _trials(study.pid):
                run = _run_of(process)
                if run is not None and run.parent.name not in hit and _steps(run) and not (run / "result.json").is_file():
                    hit[run.parent.name] = _steps(run)
                    process.kill()
                    break
            time.sleep(0.2)
        return {"killed": [{"trial": int(trial), "after_steps": steps} for trial, steps in hit.items()]}

    def stopped(self, study: subprocess.Popen[bytes]) -> dict[str, Any]:
        """Stops the study, as Ctrl-C does, once half of the first rung's trials are done."""
        place, half = self.outputs / "stopped", self.stated["search"]["trials"] // 2
        while len(_finished(place)) < half and study.poll() is None:
            time.sleep(0.2)
        study.send_signal(signal.SIGINT)
        study.wait(PATIENCE_S)
        return {"stopped_after": len(_finished(place))}

    def seed(self, side: str, settings: Mapping[str, Any], seed: int, say: Say) -> dict[str, Any]:
        """One training of the tuned recipe or of the default, measured on the test rows and on resamples of them."""
        place = self.outputs / "seeds" / f"{side}-{seed}"
        done = place.with_suffix(".json")
        if done.is_file():
            return dict(json.loads(done.read_text()))
        place.parent.mkdir(parents=True, exist_ok=True)
        recipe = place.with_suffix(".yaml")
        recipe.write_text(writer.render({**settings, "seed": seed}), encoding="utf-8")
        resume = place.is_dir() and cut_off(place, recipe)
        result = trunkline.train(recipe, outputs=place, resume=resume, in_process=True, say=say)
        rows = [self._measured(result.model, task, say) for task in self.recipe["tasks"]]
        done.write_text(json.dumps({"side": side, "seed": seed, "tasks": rows}))
        shutil.rmtree(place)
        return {"side": side, "seed": seed, "tasks": rows}

    def _measured(self, model: Path, task: str, say: Say) -> dict[str, Any]:
        """The headline metric on the test rows, and on as many of them drawn with replacement, by the task's name alone."""
        metric, own = measured(model, task, Catalog([self.catalog]), self.catalog, say, "test")
        again = own.drawn(metric, RESAMPLES, zlib.crc32(task.encode())).tolist()
        name = reader.read(self.catalog / task / "card.yaml").data["metrics"][0]
        return {"task": task, "metric": name, "value": own.value(metric), "resampled": again}


def _trials(study: int) -> list[psutil.Process]:
    """The processes of a study that run a trial now."""
    found = []
    for process in psutil.Process(study).children(recursive=True):
        try:
            line = process.cmdline()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if line and line[0].startswith(TRIAL):
            found.append(process)
    return found


def _run_of(process: psutil.Process) -> Path | None:
    """The run a trial's process writes, by the metrics it holds open."""
    try:
        files = [Path(own.path) for own in process.open_files()]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return next((path.parent for path in files if path.name == "metrics.jsonl"), None)


def _steps(run: Path) -> int:
    """The last step that the run told of."""
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines() if line.endswith("}")]
    return max(steps, default=0)


def _finished(place: Path) -> list[Path]:
    return list((place / ".trunkline" / "tune").rglob("result.json"))


def same(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Whether two studies gave the same best, and every trial the same figures, bit for bit."""
    scores = [{trial["number"]: trial["scores"] for trial in own["trials"]} for own in (first, second)]
    other = sum(scores[0][number] != scores[1].get(number) for number in scores[0])
    return {"best": first["best"]["number"] == second["best"]["number"], "trials": len(scores[0]), "other_figures": other}


def beside(tuned: Sequence[Mapping[str, Any]], default: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The tuned recipe less the default over the same seeds and rows, in percent of the default; by task and on the mean.

    Intervals are 95 % of a bootstrap over test rows and seeds, the same draws on both sides.
    """
    names = [row["task"] for row in tuned[0]["tasks"]]
    metrics = {row["task"]: row["metric"] for row in tuned[0]["tasks"]}
    signs = np.array([1 if METRICS.get(metrics[name]).higher_is_better else -1 for name in names])
    scores = [Scores([own["tasks"] for own in side]) for side in (tuned, default)]
    told = delta(scores[0], scores[1], signs)
    verdict = "better" if told["low"] > 0 else "worse" if told["high"] < 0 else "not told apart"
    each = [
        {"task": name, "metric": metrics[name], "tuned": float(own), "default": float(other)}
        for name, own, other in zip(names, scores[0].values.mean(0), scores[1].values.mean(0), strict=True)
    ]
    return {"seeds": [own["seed"] for own in tuned], **told, "verdict": verdict, "tasks": each}


def document(stated: Mapping[str, Any], killed: Mapping[str, Any], stopped: Mapping[str, Any], told: Any) -> dict[str, Any]:
    """What is stored: the study, what was done to it, whether both came out alike, and what it is worth."""
    trials = [{key: trial[key] for key in ("number", "point", "scores")} for trial in killed["study"]["trials"]]
    facts = {name: {key: own[key] for key in own if key != "study"} for name, own in (("killed", killed), ("stopped", stopped))}
    return {
        "schema_version": 1,
        "command": COMMAND,
        **circumstances(),
        "search": stated["search"],
        "together": stated["together"],
        **facts,
        "same": same(killed["study"], stopped["study"]),
        "trials": trials,
        "validation": killed["study"]["against"],
        "beside": told,
    }


def markdown(found: Mapping[str, Any]) -> str:
    """The table as people read it, and what came of the study in three sentences."""
    paths, rungs = list(found["search"]["search"]), found["search"]["rungs"]
    lines = [_line(["trial", *(f"{steps} steps" for steps in rungs), *paths]), "|---" + "|---:" * (len(rungs) + len(paths)) + "|"]
    for trial in found["trials"]:
        scores = ["diverged" if score is None else f"{score:.4f}" for score in trial["scores"]]
        point = [str(trial["point"].get(path, "as it is")) for path in paths]
        lines.append(_line([str(trial["number"]), *scores, *[""] * (len(rungs) - len(scores)), *point]))
    told = found["beside"]
    lines += ["", _line(["test rows", "the recipe as it is", "tuned"]), "|---|---:|---:|"]
    lines += [
        _line([f"{row['task']} ({row['metric']})", f"{row['default']:.3f}", f"{row['tuned']:.3f}"]) for row in told["tasks"]
    ]
    return "\n".join([*lines, "", *_sentences(found)])


def _sentences(found: Mapping[str, Any]) -> list[str]:
    killed, stopped, told, alike = (found[key] for key in ("killed", "stopped", "beside", "same"))
    hit = ", ".join(f"{own['trial']} after step {own['after_steps']}" for own in killed["killed"])
    best = "the same best" if alike["best"] else "another best"
    verdict = {"better": "The tuned recipe is better", "worse": "The tuned recipe is worse"}.get(
        told["verdict"], "The two are not told apart"
    )
    return [
        f"- {len(killed['killed'])} processes of trials were killed ({hit}): the study ended by itself after "
        f"{killed['seconds']} s, {found['together']} trials at once.",
        f"- Stopped after {stopped['stopped_after']} trials and started again, it ended with {best}; of {alike['trials']} trials "
        f"{alike['other_figures']} had another figure in any bit.",
        f"- {verdict}: {told['percent']:+.1f} % ({told['low']:+.1f} to {told['high']:+.1f}) over the tasks, "
        f"{len(told['seeds'])} seeds that the study did not see.",
    ]


def _line(values: Sequence[str]) -> str:
    return "| " + " | ".join(values) + " |"


def main() -> None:
    """Runs what is missing and writes the result and the page's table; it goes to stdout too."""
    tuning = Tuning(HERE / "tuning.yaml", HERE / "outputs" / "tuning")

    def say(line: str) -> None:
        typer.echo(line, err=True)

    killed, stopped = (
        tuning.study(name, trouble, say) for name, trouble in (("killed", tuning.killed), ("stopped", tuning.stopped))
    )
    tuned = reader.read(tuning.outputs / "killed" / "recipes" / "quick-tuned.yaml").data
    sides = {"tuned": {**tuned, "catalog": [str(tuning.catalog)]}, "default": tuning.recipe}
    runs = {side: [tuning.seed(side, own, seed, say) for seed in tuning.stated["seeds"]] for side, own in sides.items()}
    found = document(tuning.stated, killed, stopped, beside(runs["tuned"], runs["default"]))
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    write_section(HERE.parents[1] / "docs" / "tune.md", "tuning", markdown(found))
    typer.echo(markdown(found))


if __name__ == "__main__":
    typer.run(main)
