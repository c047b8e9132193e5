"""`trunkline submit`, `jobs`, `status`, `logs`, `stop`, `resume`: runs on a cluster."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli.output import AsJson, data, json_data, note, table

if TYPE_CHECKING:
    from trunkline.clusters.book import Book, Entry
    from trunkline.clusters.follow import Watched
    from trunkline.clusters.job import Backend, Job

Id = Annotated[str | None, typer.Argument(metavar="[ID]", help="The job, by default the newest.", show_default=False)]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Show what it says until it ends.")]


def register(app: typer.Typer) -> None:
    for command in (submit, jobs, status, logs, stop, resume):
        app.command(command.__name__)(command)


def submit(
    recipe: Annotated[Path, typer.Argument(help="The recipe file.", show_default=False)],
    cluster: Annotated[str, typer.Option("--cluster", help="A name in clusters/, or a file.", show_default=False)],
    override: Annotated[
        list[str] | None, typer.Option("-s", "--set", help="key.key=value, as often as needed.", show_default=False)
    ] = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="Print what would be sent; touch nothing.")] = False,
    follow: Follow = False,
    skip_data: Annotated[bool, typer.Option("--skip-data", help="The rows lie on the cluster alone: do not read them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a recipe on a cluster."""
    from trunkline.clusters import submit as way

    if dry:
        files = way.dry_run(recipe, cluster, override or [], say=note)
        if as_json:
            json_data(files)
        else:
            for name, text in files.items():
                data(f"# {name}\n{text}" if len(files) > 1 else text)
        return
    sent = way.submit(recipe, cluster, override or [], say=note, skip_data=skip_data)
    found = {"id": sent.job.run_id, "job": sent.job.name, "cluster": cluster, "run": f"{sent.job.storage}/{sent.job.run_id}"}
    if as_json:
        json_data({**found, "files": len(sent.package.files), "bytes": sent.package.size})
    else:
        _say_next(sent.job, f"{len(sent.package.files)} files, {sent.package.size / 2**20:.1f} MiB")
    if follow:
        from trunkline.clusters.job import backend_of

        _follow(backend_of(sent.job.cluster), sent.job, sent.entry)


def jobs(as_json: AsJson = False) -> None:
    """List what was submitted from this project, newest first."""
    from concurrent.futures import ThreadPoolExecutor

    book = _book()
    with ThreadPoolExecutor(16) as pool:  # a cluster that is down takes its time for each of its jobs
        found = list(pool.map(functools.partial(_row, book), book.entries()))
    if as_json:
        json_data(found)
    elif found:
        columns = ("id", "cluster", "attempt", "state", "submitted", "message")
        table(columns, [[row[name] for name in columns] for row in found])
    else:
        note("nothing was submitted from this project yet: trunkline submit RECIPE --cluster NAME")


def status(job_id: Id = None, as_json: AsJson = False) -> None:
    """How a job is doing: its state, step, speed, restarts and newest figures."""
    from trunkline.clusters.follow import split

    entry, backend, job = _job(job_id)
    state = backend.state(job, entry.native)
    seen = split(backend.logs(job, entry.native))[1] if state.state not in ("pending", "unknown") else split("")[1]
    told = {**seen.plain(), "steps": seen.steps or entry.steps}
    if as_json:
        json_data({**_named(entry), "state": state.state, "message": state.message, **told})
        return
    run = f"{job.storage}/{job.run_id}"
    speed = f"{seen.tokens_per_s:,.0f}" if seen.tokens_per_s else ""
    lines: list[tuple[str, object]] = [
        ("job", job.name),
        ("cluster", entry.cluster),
        ("state", state.state),
        ("message", state.message),
        ("run", run),
    ]
    lines += [("step", f"{told['step']} of {told['steps']}"), ("tokens/s", speed), ("workers", seen.workers or "")]
    lines += [
        ("restarts", seen.restarts),
        *((name, f"{value:.4g}") for name, value in sorted(seen.figures.items()) if value is not None),
    ]
    for name, value in lines:
        if value != "":
            data(f"{name}: {value}")


def logs(
    job_id: Id = None,
    follow: Follow = False,
    rank: Annotated[
        int | None, typer.Option("--rank", min=0, help="What this rank wrote, not what the job said.", show_default=False)
    ] = None,
) -> None:
    """What a job has said, or one of its ranks."""
    from trunkline.clusters.follow import OfRank, split

    entry, backend, job = _job(job_id)
    said = backend if rank is None else OfRank(backend, rank)
    if follow:
        _follow(said, job, entry)
        return
    for line in split(said.logs(job, entry.native))[0]:
        data(line)


