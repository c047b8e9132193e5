"""`python -m benchmarks.quality.vectors`: our word vectors beside gensim's on one text; resumable by cell."""

from __future__ import annotations

import json
import re
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.quality.cells import circumstances
from benchmarks.quality.table import write_section
from scipy import sparse, stats
from scipy.sparse.linalg import svds

from trunkline.registry import VECTORS
from trunkline.vectors.base import Vectors
from trunkline.vectors.corpus import Corpus, read_corpus
from trunkline.vectors.glove import pairs

HERE = Path(__file__).parent
SHARED = HERE.parents[2] / "shared" / "data"
OUT = HERE / "outputs" / "vectors"
RESULTS = HERE.parent / "results" / "vectors.json"
SETS = ("EN-WS-353-ALL", "EN-MTurk-287", "EN-SIMLEX-999", "EN-RG-65")
SAME = {"dim": 100, "window": 5, "epochs": 10}
# GloVe's own, chosen on the half of the pairs that `held out` leaves: in a small text few pairs come a hundred times, and what
# ten epochs end with differs from epoch to epoch by more than the settings do.
GLOVE = {"x_max": 1.0, "lr": 0.05, "window": 10, "average": 5}
OURS: dict[str, dict[str, Any]] = {
    "skipgram": {},
    "cbow": {},
    "glove": {**GLOVE, "unseen": 2.0},
    "glove of seen pairs": GLOVE,
}
# What the counts themselves hold: the best factors of their positive pointwise mutual information, zeros and all.
COUNTS = "factored counts"
SEEDS = (1, 2)
# What each of ours is held against: gensim's of the same kind; GloVe, which gensim lacks, against both: cbow is what its Word2Vec
# does unless told otherwise.
BOTH = ("gensim skipgram", "gensim cbow")
AGAINST = {"skipgram": BOTH[:1], "cbow": BOTH[1:], "glove": BOTH, "glove of seen pairs": BOTH}
BOUND = 0.03


def main() -> None:
    """Trains what has no cell yet, writes benchmarks/results/vectors.json and the table in docs/word-vectors.md."""
    torch.set_num_threads(1)  # as gensim's one worker
    OUT.mkdir(parents=True, exist_ok=True)
    text = OUT / "text.txt"
    if not text.is_file():
        text.write_text("\n".join(sentences()) + "\n", encoding="utf-8")
    corpus = read_corpus([text])
    for seed in SEEDS:
        for name in (*OURS, *BOTH, COUNTS):
            cell = OUT / f"{name.replace(' ', '-')}-{seed}.json"
            if not cell.is_file():
                print(name, seed, file=sys.stderr)
                cell.write_text(json.dumps(measured(name, corpus, text, seed)))
    found = document(corpus)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    write_section(HERE.parents[1] / "docs" / "word-vectors.md", "vectors", markdown(found))


def sentences() -> Iterator[str]:
    """WikiText-2's two small splits, Shakespeare and Brown: words in lower case, a sentence or paragraph a line."""
    folder = SHARED / "lm_corpora"
    with zipfile.ZipFile(folder / "brown.zip") as brown:
        for name in sorted(brown.namelist()):
            if re.fullmatch(r"brown/c[a-r]\d\d", name):
                for line in brown.read(name).decode().splitlines():
                    yield _words(word.rpartition("/")[0] for word in line.split())
    for name in ("wikitext2.valid.txt", "wikitext2.test.txt", "tinyshakespeare.txt"):
        for line in (folder / name).read_text(encoding="utf-8").splitlines():
            yield _words(re.findall(r"<unk>|\w+", line))


def _words(found: Any) -> str:
    return " ".join(word.lower() for word in found if word.replace("'", "").replace("-", "").isalnum())


def measured(name: str, corpus: Corpus, text: Path, seed: int) -> dict[str, Any]:
    """One training: seconds of processor time (this machine is shared), and Spearman's rho on each set."""
    makers: dict[str, Callable[[], Vectors]] = {
        **{mine: lambda: ours(name, corpus, seed) for mine in OURS},
        **{other: lambda: theirs(name.split()[1], text, seed) for other in BOTH},
        COUNTS: lambda: factored(corpus, seed),
    }
    began = time.process_time()
    vectors = makers[name]()
    spent = time.process_time() - began
    return {"name": name, "seed": seed, "cpu_s": round(spent, 1), "rho": similarity(vectors), **circumstances()}


def ours(name: str, corpus: Corpus, seed: int) -> Vectors:
    made: Vectors = VECTORS.get(name.split()[0])(**{**SAME, **OURS[name]}).train(
        corpus, seed=seed, say=lambda line: print(line, file=sys.stderr)
    )
    return made


def theirs(kind: str, text: Path, seed: int) -> Vectors:
    from gensim.models import Word2Vec

    settings = {"vector_size": SAME["dim"], "window": SAME["window"], "epochs": SAME["epochs"], "min_count": 5, "negative": 5}
    model = Word2Vec(corpus_file=str(text), sg=int(kind == "skipgram"), workers=1, seed=seed, sample=1e-3, **settings)
    return Vectors(list(model.wv.index_to_key), model.wv.vectors)


