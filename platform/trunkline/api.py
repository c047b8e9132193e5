"""What the commands do, from Python; `trunkline.train` and `trunkline.load` stand beside it.

>>> from trunkline import api
>>> api.init("support")
>>> result = trunkline.train("support/recipes/first.yaml")
>>> api.predict_file(result.model, "rows.csv", ["topic"], "answers.parquet")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trunkline.predict import Model
    from trunkline.serve.files import Count, Respond
    from trunkline.workflows.extend import Extended

Place = str | Path
Say = Callable[[str], None]


def _quiet(_: str) -> None:
    """Says nothing."""


def init(folder: Place) -> Path:
    """Writes a new project: two tasks, a recipe. Raises UsageError where something is there already."""
    from trunkline.cli.starter import files
    from trunkline.errors import UsageError
    from trunkline.tasks.change import write_folder

    target = Path(folder).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError("is not empty. Name a new folder.", where=str(folder))
    write_folder(target, {name: text.encode() for name, text in files(target.name).items()})
    return target


def evaluate(
    model: Place,
    *,
    tasks: Sequence[str] | None = None,
    split: str = "validation",
    catalog: Place | None = None,
    against: Place | None = None,
    draws: int = 1000,
) -> list[dict[str, Any]]:
    """Measures a model on its tasks' data: a mapping for each task, with intervals if `draws` is above 0."""
    from trunkline.build.evaluation import Asked, evaluate_model

    asked = Asked(draws=draws, against=None if against is None else Path(against))
    own = None if catalog is None else Path(catalog)
    return evaluate_model(_folder(model), tasks=tasks, split=split, catalog=own, say=_quiet, asked=asked)


def extend(
    model: Place,
    tasks: Sequence[str],
    *,
    strategy: str = "isolate",
    protect: str = "*:-1.0",
    steps: int | None = None,
    overrides: Sequence[str] = (),
    catalog: Place | None = None,
    line: Place | None = None,
    in_process: bool = False,
    say: Say = _quiet,
) -> Extended:
    """Adds tasks of the catalog to a model; `kept` of the result says whether the old ones kept what was promised."""
    from trunkline.workflows.extend import Job
    from trunkline.workflows.extend import extend as run
    from trunkline.workflows.strategies import Settings

    cards, place = None if catalog is None else Path(catalog), None if line is None else Path(line)
    settings = Settings()
    job = Job(Path(model), tasks, strategy, protect, settings, steps, overrides, cards, line=place, in_process=in_process)
    return run(job, say)


def refresh(
    model: Place, task: str, rows: Place, *, protect: str = "*:-1.0", steps: int | None = None, in_process: bool = False
) -> Extended:
    """Trains a model on new rows or corrections of one of its tasks, beside its old rows."""
    from trunkline.workflows.extend import Job
    from trunkline.workflows.refresh import refresh as run
    from trunkline.workflows.strategies import Settings

    job = Job(Path(model), (), "replay", protect, Settings(0.5), steps, in_process=in_process)
    return run(job, task, Path(rows), _quiet)


def export(model: Place, form: str, to: Place, *, tasks: Sequence[str] = (), pooling: str = "mean") -> Path:
    """Writes a model in the form of another library: hf, hf-classifier, sentence-transformers, onnx or word2vec."""
    from trunkline.build.export import export as run

    return run(_folder(model), form, Path(to), tasks=tasks, pooling=pooling, say=_quiet)


def report(*places: Place, to: Place = "report.html", examples: int = 0) -> Path:
    """Writes one page on runs or models. examples: so many training rows of each task are shown; none leave the data else."""
    from trunkline.workflows.report import report as run

    return run([Path(place) for place in places], Path(to), _quiet, examples=examples)


def predict_file(
    model: Model | Place, rows: Place, tasks: Sequence[str], to: Place, *, keep: Sequence[str] = (), failing: bool = False
) -> Count:
    """Answers a file of rows as it streams by, into a .jsonl, .csv or .parquet file; how many were answered.

    keep: columns that come along. failing: a row that can not be answered says why in its place, instead of ending all.
    """
    from trunkline.serve.files import columns_of, predictions

    opened = _opened(model)
    wanted, optional = columns_of(opened, tasks)
    return _answer(rows, predictions(opened, tasks), wanted, [*optional, *keep], to, keep, failing)


def embed_file(
    model: Model | Place,
    rows: Place,
    to: Place,
    *,
    column: str = "text",
    task: str | None = None,
    pooling: str = "mean",
    keep: Sequence[str] = (),
    failing: bool = False,
) -> Count:
    """Writes the vectors of a file's texts: the trunk's, or those of a contrastive task."""
    from trunkline.serve.files import vectors

    own = vectors(_opened(model), column, pooling=pooling, task=task)
    return _answer(rows, own, [column], keep, to, keep, failing)


def _answer(
    rows: Place,
    respond: Respond,
    wanted: Sequence[str],
    optional: Sequence[str],
    to: Place,
    keep: Sequence[str],
    failing: bool,
) -> Count:
    from trunkline.serve.files import answer_file
    from trunkline.serve.rows import read_rows
    from trunkline.serve.written import open_writer

    with open_writer(Path(to)) as writer:
        return answer_file(read_rows(str(rows), wanted, optional), respond, writer, keep=keep, failing=failing)


def _opened(model: Model | Place) -> Model:
    from trunkline.build.model import load_model
    from trunkline.tasks.catalog import Catalog, nearest_folder

    if not isinstance(model, str | Path):
        return model
    folder = _folder(model)
    near = nearest_folder(folder.resolve()) or nearest_folder(Path.cwd())
    return load_model(folder, Catalog([near]) if near else None)


def _folder(model: Place) -> Path:
    """The model folder, also of a line of models."""
    from trunkline.workflows.line import opened

    return opened(Path(model), None)[1]
