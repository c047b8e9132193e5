"""`trunkline evaluate`: how good a model is, how sure that is, and against what."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from trunkline.cli.output import AsJson, data, json_data, note, table

WIDTH = 120  # the least of the table: figures are never cut
MOST_TOKENS = 5  # of those that spoke for an answer
MOST_LABELS = 12  # of a confusion matrix that a screen holds
Model = Annotated[
    Path,
    typer.Argument(help="The model folder of a finished run; for --suite a folder of transformers or a file of vectors too."),
]
Sets = Annotated[Path | None, typer.Option("--sets", help="With --suite: the YAML file that names its sets.", show_default=False)]
Words = Annotated[str | None, typer.Option("--words", help="With an .npy of vectors: its list of words.", show_default=False)]
Near = Annotated[list[str] | None, typer.Option("--near", help="With --suite: show a word's neighbours.", show_default=False)]
Against = Annotated[Path | None, typer.Option("--against", help="Another model, compared on the same rows.", show_default=False)]


def register(app: typer.Typer) -> None:
    app.command("evaluate")(evaluate)


def evaluate(
    model: Model,
    task: Annotated[list[str] | None, typer.Option("--task", help="Only these tasks.", show_default=False)] = None,
    split: Annotated[str, typer.Option("--split", help="validation or test.")] = "validation",
    catalog: Annotated[
        Path | None, typer.Option("--catalog", help="The folder of cards, for the data.", show_default=False)
    ] = None,
    against: Against = None,
    draws: Annotated[
        int, typer.Option("--draws", help="Of the bootstrap behind the intervals; 0 leaves them out.", min=0)
    ] = 1000,
    linear: Annotated[bool, typer.Option("--linear", help="Beside what TF-IDF and a linear model get (scikit-learn).")] = False,
    tables: Annotated[bool, typer.Option("--tables", help="Confusion and calibration too; --json always has them.")] = False,
    worst: Annotated[int, typer.Option("--worst", help="Show so many rows it got most wrong, with their texts.", min=0)] = 0,
    why: Annotated[bool, typer.Option("--why", help="With --worst: the tokens that spoke most for what it said.")] = False,
    layers: Annotated[bool, typer.Option("--layers", help="Show which layers of the trunk each task uses.")] = False,
    suite: Annotated[
        str | None, typer.Option("--suite", help="embed: the quality of its vectors instead.", show_default=False)
    ] = None,
    sets: Sets = None,
    pooling: Annotated[str, typer.Option("--pooling", help="With --suite: first, last, mean or max of token states.")] = "mean",
    words: Words = None,
    near: Near = None,
    as_json: AsJson = False,
) -> None:
    """Measure a model on its tasks' data, or its vectors."""
    if suite is not None:
        _suite(str(model), suite, sets, pooling, words, near or [], against, draws, as_json)
        return
    from trunkline.build.evaluation import Asked, evaluate_model
    from trunkline.errors import UsageError

    if why and not worst:
        raise UsageError("it tells of the rows that were most wrong. Say how many with --worst N.", where="--why")
    asked = Asked(
        draws=draws, tables=tables or as_json, worst=worst, why=why, linear=linear, layers=layers, leaks=True, against=against
    )
    rows = evaluate_model(model, tasks=task, split=split, catalog=catalog, say=note, asked=asked)
    if as_json:
        json_data(rows)
        return
    _show(rows, against)
    for row in rows:
        if tables:
            _tables(row)
        if worst:
            _worst(row)
    if layers:
        _layers(rows)


def _suite(
    source: str,
    suite: str,
    sets: Path | None,
    pooling: str,
    words: str | None,
    near: Sequence[str],
    against: Path | None,
    draws: int,
    as_json: bool,
) -> None:
    from trunkline.build.embedder import open_embedder
    from trunkline.build.suite import near_words, read_suite, run_suite
    from trunkline.errors import UsageError, nearest

    if suite != "embed":
        raise UsageError(f"no suite '{suite}'. {nearest(suite, ['embed'])}", where="--suite")
    if sets is None:
        raise UsageError("a suite needs data: name the YAML file with its sets by --sets FILE.", where="--suite")
    chosen = read_suite(sets)
    embedder = open_embedder(source, pooling=pooling, words=words)
    found = run_suite(embedder, chosen, draws=draws, say=note)
    found["neighbours"] = near_words(embedder, near, chosen)
    if against is not None:
        found["neighbours_of_other"] = near_words(open_embedder(str(against), pooling=pooling), near, chosen)
    if as_json:
        json_data({"model": source, "pooling": pooling, **found})
        return
    _figures(found)


