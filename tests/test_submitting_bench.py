"""The page on clusters tells what `submit` costs as it was stored, and the bare job is the script it is said to be."""

from __future__ import annotations

import ast
import json
from pathlib import Path

from benchmarks.submitting import END, PAGE, RESULT, START, markdown, project, ratios, script

from trunkline.cluster import Ray, load_cluster
from trunkline.clusters.job import Job
from trunkline.config.recipe import load_recipe

CLUSTER = "kind: ray\naddress: http://127.0.0.1:8265\nstorage: /mnt/it's here\nplacement: spread\n"


def test_the_page_has_the_stored_figures_and_a_changed_one_is_found() -> None:
    stored = json.loads(RESULT.read_text())
    shown = PAGE.read_text(encoding="utf-8").partition(START)[2].partition(END)[0]
    assert shown == markdown(stored)
    assert {name: stored[name] for name in ("ratio", "low", "high")} == ratios(stored["rows"])
    stored["rows"][0]["trunkline_s"] += 1
    assert shown != markdown(stored) and {name: stored[name] for name in ("ratio", "low", "high")} != ratios(stored["rows"])


def test_the_ratio_is_the_median_of_the_rounds_worked_by_hand() -> None:
    rows = [{"bare_s": 10.0, "trunkline_s": 20.0}, {"bare_s": 10.0, "trunkline_s": 15.0}, {"bare_s": 20.0, "trunkline_s": 60.0}]
    assert ratios(rows) == {"ratio": 2.0, "low": 1.5, "high": 3.0}


def test_both_jobs_are_of_two_workers_on_one_cluster_and_the_script_reads_as_python(tmp_path: Path) -> None:
    recipe = project(tmp_path, CLUSTER)
    cluster = load_cluster(tmp_path / "clusters" / "there.yaml")
    assert isinstance(cluster, Ray) and load_recipe(recipe).workers.count == 2
    text = script(Job("bare-1", "bare.py", cluster, cluster.storage), cluster)
    assert "__" not in text and "num_workers=2" in text and "placement_strategy='SPREAD'" in text
    values = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(text).body if isinstance(node, ast.Assign)}
    assert values == {"PLACE": "/mnt/it's here/bare-1.time"}