def factored(corpus: Corpus, seed: int) -> Vectors:
    """Left factors times the root of the singular values of max(0, log X_ij sum X / (X_i X_j)), of the pairs GloVe counts.

    Source: Levy, Goldberg & Dagan, TACL 2015, section 3 (their eig = 0.5).
    """
    rows, columns, counts = pairs(corpus, int(GLOVE["window"]))
    met = np.bincount(rows, weights=counts)
    more = np.log(counts * counts.sum() / (met[rows] * met[columns])).clip(0)
    size = len(corpus.words)
    left, values, _ = svds(sparse.csr_matrix((more, (rows, columns)), (size, size)), k=SAME["dim"], random_state=seed)
    return Vectors(corpus.words, left * np.sqrt(values))


def similarity(vectors: Vectors) -> dict[str, float]:
    """Spearman's rho between cosine and people's scores, over the pairs of which both words have a vector; and their number.

    `mean` is the sets', weighed by pairs; `held out` the same over each second pair, which no setting was chosen on.
    """
    found: dict[str, float] = {}
    halves = []
    for name in SETS:
        lines = [line for line in (SHARED / "wordsim" / f"{name}.txt").read_text().lower().splitlines() if line.strip()]
        found[name], found[f"{name} pairs"] = agreement(vectors, lines)
        halves.append(agreement(vectors, lines[1::2]))
    found["mean"] = float(np.average([found[name] for name in SETS], weights=[found[f"{name} pairs"] for name in SETS]))
    found["held out"] = float(np.average([rho for rho, _ in halves], weights=[number for _, number in halves]))
    return found


def agreement(vectors: Vectors, lines: list[str]) -> tuple[float, int]:
    place = {word: number for number, word in enumerate(vectors.words)}
    unit = vectors.values / np.linalg.norm(vectors.values, axis=1, keepdims=True).clip(1e-12)
    rows = [line.split() for line in lines]
    known = [(place[a], place[b], float(score)) for a, b, score in rows if a in place and b in place]
    near = [float(unit[a] @ unit[b]) for a, b, _ in known]
    return float(stats.spearmanr(near, [score for _, _, score in known]).statistic), len(known)


def document(corpus: Corpus) -> dict[str, Any]:
    cells = [json.loads(path.read_text()) for path in sorted(OUT.glob("*-[0-9].json"))]
    table: dict[str, Any] = {}
    for name in dict.fromkeys(cell["name"] for cell in cells):
        own = [cell for cell in cells if cell["name"] == name]
        spent = float(np.mean([cell["cpu_s"] for cell in own]))
        keys = own[0]["rho"]
        table[name] = {
            "rho": {key: round(float(np.mean([cell["rho"][key] for cell in own])), 4) for key in keys},
            "of_seeds": [round(cell["rho"]["mean"], 4) for cell in own],
            "cpu_s": round(spent, 1),
            "words_per_cpu_s": round(len(corpus.ids) * SAME["epochs"] / spent),
        }
    return {
        "schema_version": 1,
        "command": "python -m benchmarks.quality.vectors",
        **{key: cells[-1][key] for key in ("date", "commit", "machine", "versions")},
        "text": {"words": len(corpus.ids), "different": len(corpus.words)},
        "settings": {**SAME, "min_count": 5, "negative": 5, "sample": 1e-3, **OURS, "seeds": list(SEEDS)},
        "methods": table,
        "verdicts": dict(verdicts(table)),
    }


def verdicts(table: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Ours against theirs: differences of the mean rho, whether all are within the bound, the ratio of words a second."""
    for name, others in AGAINST.items():
        for other in others:
            if name in table and other in table:
                more, out = (table[name]["rho"][key] - table[other]["rho"][key] for key in ("mean", "held out"))
                speed = table[name]["words_per_cpu_s"] / table[other]["words_per_cpu_s"]
                rho = {"rho": round(more, 4), "rho held out": round(out, 4)}
                yield f"{name} against {other}", {**rho, "held": min(more, out) >= -BOUND, "speed": round(speed, 3)}


def markdown(found: Mapping[str, Any]) -> str:
    """The table as people read it: every set's rho, and the mean over all pairs beside gensim's."""
    lines = [
        f"| vectors | {' | '.join(SETS)} | all pairs | held out | words a second |",
        "|---" + "|---:" * (len(SETS) + 3) + "|",
    ]
    for name, row in found["methods"].items():
        rhos = [f"{row['rho'][key]:.3f}" for key in (*SETS, "mean", "held out")]
        lines.append(f"| {name} | {' | '.join(rhos)} | {row['words_per_cpu_s']:,} |")
    lines += ["", "| beside | difference of rho | held out | words a second, times |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {told['rho']:+.3f} | {told['rho held out']:+.3f} | {told['speed']:.2f} |"
        for name, told in found["verdicts"].items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