def stop(job_id: Id = None, as_json: AsJson = False) -> None:
    """Ask a job to save and stop; one that has ended stays as it is."""
    entry, backend, job = _job(job_id)
    before = backend.state(job, entry.native)
    if before.state in ("pending", "running"):
        backend.stop(job, entry.native)
        said = f"{job.name} was asked to stop. It saves first; it goes on with: trunkline resume {job.run_id}"
    else:
        said = f"{job.name} is {before.state} already"
    if as_json:
        json_data({**_named(entry), "was": before.state, "asked": not before.ended})
    else:
        data(said)


def resume(job_id: Id = None, follow: Follow = False, as_json: AsJson = False) -> None:
    """Go on with a job that stopped or failed, from its newest checkpoint."""
    from trunkline.clusters.job import backend_of
    from trunkline.clusters.resume import resume as run

    book = _book()
    job, before, anew = run(book, job_id)
    entry = book.find(job.run_id)
    if as_json:
        json_data({**_named(entry), "was": before.state, "submitted": anew})
    elif anew:
        _say_next(job, f"attempt {job.attempt}")
    else:
        data(f"{job.name} is {before.state} already")
    if follow:
        _follow(backend_of(job.cluster), job, entry)


def _book() -> Book:
    """Of the project around the working folder."""
    from trunkline.clusters.book import Book
    from trunkline.tasks.catalog import nearest_folder

    tasks = nearest_folder(Path.cwd())
    return Book(tasks.parent if tasks else Path.cwd())


def _job(job_id: str | None) -> tuple[Entry, Backend, Job]:
    from trunkline.clusters.job import backend_of
    from trunkline.errors import ClusterError

    book = _book()
    entry = book.find(job_id)
    cluster = book.cluster(entry)
    if not entry.native:
        raise ClusterError(f"{entry.run_id} was never taken by '{entry.cluster}'. Send it again: trunkline resume {entry.run_id}")
    return entry, backend_of(cluster), entry.job(cluster, book.project)


def _named(entry: Entry) -> dict[str, Any]:
    return {"id": entry.run_id, "job": f"{entry.run_id}-a{entry.attempt}", "cluster": entry.cluster, "attempt": entry.attempt}


def _row(book: Book, entry: Entry) -> dict[str, Any]:
    """A line of `jobs`. A cluster that does not answer costs its own lines their state, no more."""
    from trunkline.clusters.job import State, backend_of
    from trunkline.errors import TrunklineError

    try:
        cluster = book.cluster(entry)
        state = backend_of(cluster).state(entry.job(cluster, book.project), entry.native) if entry.native else State("not sent")
    except TrunklineError as error:
        state = State("unreachable", error.message.split(". ")[0])
    return {**_named(entry), "state": state.state, "submitted": entry.submitted, "message": state.message}


def _say_next(job: Job, what: str) -> None:
    data(f"submitted {job.run_id} to {job.cluster.name} ({what})\n\nnext:")
    for line in (f"status {job.run_id}", f"logs -f {job.run_id}", f"stop {job.run_id}", f"resume {job.run_id}"):
        data(f"  trunkline {line}")


def _follow(backend: Watched, job: Job, entry: Entry) -> None:
    """The log on stderr, records as a live line where there is a terminal. Raises ClusterError if the job failed or is gone."""
    from rich.console import Console
    from rich.live import Live

    from trunkline.clusters.follow import follow
    from trunkline.errors import ClusterError
    from trunkline.monitor.console import Progress

    console = Console(file=sys.stderr)
    view = Progress(entry.steps)
    with Live(view, console=console, refresh_per_second=4, redirect_stdout=False, transient=not console.is_terminal) as live:
        for line, record in follow(backend, job, entry.native):
            if record is None:
                live.console.print(line, markup=False, highlight=False, soft_wrap=True)
                continue
            view.take(record)
            if not console.is_terminal or "event" in record:
                live.console.print(view.line(record), markup=False, highlight=False, soft_wrap=True)
    state = backend.state(job, entry.native)
    note(f"{job.name}: {state.state}{f', {state.message}' if state.message else ''}")
    said = {"failed": f"{job.name} failed: {state.message}", "unknown": f"{job.cluster.name} knows no job {job.name}"}
    if state.state in said:
        raise ClusterError(f"{said[state.state]}. It goes on with: trunkline resume {job.run_id}")
