"""`python -m benchmarks.quality.translation`: does BLEU rise while a small decoder trains? Resumable; keeps the series."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.quality.cells import circumstances, training_seconds

import trunkline

HERE = Path(__file__).parent
TASK = "captions_en_de"


def main() -> None:
    """Trains translation.yaml and writes benchmarks/results/translation.json: step, BLEU, chrF, perplexity on 1,014 rows."""
    outputs = HERE / "outputs" / "translation"
    started = any(not (run / "result.json").is_file() for run in outputs.glob("translation-*/"))
    recipe = HERE / "translation.yaml"
    result = trunkline.train(
        recipe, outputs=outputs, resume=started, in_process=True, say=lambda line: print(line, file=sys.stderr)
    )
    series = list(evaluations((result.run / "metrics.jsonl").read_text()))
    document = {
        "schema_version": 1,
        "command": "python -m benchmarks.quality.translation",
        **circumstances(),
        "training_s": round(training_seconds(result.run)),
        "rows": 1014,
        "baseline": result.tasks[0]["baseline"],
        "series": series,
    }
    (HERE.parent / "results" / "translation.json").write_text(json.dumps(document, indent=1) + "\n")
    for point in series:
        print("  ".join(f"{name} {value:.2f}" for name, value in point.items()))


def evaluations(metrics: str) -> Iterator[dict[str, float]]:
    """Every evaluation of a metrics.jsonl, oldest first."""
    for line in metrics.splitlines():
        values = json.loads(line)
        if f"eval/{TASK}/bleu" in values:
            yield {"step": values["step"], **{name: values[f"eval/{TASK}/{name}"] for name in ("bleu", "chrf", "perplexity")}}


if __name__ == "__main__":
    main()
