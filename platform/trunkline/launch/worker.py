"""What one worker does, wherever it was started: assemble, restore, train, save the model."""

from __future__ import annotations

import contextlib
import copy
import json
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from trunkline import checkpoint, durable
from trunkline.batch import Monitor
from trunkline.build.assemble import assemble
from trunkline.build.memory import refused
from trunkline.build.optimization import make_schedule
from trunkline.data.dealing import Step
from trunkline.errors import Diverged, OutOfMemory
from trunkline.launch.held import Entries, Held
from trunkline.launch.judge import Judge
from trunkline.launch.outcome import spent, write_step, written
from trunkline.launch.restored import by_name, check_any, keep_rows, lost_bests
from trunkline.launch.runs import RunFolder
from trunkline.launch.saving import Saver, gather
from trunkline.launch.tracked import tracked
from trunkline.launch.watchdog import Watchdog
from trunkline.monitor.group import Group
from trunkline.monitor.jsonl import Jsonl
from trunkline.monitor.ray_metrics import ray_metrics
from trunkline.training.engine import Engine
from trunkline.training.interference import Interference
from trunkline.training.loop import Plan, Progress, train
from trunkline.training.spikes import Spikes


def work(config: Mapping[str, Any], asked: Callable[[], bool]) -> None:
    """The whole of one rank. config: {run: its folder, cpus: torch threads}. The process group exists.

    asked: whether this rank was asked to stop; then all ranks do after their step, and raise Stopped.
    """
    torch.set_num_threads(int(config["cpus"]))  # Ray starts its workers with one
    if not torch.cuda.is_available():
        exact_on_threads()
    try:
        Worker(RunFolder(Path(config["run"])), asked).run()
    except Exception as error:
        if not refused(error):
            raise
        rank = torch.distributed.get_rank()
        raise OutOfMemory(f"rank {rank} found no memory: {str(error).splitlines()[0] if str(error) else 'none left'}.") from error


def exact_on_threads() -> None:
    """The same numbers from the same step, whatever the threads of a CPU do meanwhile.

    Else the gradient of indexing adds up what several items give to one place in the order in which threads come by.
    """
    torch.use_deterministic_algorithms(True)
    deterministic: Any = torch.utils.deterministic
    deterministic.fill_uninitialized_memory = False  # costs time, and nothing here reads what was not written


