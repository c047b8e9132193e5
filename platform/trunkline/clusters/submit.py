"""From a recipe to a job: everything is checked here first, so that it does not fail on the cluster."""

from __future__ import annotations

import datetime
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trunkline.build.prepare import check_recipe, load_cards, prepare, project_folder
from trunkline.cluster import Cluster, find_cluster
from trunkline.clusters.book import Book, Entry, storage_of
from trunkline.clusters.job import Job, backend_of
from trunkline.clusters.pack import Package, pack
from trunkline.clusters.resume import send
from trunkline.config.recipe import Recipe, load_recipe
from trunkline.errors import ConfigError
from trunkline.launch.runs import new_id
from trunkline.tasks.catalog import catalog_for

Say = Callable[[str], None]


@dataclass(frozen=True)
class Submitted:
    """job: what runs now. package: what was sent. entry: what the book says of it."""

    job: Job
    package: Package
    entry: Entry


def submit(recipe: Path, cluster: str, overrides: Sequence[str], *, say: Say, skip_data: bool = False) -> Submitted:
    """Checks recipe, cards and data, packs the project, submits the job and writes it down.

    skip_data: rows lie on the cluster alone. Raises ConfigError, DataError, ClusterError.
    """
    book, stated, there = _read(recipe, cluster, overrides)
    backend = backend_of(there)
    backend.check()
    _check(stated, recipe, say, skip_data=skip_data)
    job, package = _packed(book, stated, there, recipe, overrides, new_id(recipe), say)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    entry = Entry(job.run_id, cluster, job.recipe, job.overrides, job.workers, 1, now, stated.train.steps)
    book.write(entry)  # before it is sent: whoever is cut off here finds it again by its id
    return Submitted(job, package, send(book, backend.submit, job, package, entry))


def dry_run(recipe: Path, cluster: str, overrides: Sequence[str], *, say: Say, run_id: str | None = None) -> dict[str, str]:
    """File name -> text of what would be sent. Touches nothing; rows are not read."""
    book, stated, there = _read(recipe, cluster, overrides)
    _check(stated, recipe, say, skip_data=True)
    job, package = _packed(book, stated, there, recipe, overrides, run_id or new_id(recipe), say)
    return backend_of(there).files(job, package)


def _read(recipe: Path, cluster: str, overrides: Sequence[str]) -> tuple[Book, Recipe, Cluster]:
    stated = load_recipe(recipe, overrides)
    project = project_folder(recipe)
    return Book(project), stated, find_cluster(cluster, project)


def _packed(
    book: Book, recipe: Recipe, cluster: Cluster, path: Path, overrides: Sequence[str], run_id: str, say: Say
) -> tuple[Job, Package]:
    package = pack(book.project)
    inside = path.resolve().relative_to(book.project).as_posix()
    if inside not in package.files:
        raise ConfigError("the recipe is not among the files that are sent. Take it out of .trunklineignore.", where=str(path))
    if package.left_out:
        say(f"not sent, for they may hold secrets: {', '.join(package.left_out[:5])}")
    if recipe.workers.count == 0:
        raise ConfigError("0 trains in the calling process, which a job does not have. Give 1 or more.", where="workers.count")
    workers = (recipe.workers.count, recipe.workers.cpus, recipe.workers.gpus)
    return Job(run_id, inside, cluster, storage_of(cluster, book.project), tuple(overrides), 1, workers), package


def _check(recipe: Recipe, path: Path, say: Say, *, skip_data: bool) -> None:
    if skip_data:
        check_recipe(recipe)
        load_cards(recipe, catalog_for(path, recipe.catalog, where=recipe.where("catalog")))
        return
    scratch = Path(tempfile.mkdtemp(prefix="trunkline-check-"))
    try:
        prepare(recipe, scratch, project_folder(path) / ".trunkline" / "store", say)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