def _figures(found: Mapping[str, Any]) -> None:
    table(
        ("set", "measure", "figure", "value", "interval", "rows", "known"),
        [
            (s["name"], s["measure"], s["metric"], f"{s['value']:.4f}", _range((s["low"], s["high"])), s["of"], s["known"])
            for s in found["scores"]
        ],
    )
    for name, points in found["curves"].items():
        data(f"\n{name}: spearman of vectors cut to d entries")
        table(("d", "leading", "principal"), [(p["dim"], f"{p['leading']:.4f}", f"{p['principal']:.4f}") for p in points])
    other = found.get("neighbours_of_other", {})
    for word, own in found["neighbours"].items():
        data(f"\n{word}: {_near(own)}")
        if word in other:
            kept = {name for name, _ in own} & {name for name, _ in other[word]}
            data(f"  other: {_near(other[word])}\n  in both: {len(kept)} of {len(own)}")


def _near(found: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{word} {cosine:.3f}" for word, cosine in found) or "no vector"


def _show(rows: Sequence[Mapping[str, Any]], against: Path | None) -> None:
    from rich.console import Console

    from trunkline.monitor.console import result_table

    width = max(Console(file=sys.stdout).width, WIDTH)
    Console(file=sys.stdout, width=width).print(result_table([_line(row) for row in rows]))
    if against is not None:
        data(f"\nother: {against}. verdict: own less other's, with its 95 % interval over the same rows.")


def _line(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table: figures of the headline metric."""
    line = dict(row)
    if "intervals" in row:
        line["interval"] = _range(row["intervals"][row["metric"]])
    if "linear" in row:
        line["linear"] = row["linear"][row["metric"]] if row["linear"] else None
    if "against" in row:
        found = row["against"][row["metric"]]
        line["other"] = found["other"]
        line["verdict"] = f"{found['verdict']} {_range((found['low'], found['high']))}"
    return line


def _range(bounds: Sequence[float | None] | None) -> str:
    if bounds is None or bounds[0] is None or bounds[1] is None:
        return "-"
    low, high = bounds[0], bounds[1]
    return f"{low:.4g} to {high:.4g}"


def _tables(row: Mapping[str, Any]) -> None:
    found, sure = row["confusion"], row["calibration"]
    if found is not None and len(found["labels"]) <= MOST_LABELS:
        data(f"\n{row['task']}: counts, a line for each true label")
        table(["", *found["labels"]], [[label, *counts] for label, counts in zip(found["labels"], found["counts"], strict=True)])
    if sure is not None:
        data(f"\n{row['task']}: how often it was right, by how sure it was; calibration error {sure['error']:.3f}")
        table(
            ("confidence", "rows", "mean confidence", "right"),
            [
                (f"{b['from']:.2f}-{b['to']:.2f}", b["rows"], f"{b['confidence']:.3f}", f"{b['accuracy']:.3f}")
                for b in sure["bins"]
            ],
        )


def _layers(rows: Sequence[Mapping[str, Any]]) -> None:
    """Layer by layer, from the embeddings up, what each head mixes and what a probe reads out."""
    lines = [(row["task"], name, row["layers"][name]) for row in rows for name in ("mix", "probes") if row["layers"][name]]
    count = max((len(shares) for _, _, shares in lines), default=0)
    data("\nlayers: the share of each that the task's head mixes; what a linear probe on it gets right")
    table(("task", "", *map(str, range(count))), [(task, name, *(f"{share:.3f}" for share in own)) for task, name, own in lines])


def _worst(row: Mapping[str, Any]) -> None:
    if not row["worst"]:
        return
    data(f"\n{row['task']}: the rows it got most wrong")
    explained = "why" in row["worst"][0]
    table(
        ("row", "wrongness", "target", "prediction", "text", *(["because of"] if explained else [])),
        [
            (
                *(one["row"], f"{one['wrongness']:.3f}", _values(one.get("target")), _values(one.get("prediction")), one["text"]),
                *([_because(one["why"])] if explained else []),
            )
            for one in row["worst"]
        ],
    )


def _because(why: Sequence[tuple[str, float]]) -> str:
    """The tokens that added or took most."""
    most = sorted(why, key=lambda one: -abs(one[1]))[:MOST_TOKENS]
    return " ".join(f"{token} {value:+.2f}" for token, value in most)


def _values(found: Sequence[Any] | None) -> str:
    return "-" if found is None else " ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in found)
