"""One more attempt of a run that ended, from what the book says of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from trunkline.clusters.book import Book, Entry
from trunkline.clusters.job import Job, State, backend_of
from trunkline.clusters.pack import Package, pack


def resume(book: Book, run_id: str | None) -> tuple[Job, State, bool]:
    """Goes on with a job that ended: the same run, one more attempt. Its state before, and whether it was submitted anew.

    A job that waits, runs or finished stays as it is.
    """
    entry = book.find(run_id)
    cluster = book.cluster(entry)
    backend, job = backend_of(cluster), entry.job(cluster, book.project)
    state = backend.state(job, entry.native) if entry.native else State("unknown")
    if state.state in ("pending", "running", "finished"):
        return job, state, False
    if entry.native:
        job = dataclasses.replace(job, attempt=job.attempt + 1)
    package = pack(book.project)
    send(book, backend.submit, job, package, dataclasses.replace(entry, attempt=job.attempt, native=""))
    return job, state, True


def send(book: Book, send: Callable[[Job, Package, Path], str], job: Job, package: Package, entry: Entry) -> Entry:
    """Sends an attempt and writes down what the cluster called it."""
    folder = book.folder(job)
    folder.mkdir(parents=True, exist_ok=True)
    sent = dataclasses.replace(entry, native=send(job, package, folder))
    book.write(sent)
    return sent
