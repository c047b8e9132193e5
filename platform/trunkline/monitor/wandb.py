"""Weights & Biases: one run per training run, from rank 0 alone. Whatever happens to it, training goes on."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from trunkline.errors import MissingExtra
from trunkline.monitor.alerts import EVERY_S, Alert, Alerts
from trunkline.monitor.heat_map import HeatMap, figure
from trunkline.monitor.lineage import Lineage
from trunkline.monitor.redact import redacted
from trunkline.monitor.shield import sentence, shielded

STEP, TOKENS = "train/global_step", "train/tokens"
logger = logging.getLogger(__name__)


class Wandb:
    """A W&B run whose metrics stand against `train/global_step`, with `train/tokens` beside each for another axis.

    project, entity, group, tags, name: as W&B knows them. mode: `offline` writes `<folder>/wandb/offline-run-*` and opens no
    connection; `online` falls back to that when there is no key or the server does not answer; `disabled` does nothing.
    run_id: ours, kept in the checkpoint. resume: continue the run of that id. config: written redacted. summaries:
    metric name -> min, max, mean, last, first or none: the figure its summary shows. system_stats: let W&B sample the
    machine's load. stop(): asks the run to save and end, for the stop button of the page.
    report(event name, **details): told once what failed, and where the run is.

    Cosines of the tasks' gradients are shown as a table and a Plotly figure too (`heat_map.py`); without plotly as a table.

    The axis is ours and never W&B's own step: that restarts at 0 in a resumed offline run. The command line, the machine's
    description, the source code and the console stay out of the run; the first holds secrets more often than not.

    Alerts are in `alerts`, artifacts in `lineage`; one that fails costs itself, not the run's figures.

    Nothing here raises. A missing package, a failing start, log or finish gives one warning and one event
    `tracker_failed`. Times in seconds.
    """

    def __init__(
        self,
        project: str,
        mode: Literal["online", "offline", "disabled"] = "offline",
        *,
        folder: str | Path,
        run_id: str | None = None,
        resume: bool = False,
        name: str | None = None,
        entity: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
        config: Mapping[str, object] | None = None,
        summaries: Mapping[str, str] | None = None,
        system_stats: bool = False,
        init_timeout_s: float = 30.0,
        finish_timeout_s: float = 60.0,
        stop: Callable[[], None] | None = None,
        report: Callable[..., None] | None = None,
    ) -> None:
        self.run_id = run_id
        self.location: str | None = None
        self._disk = str(folder)
        self._run: Any = None
        self._report = report
        self._warned = False
        self._heat_map, self._with_figures = HeatMap(), True
        self._finish_timeout_s = finish_timeout_s
        self._tokens: float | None = None
        self._alerts = Alerts(summaries or {})
        self._lineage: Lineage | None = None
        self._folder = Path(folder)
        if mode == "disabled":
            return
        given: dict[str, Any] = {
            "project": project,
            "entity": entity,
            "group": group,
            "tags": list(tags) or None,
            "name": name,
            "id": run_id,
        }
        given |= {"config": redacted(config or {})}
        settings = _settings(system_stats=system_stats, init_timeout_s=init_timeout_s, finish_timeout_s=finish_timeout_s)
        settings["stop_fn"] = stop or _nothing  # W&B's own would raise KeyboardInterrupt in the middle of a step
        with shielded(self._give_up):
            self._start(mode, Path(folder), given, settings, resume)
            self._define(summaries or {})

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self._run is None:
            return
        self._tokens = values.get(TOKENS, self._tokens)
        beside = {} if self._tokens is None else {TOKENS: float(self._tokens)}
        with shielded(self._give_up):
            self._run.log({STEP: int(step), **beside, **{name: float(value) for name, value in values.items()}})
            self._heat_map.see(step, values)
            self._draw()
        self._tell(self._alerts.of_figures(step, values))

    def _draw(self, *, last: bool = False) -> None:
        if not self._heat_map.due(last=last):
            return
        wandb = _import()
        step, tasks, cosines = self._heat_map.draw()
        rows = [[task, *row] for task, row in zip(tasks, cosines, strict=True)]
        shown: dict[str, Any] = {"grad/cosines": wandb.Table(columns=["task", *tasks], data=rows)}
        if self._with_figures:
            with shielded(self._without_figures):
                shown["grad/heat_map"] = wandb.Plotly(figure(tasks, cosines))
        self._run.log({STEP: step, **shown})

    def event(self, name: str, **details: object) -> None:
        """What an event means to W&B: an alert, an artifact, a mark for a run that was stopped before its end."""
        if self._run is None:
            return
        if name in ("stopped", "preempted"):
            with shielded(self._give_up):
                self._run.mark_preempting()
        if self._lineage is not None:
            with shielded(self._lose):
                self._lineage.event(name, details)
        self._tell(self._alerts.of_event(name, details))

    def _tell(self, alert: Alert | None) -> None:
        if alert is not None and self._run is not None:
            with shielded(self._lose):
                text = str(redacted(alert.text))
                self._run.alert(title=alert.title, text=text, level=alert.level, wait_duration=EVERY_S)

    def close(self, *, failed: bool = False) -> None:
        """Finishes the run within about `finish_timeout_s`; what is not uploaded by then stays on disk."""
        if self._run is None:
            return
        if failed:
            self._tell(self._alerts.of_failure())
        with shielded(self._give_up):
            self._draw(last=True)
        run, self._run = self._run, None
        if run is None:
            return
        thread = threading.Thread(target=self._finish, args=(run, failed), name="wandb-finish", daemon=True)
        thread.start()
        thread.join(self._finish_timeout_s + 10)
        if thread.is_alive():
            self._unfinished(TimeoutError(f"not finished after {self._finish_timeout_s:.0f} s"))

    def _finish(self, run: Any, failed: bool) -> None:
        with shielded(self._unfinished):
            run.finish(exit_code=int(failed))

    def _start(self, mode: str, folder: Path, given: dict[str, Any], settings: dict[str, Any], resume: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"{folder} can not be written")  # W&B would turn to the temporary folder instead
        wandb = _import()
        common = {**given, "dir": str(folder), "settings": wandb.Settings(**settings), "reinit": "create_new"}
        if mode == "online":
            with shielded(self._stay_offline):
                self._run = _online(wandb, common, resume)
        if self._run is None:
            if mode == "online":
                _restart_service(wandb)
            mode = "offline"
            self._run = wandb.init(mode=mode, resume="allow", **common)
        self.run_id = self._run.id
        self._disk = str(Path(self._run.dir).parent)
        self._lineage = Lineage(wandb, self._run, self._folder, offline=mode != "online")
        self.location = self._run.url if mode == "online" else self._disk
        if self._report is not None:
            self._report("tracker_started", tracker="wandb", mode=mode, id=self.run_id, location=self.location)

    def _define(self, summaries: Mapping[str, str]) -> None:
        self._run.define_metric(STEP, hidden=True)
        self._run.define_metric("*", step_metric=STEP)
        for name, summary in summaries.items():
            self._run.define_metric(name, step_metric=STEP, summary=summary)

    def _give_up(self, error: Exception) -> None:
        self._run = None
        self._warn("W&B failed and is switched off, training goes on (metrics.jsonl has every figure)", error)

    def _without_figures(self, error: Exception) -> None:
        self._with_figures = False
        logger.warning("W&B has the table grad/cosines without its heat map: %s", sentence(error))

    def _lose(self, error: Exception) -> None:
        """An alert or an artifact that failed; figures go on."""
        if self._report is not None:
            self._report("tracker_lost", tracker="wandb", error=redacted(sentence(error)))

    def _unfinished(self, error: Exception) -> None:
        self._warn(f"W&B did not finish in time; what it lacks lies in {self._disk}, for `wandb sync`", error)

    def _stay_offline(self, error: Exception) -> None:
        self._warn("W&B can not be reached, the run is kept offline", error)

    def _warn(self, what: str, error: Exception) -> None:
        if self._warned:
            return
        self._warned = True
        problem = redacted(sentence(error))
        logger.warning("%s: %s", what, problem)
        if self._report is not None:
            self._report("tracker_failed", tracker="wandb", error=problem)


def _nothing() -> None:
    """No stop button."""


def _import() -> Any:
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read at import; crash reports would leave the machine
    try:
        import wandb
    except ImportError as error:
        raise MissingExtra("wandb") from error
    quiet = wandb.Settings(silent=True)
    if "WANDB_SERVICE" in os.environ:
        with shielded(_forget_service):
            wandb.setup(quiet)
    wandb.setup(quiet)
    return wandb


def _forget_service(_: Exception) -> None:
    """The environment named the service of a process that has ended; a new one is started."""
    os.environ.pop("WANDB_SERVICE", None)


def _restart_service(wandb: Any) -> None:
    """After a start that failed: W&B's service process still holds the run id."""
    wandb.teardown()
    wandb.setup(wandb.Settings(silent=True))


def _settings(*, system_stats: bool, init_timeout_s: float, finish_timeout_s: float) -> dict[str, Any]:
    return {
        "console": "off",
        "silent": True,
        "init_timeout": init_timeout_s,
        "finish_timeout": finish_timeout_s,
        "finish_timeout_raises": True,
        "x_disable_meta": True,
        "x_disable_stats": not system_stats,
        "x_disable_machine_info": True,
        "x_save_requirements": False,
        "disable_git": True,
        "disable_code": True,
        "disable_job_creation": True,
    }


def _online(wandb: Any, common: Mapping[str, Any], resume: bool) -> Any:
    """A run on the server. Raises when there is no key, rather than asking for one, or the server refuses or is silent."""
    if not wandb.login(verify=False, prompt=False):
        raise PermissionError("no API key (WANDB_API_KEY, ~/.netrc), or WANDB_MODE forbids it")
    if resume:
        try:
            return wandb.init(mode="online", resume="must", **common)
        except wandb.UsageError:  # the server does not know the run, which began offline
            logger.info("W&B run %s is not on the server; it begins there now", common["id"])
            _restart_service(wandb)
    return wandb.init(mode="online", resume="allow", **common)
