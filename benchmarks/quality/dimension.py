"""`python -m benchmarks.quality.dimension`: quality against the width of sentence vectors, and of the word table.

One model trained with the Matryoshka loss is measured with its vectors cut to each width, beside one trained without it, and
beside the share of the variance that the best directions of that number keep of the latter's vectors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from benchmarks.quality.ladder import ROOT, Ladder
from benchmarks.quality.table import write_section
from scipy import stats

import trunkline
from trunkline.build.evaluation import judged_task
from trunkline.data.packing import evaluation_packs
from trunkline.document import reader
from trunkline.evaluate import Judged
from trunkline.predict import TOKENS_PER_PASS, Model
from trunkline.tasks.catalog import Catalog
from trunkline.vectors.pca import kept_variance

PATH = Path(__file__).parent / "dimension.yaml"
RESULTS = ROOT / "benchmarks" / "results" / "dimension"
NESTED = {"nested": "stsb_nested", "plain": "stsb"}


def main(
    only: Annotated[list[str] | None, typer.Option(help="Only these rungs.")] = None,
    train: Annotated[bool, typer.Option(help="Train what is missing; else only write the tables.")] = True,
) -> None:
    """Trains what is missing, writes benchmarks/results/dimension.json and the tables in docs/quality.md."""
    ladder, stated = Ladder(PATH, RESULTS), reader.read(PATH).data
    if train:
        ladder.climb(only, lambda line: typer.echo(line, err=True))
        for rung in NESTED:
            if ladder.stored(rung):
                measure_cut(ladder, rung, list(stated["widths"]))
    found = document(ladder, stated)
    RESULTS.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    write_section(ROOT / "docs" / "quality.md", "dimension", markdown(found))
    typer.echo(markdown(found))


def measure_cut(ladder: Ladder, rung: str, widths: Sequence[int]) -> None:
    """Adds to the rung's result what its vectors are worth at each width, and how much of their variance that many keep."""
    path, found = RESULTS / f"{rung}.json", ladder.stored(rung)
    if found is None or "cut" in found:
        return
    task, folder = NESTED[rung], ladder.path.parent / ladder.shared["catalog"][0]
    cards = Catalog([folder])
    model = trunkline.load(ladder.outputs / found["model"], catalog=folder)
    judged, _ = judged_task(model, task, cards, folder, "test", lambda line: typer.echo(line, err=True))
    vectors, scores = sentence_vectors(model, judged)
    found["cut"] = {str(width): cut_score(vectors, scores, width) for width in widths}
    found["kept_variance"] = {
        str(width): kept for width, kept in kept_variance(vectors.reshape(-1, vectors.shape[2]), widths).items()
    }
    path.write_text(json.dumps(found, indent=1) + "\n")


def sentence_vectors(model: Model, judged: Judged) -> tuple[np.ndarray, np.ndarray]:
    """The head's vectors of both sentences [n, 2, D], and people's scores [n], row by row of the split."""
    vectors, scores = [], []
    packs = evaluation_packs({judged.name: judged.table}, rank=0, world=1, tokens_per_pass=TOKENS_PER_PASS)
    with torch.no_grad():
        for batch in packs:
            part = batch.tasks[judged.name]
            if not part.dummy:
                answers = model.network.answer(judged.name, batch).numpy()
                vectors.append(answers.reshape(-1, 2, answers.shape[1]))
                scores.append(part.targets["score"].numpy())
    return np.concatenate(vectors), np.concatenate(scores)


def cut_score(vectors: np.ndarray, scores: np.ndarray, width: int) -> float:
    """Spearman's rho between the scores and the cosines of the first `width` entries."""
    cut = vectors[:, :, :width].astype(np.float64)
    cut = cut / np.linalg.norm(cut, axis=2, keepdims=True).clip(1e-12)
    return float(stats.spearmanr((cut[:, 0] * cut[:, 1]).sum(1), scores).statistic)


def document(ladder: Ladder, stated: Mapping[str, Any]) -> dict[str, Any]:
    """The curve, and what the narrow table loses."""
    cells = {rung: ladder.stored(rung) or {} for rung in NESTED}
    tables = {name: ladder.repeats(name) for name in ("whole", "quarter")}
    found: dict[str, Any] = {
        "schema_version": 1,
        "command": "python -m benchmarks.quality.dimension",
        "spearman": {rung: cell.get("cut") for rung, cell in cells.items()},
        "kept_variance": cells["plain"].get("kept_variance"),
        "tables": tables,
        "lost_at_most": stated["lost_at_most"],
    }
    whole, quarter = tables.values()
    if whole and quarter:
        lost = float(np.mean([whole["mean"][task] - quarter["mean"][task] for task in whole["mean"]]))
        found |= {"lost": round(lost, 4), "held": lost <= stated["lost_at_most"]}
    return found


def markdown(found: Mapping[str, Any]) -> str:
    """The curve against width, then the two word tables."""
    lines = ["| width | trained with matryoshka | trained without, cut | variance kept |", "|---:|---:|---:|---:|"]
    nested, plain, kept = found["spearman"]["nested"], found["spearman"]["plain"], found["kept_variance"]
    for width in nested or ():
        beside = [f"{plain[width]:.3f}", f"{kept[width]:.1%}"] if plain and kept else ["", ""]
        lines.append(f"| {width} | {nested[width]:.3f} | {' | '.join(beside)} |")
    tables = {name: table for name, table in found["tables"].items() if table}
    tasks = list(next(iter(tables.values()))["mean"]) if tables else []
    lines += ["", f"| word table | {' | '.join([*tasks, 'parameters'])} |", "|---" * (len(tasks) + 2) + "|"]
    for name, table in tables.items():
        scores = [f"{table['mean'][task]:.3f}" for task in tasks]
        lines.append(f"| {name} | {' | '.join(scores)} | {table['parameters']:,} |")
    if "lost" in found:
        change, allowed = -found["lost"], found["lost_at_most"]
        told = f"a loss of {allowed} is allowed" if found["held"] else f"more than the {allowed} that it may lose"
        lines += ["", f"The quarter's mean score differs by {change:+.3f} from the whole table's: {told}."]
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
