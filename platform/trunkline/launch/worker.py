"""What one worker does, wherever it was started: assemble, restore, train, save the model."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trunkline import checkpoint
from trunkline.batch import Monitor
from trunkline.build.assemble import Assembly, assemble, model_config
from trunkline.build.model import write_model
from trunkline.data.packing import Step
from trunkline.evaluate import baseline, evaluate, skill
from trunkline.launch.runs import RunFolder
from trunkline.monitor.group import Group
from trunkline.monitor.jsonl import Jsonl
from trunkline.monitor.wandb import Wandb
from trunkline.training.engine import Engine
from trunkline.training.loop import Plan, Progress, train
from trunkline.training.optim import Schedule, parameter_groups

LOWEST = -1e300  # JSON knows no infinity
EVALUATED_ROWS = 4000  # of a split during training; the whole split is `trunkline evaluate`'s


def work(config: Mapping[str, Any]) -> None:
    """The whole of one rank. config: {run: its folder, cpus: torch threads}. The process group exists."""
    torch.set_num_threads(int(config["cpus"]))  # Ray starts its workers with one
    Worker(RunFolder(Path(config["run"]))).run()


class Worker:
    """One rank of a run: holds the live objects and the collective pieces that the loop is handed."""

    def __init__(self, run: RunFolder) -> None:
        self.run_folder = run
        self.rank, self.world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self.built: Assembly = assemble(run.path)
        self.recipe = self.built.recipe
        self.best: dict[str, float] = {"step": 0, "score": LOWEST}
        self.latest: dict[str, float] = {}
        self.evaluated_at = 0
        self.baselines = {
            judged.name: baseline(judged, self.built.tables[judged.name], limit=EVALUATED_ROWS) for judged in self.built.judged
        }

    def run(self) -> None:
        restored, passed = checkpoint.newest(self.run_folder.checkpoints)
        entries = _by_name(restored.tensors) if restored else {}
        self._load_parameters(entries)
        self.engine = self._engine()
        progress = self._restore(restored, entries)
        self.monitor = self._monitor(progress, resumed=restored is not None)
        for item in passed:
            self.monitor.event("checkpoint_passed_over", path=item.path.name, reason=item.reason)
        facts = {"step": progress.step, "steps": self.recipe.train.steps, "workers": self.world, "pid": os.getpid()}
        self.monitor.event("training", resumed=restored is not None, **facts)
        try:
            self._train(progress)
            self._finish()
        except BaseException:
            self.monitor.close(failed=True)
            raise
        self.monitor.close()

    def _train(self, progress: Progress) -> None:
        settings = self.recipe.train
        plan = Plan(
            steps=settings.steps,
            tokens_per_pass=settings.tokens_per_pass,
            log_every=settings.log_every,
            evaluate_every=settings.evaluate_every,
            save_every=settings.save_every,
            seed=self.recipe.seed,
            rank=self.rank,
            world=self.world,
        )
        train(
            plan,
            progress,
            engine=self.engine,
            stream=self.built.stream,
            tables=self.built.tables,
            weighting=self.built.weighting,
            schedule=Schedule(self.recipe.optim.schedule, self.recipe.optim.warmup, settings.steps),
            monitor=self.monitor,
            evaluate=self._evaluate,
            save=self._save,
            record=self._record,
        )

    def _load_parameters(self, entries: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        if entries:
            self.built.model.load_state_dict({name: entry["param"] for name, entry in entries.items()}, strict=True)

    def _engine(self) -> Engine:
        optim = self.recipe.optim
        groups = parameter_groups(
            self.built.model, self.built.owner, self.built.embeddings, lr=optim.lr, head_lr=optim.head_lr or optim.lr
        )
        return Engine(
            self.built.objective,
            self.built.model,
            groups,
            self.built.make_optimizer,
            zero_stage=self.recipe.engine.zero_stage,
            clip=self.recipe.train.clip,
        )

    def _restore(self, restored: checkpoint.Restored | None, entries: Mapping[str, Mapping[str, torch.Tensor]]) -> Progress:
        if restored is None:
            return Progress()
        self.engine.load_moments(entries)
        self.built.stream.load_state(restored.state["stream"])
        self.built.weighting.load_state(restored.state["weighting"])
        self.best = restored.state["best"]
        return Progress(restored.step, int(restored.state["tokens"]))

    def _monitor(self, progress: Progress, *, resumed: bool) -> Monitor:
        if self.rank:
            return Group([])
        self._cut_rows(progress.step)
        jsonl = Jsonl(self.run_folder.path, resume_step=progress.step if resumed else None)
        monitors: list[Monitor] = [jsonl]
        track = self.recipe.track.wandb
        if track is not None:
            monitors.append(
                Wandb(
                    track.project,
                    track.mode,
                    folder=self.run_folder.path,
                    run_id=self.run_folder.run_id,
                    resume=resumed,
                    name=self.run_folder.run_id,
                    entity=track.entity,
                    group=track.group,
                    tags=track.tags,
                    config=model_config(self.built),
                    summaries=self.built.summaries,
                    report=jsonl.event,
                )
            )
        return Group(monitors)

    def _evaluate(self, step: int) -> Mapping[str, float]:
        """Every task on the first rows of its validation split.

        `eval/skill` is the mean over tasks of the share of the way from baseline to perfect.
        """
        figures: dict[str, float] = {}
        skills = []
        for judged in self.built.judged:
            found = evaluate(
                self.engine.engine.module.model,
                judged,
                tokens_per_pass=self.recipe.train.tokens_per_pass,
                device=self.engine.device,
                rank=self.rank,
                world=self.world,
                gather=gather,
                limit=EVALUATED_ROWS,
            )
            figures |= {f"eval/{judged.name}/{metric}": value for metric, value in found.items()}
            headline = next(iter(judged.metrics))
            skills.append(skill(found[headline], self.baselines[judged.name][headline], self.built.perfect[judged.name]))
        figures["eval/skill"] = sum(skills) / len(skills) if skills else 0.0
        self.latest, self.evaluated_at = figures, step
        return figures

    def _save(self, progress: Progress) -> None:
        if self.evaluated_at == progress.step and self.latest["eval/skill"] > self.best["score"]:
            self.best = {"step": progress.step, "score": self.latest["eval/skill"]}
        sizes = {name: parameter.numel() for name, parameter in self.engine.parameters.items()}
        mine = checkpoint.shares(sizes, self.world)
        state = self.engine.named_state(lambda name: mine[name] == self.rank)
        tensors = {f"{key}/{name}": value for name, entry in state.items() for key, value in entry.items()}
        document = {
            "run_id": self.run_folder.run_id,
            "tokens": progress.tokens,
            "stream": self.built.stream.state(),
            "weighting": self.built.weighting.state(),
            "best": self.best,
        }
        path = checkpoint.save(
            self.run_folder.checkpoints, progress.step, tensors, document, self.built.documents, rank=self.rank, gather=gather
        )
        if self.rank == 0:
            gone = checkpoint.prune(self.run_folder.checkpoints, self.recipe.train.keep_last, [int(self.best["step"])])
            self.monitor.event("checkpoint", step=progress.step, path=str(path.name), removed=[old.name for old in gone])

    def _record(self, packs: Step) -> None:
        if self.rank == 0 and self.recipe.train.log_rows:
            with (self.run_folder.path / "rows.jsonl").open("a") as file:
                file.write(json.dumps({"step": packs.step, "rows": packs.rows}) + "\n")

    def _cut_rows(self, step: int) -> None:
        path = self.run_folder.path / "rows.jsonl"
        if path.is_file():
            kept = [
                line
                for line in path.read_text().splitlines(keepends=True)
                if line.endswith("\n") and json.loads(line)["step"] <= step
            ]
            path.write_text("".join(kept))

    def _finish(self) -> None:
        """The model folder from the last step's parameters, then result.json, whose presence says that the run is finished."""
        state = self.engine.named_state(lambda _: self.rank == 0)
        if self.rank == 0:
            if not self.latest:
                self.latest = _last_evaluation(self.run_folder.path)
            parameters = {name: entry["param"] for name, entry in state.items()}
            rows = self._table()
            write_model(self.run_folder.model, self.built, parameters, rows, lineage={"run_id": self.run_folder.run_id})
            content = {
                "schema_version": 1,
                "run_id": self.run_folder.run_id,
                "steps": self.recipe.train.steps,
                "best": self.best,
                "tasks": rows,
            }
            temporary = self.run_folder.result.with_suffix(".tmp")
            temporary.write_text(json.dumps(content, indent=1))
            os.replace(temporary, self.run_folder.result)
            self.monitor.event("finished", steps=self.recipe.train.steps)
        gather(None)

    def _table(self) -> list[dict[str, Any]]:
        rows = []
        for judged in self.built.judged:
            headline = next(iter(judged.metrics))
            value, base = self.latest.get(f"eval/{judged.name}/{headline}", float("nan")), self.baselines[judged.name][headline]
            gained = skill(value, base, self.built.perfect[judged.name])
            metrics = {name: self.latest.get(f"eval/{judged.name}/{name}") for name in judged.metrics}
            rows.append(
                {
                    "task": judged.name,
                    "kind": self.built.cards[judged.name].head.kind,
                    "rows": len(self.built.tables[judged.name].rows),
                    "metric": headline,
                    "baseline": base,
                    "value": value,
                    "skill": gained,
                    "learned": gained > 0,
                    "metrics": metrics,
                }
            )
        return rows


def gather(value: Any) -> list[Any]:
    """All ranks' values in rank order; also a barrier."""
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, value)
    return found


def _by_name(tensors: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    entries: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        what, _, name = key.partition("/")
        entries.setdefault(name, {})[what] = tensor
    return entries


def _last_evaluation(folder: Path) -> dict[str, float]:
    """For a run resumed after its last step: what its metrics.jsonl said."""
    found: dict[str, float] = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if any(name.startswith("eval/") for name in record):
            found = {name: value for name, value in record.items() if name.startswith("eval/")}
    return found