class Worker:
    """One rank of a run: its live objects, and what the loop is handed to evaluate, save and record."""

    def __init__(self, folder: RunFolder, asked: Callable[[], bool]) -> None:
        self.folder, self.asked = folder, asked
        self.rank, self.world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self.built = assemble(folder.path)
        self.recipe = self.built.recipe
        self.watchdog = Watchdog(folder.stacks, self.rank, self.recipe.train.hang_s)
        self.judge = Judge(self.built, rank=self.rank, world=self.world, gather=gather)
        self.saver = Saver(aside=self.recipe.train.save_aside)
        self.unsettled: dict[str, Any] | None = None

    def run(self) -> None:
        restored, passed = checkpoint.newest(self.folder.checkpoints)
        check_any(restored, passed)
        entries = by_name(restored.tensors) if restored else {}
        self.held = Held(self.built, entries, restored.step if restored else 0)
        lost = gather(lost_bests(self.folder.checkpoints, restored) if self.rank == 0 else {})[0]
        progress = self._restore(restored, lost)
        self.monitor = self._monitor(progress.step)
        if self.rank == 0:
            checkpoint.tidy(self.folder.checkpoints)
        for item in passed:
            self.monitor.event("checkpoint_passed_over", path=item.path.name, reason=item.reason)
        for name, reason in lost.items():
            self.monitor.event("best_checkpoint_lost", path=name, reason=reason)
        facts = {"step": progress.step, "steps": self.recipe.train.steps, "workers": self.world, "pid": os.getpid()}
        self.monitor.event("training", resumed=progress.step > 0, **facts)
        if self.held.engine.frozen:
            self.monitor.event("trained", step=progress.step + 1, **self.held.counted())
        try:
            with self.watchdog.watching():
                self._train(progress)
                self._finish(progress)
        except Diverged as error:
            self._settle()
            self.monitor.close(failed=True)
            raise Diverged(f"{error.message} {self._way_on()}") from error
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
            max_bad_steps=settings.max_bad_steps,
            seed=self.recipe.seed,
            rank=self.rank,
            world=self.world,
            watch_gradients=settings.watch_gradients,
        )
        train(
            plan,
            progress,
            engine_at=self._engine_at,
            stream=self.built.stream,
            tables=self.built.tables,
            weighting=self.built.weighting,
            schedule=make_schedule(self.recipe),
            monitor=self.monitor,
            evaluate=self._evaluate,
            verdicts=lambda: self.judge.verdicts,
            save=self._save,
            record=self._record,
            asked=self.asked,
            average=self.held.average,
            passes=self.built.passes,
            enough=self.judge.enough,
            better=self.judge.better,
            back=self._back,
        )

    def _evaluate(self, step: int) -> Mapping[str, float]:
        """Of the moving average where there is one, for it is what is written in the end."""
        self._settle()
        self.watchdog.alive(f"evaluation after step {step}")
        with self.held.written():
            return self.judge.evaluate(step, self.held.built.model, self.held.engine.device)

    def _engine_at(self, step: int) -> Engine:
        """The engine of this step. Where what is trained changes, a new one from the old one's state, bit for bit. Collective."""
        if self.held.changes(step):
            self._settle()  # it may be writing what was frozen, of which there is no copy
            self.held.renew(self.held.state(), step)
            self.monitor.event("trained", step=step, **self.held.counted())
        return self.held.engine

    def _back(self, progress: Progress) -> bool:
        """Puts what is trained back to the newest checkpoint from before the bad steps; the rows go on where they are.

        Collective. False where the recipe has it no more often, or there is no such checkpoint. Source: Chowdhery et al.,
        "PaLM", JMLR 2023, section 5.1.
        """
        if progress.rollbacks >= self.recipe.train.rollbacks:
            return False
        self._settle()
        before = progress.step - progress.skipped.in_a_row
        found = checkpoint.newest(self.folder.checkpoints, before)[0] if self.rank == 0 else None
        step = gather(found.step if found else 0)[0]
        if not step:
            return False
        restored = checkpoint.load(self.folder.checkpoints / checkpoint.name_of(step))
        self.held.renew(by_name(restored.tensors), progress.step)
        self.built.weighting.load_state(restored.state["weighting"])
        progress.spikes.load_state(restored.state["spikes"])
        progress.rollbacks, progress.skipped.in_a_row = progress.rollbacks + 1, 0
        self.monitor.event("rolled_back", step=progress.step, to=step, past=progress.step - step, rollbacks=progress.rollbacks)
        return True

    def _restore(self, restored: checkpoint.Restored | None, lost: Collection[str]) -> Progress:
        progress = Progress(spikes=Spikes(self.recipe.train.spike_sigma), interference=Interference(list(self.built.tables)))
        if restored is None or restored.step == 0:  # what a run with `start:` begins with
            return progress
        self.built.stream.load_state(restored.state["stream"])
        self.built.weighting.load_state(restored.state["weighting"])
        self.judge.load_state(restored.state, lost)
        progress.load_state(restored.step, restored.state)
        return progress

    def _monitor(self, step: int) -> Monitor:
        if self.rank:
            return Group([])
        keep_rows(self.folder.rows, step)
        self.jsonl = Jsonl(self.folder.path, resume_step=step)  # 0: what a first attempt logged before it saved
        trackers = tracked(self.folder, self.built, self.jsonl.event, resumed=step > 0)
        return Group([self.jsonl, *ray_metrics(self.folder.path), *trackers])

    def _save(self, progress: Progress, wait: bool) -> bool:
        """Whether a checkpoint of this step stands, or is on its way; wait: until it stands. Collective."""
        self._settle()
        self.watchdog.alive(f"checkpoint of step {progress.step}")
        mine = checkpoint.shares(self.held.engine.sizes, self.world)
        state = self.held.state(lambda name: mine[name] == self.rank)
        tensors = {f"{key}/{name}": value for name, entry in state.items() for key, value in entry.items()}
        document = {
            "run_id": self.folder.run_id,
            **progress.state(),
            "stream": self.built.stream.state(),
            "weighting": self.built.weighting.state(),
            **self.judge.state_with(progress.step),
        }
        root, step, files, told = self.folder.checkpoints, progress.step, self.built.documents, copy.deepcopy(document)
        self.unsettled = {"step": step, "keep": told["keep"]}
        self.saver.begin(lambda own: checkpoint.save(root, step, tensors, told, files, rank=self.rank, gather=own))
        return self._settle() if wait or not self.recipe.train.save_aside else True

    def _settle(self) -> bool:
        """Whether what was begun last stands. A disk that refuses a checkpoint costs this one, not the run. Collective."""
        begun, self.unsettled = self.unsettled, None
        if begun is None:
            return True
        root, step = self.folder.checkpoints, begun["step"]
        try:
            path = self.saver.settle()
        except OSError as error:
            stands = [kept.name for kept in checkpoint.committed(root)[:1]]
            self.monitor.event("checkpoint_failed", step=step, reason=str(error), newest=stands)
            return False
        self.judge.saved(step)
        if self.rank == 0:
            gone = checkpoint.prune(root, self.recipe.train.keep_last, begun["keep"])
            self.monitor.event("checkpoint", step=step, path=path.name, removed=[old.name for old in gone])
        return True

    def _record(self, packs: Step) -> None:
        self.watchdog.alive(f"step {packs.step}")
        if self.rank == 0 and self.recipe.train.log_rows:
            self.jsonl.append(self.folder.rows.name, {"step": packs.step, "rows": packs.rows})
        durable.crash_point("worker.in_step")

    def _way_on(self) -> str:
        """For a run that diverged: which checkpoint is good, and what to change, for a mere resume would see the same rows."""
        saved = checkpoint.committed(self.folder.checkpoints)
        good = f"The newest checkpoint, {saved[0]}, is good" if saved else "There is no checkpoint"
        return (
            f"{good}; the rows are in {self.folder.path / 'events.jsonl'}. A resumed run meets the same rows in the same steps: "
            "mend or remove them, or lower optim.lr, and start a new run."
        )

    def _finish(self, progress: Progress) -> None:
        """The model folder from the last step's parameters, or a best's, then result.json: then the run is finished."""
        step = self.judge.chosen() or progress.step
        self._conclude(step, last=step == progress.step)
        self.watchdog.alive("writing the model")
        state = self.held.state(lambda _: self.rank == 0)
        if self.rank == 0:
            if step < progress.step:
                state = self._saved(step)
            trained = spent(progress.step, progress.tokens, self.built.stream.state())
            rows = write_step(self.folder, self.held.built, self.judge, state, step, self.folder.model, trained)
            bests = {"best": self.judge.best, "best_tasks": self.judge.best_tasks, "model_step": step}
            ended = {"steps": progress.step, "skipped_steps": progress.skipped.steps}
            result = {"schema_version": 1, "run_id": self.folder.run_id, **bests, "tasks": rows, **ended}
            durable.replace(self.folder.result, json.dumps(result, indent=1))
            self.monitor.event("finished", steps=self.recipe.train.steps)
        gather(None)

    def _conclude(self, step: int, *, last: bool) -> None:
        """All validation rows, measured with the parameters that are written. Collective."""
        if not self.judge.longer:
            return
        device = self.held.engine.device
        with self.held.written() if last else contextlib.nullcontext():
            model = self.held.built.model if last else written(self.built, self._saved(step)).to(device)
            self.judge.conclude(model, device, self.watchdog.alive)

    def _saved(self, step: int) -> Entries:
        return by_name(checkpoint.load(self.folder.checkpoints / checkpoint.name_of(step)).tensors)
