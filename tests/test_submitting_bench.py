"""The page on clusters tells what `submit` costs as it was stored, and the bare job is the script it is said to be."""

from __future__ import annotations

import ast
import json
from pathlib import Path

from benchmarks.submitting import END, PAGE, RESULT, START, markdown, project, ratios, script

from trunkline.cluster import Ray, load_cluster
from trunkline.clusters.job import Job
from trunkline.config.recipe import load_recipe

TIMES = ((10.0, 20.0), (10.0, 15.0), (20.0, 60.0))
ROWS = [{"round": number, "bare_s": bare, "trunkline_s": ours, "load": 3.0} for number, (bare, ours) in enumerate(TIMES, 1)]
CLUSTER = "kind: ray\naddress: http://127.0.0.1:8265\nstorage: /mnt/it's here\nplacement: spread\n"


def test_the_page_has_the_stored_figures_and_a_changed_one_is_found() -> None:
    stored = json.loads(RESULT.read_text()) if RESULT.is_file() else None
    shown = PAGE.read_text(encoding="utf-8").partition(START)[2].partition(END)[0]
    assert shown == markdown(stored)
    told = {"rows": ROWS, **ratios(ROWS), "commit": "abc", "date": "2026-11-24", "machine": "2 cores"}
    assert "| 1 | 10 | 20 | 3 |" in markdown(told) and "**2.00** (1.50 to 3.00): +10 s, at" in markdown(told) != shown


def test_the_ratio_is_the_median_of_the_rounds_worked_by_hand() -> None:
    assert ratios(ROWS) == {"ratio": 2.0, "low": 1.5, "high": 3.0}


def test_both_jobs_are_of_two_workers_on_one_cluster_and_the_script_reads_as_python(tmp_path: Path) -> None:
    recipe = project(tmp_path, CLUSTER)
    cluster = load_cluster(tmp_path / "clusters" / "there.yaml")
    assert isinstance(cluster, Ray) and load_recipe(recipe).workers.count == 2
    text = script(Job("bare-1", "bare.py", cluster, cluster.storage), cluster)
    assert "__" not in text and "num_workers=2" in text and "placement_strategy='SPREAD'" in text
    values = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(text).body if isinstance(node, ast.Assign)}
    assert values == {"PLACE": "/mnt/it's here/bare-1.time"}
