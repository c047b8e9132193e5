"""What tokens and layers have to do with an answer: attributions add up to its score, probes read layers, heads mix them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from trunkline.build.attribution import attributions
from trunkline.build.evaluation import judged_task
from trunkline.build.layers import used_layers
from trunkline.build.model import load_model
from trunkline.cli.app import main
from trunkline.data.packing import Table, evaluation_packs
from trunkline.evaluate import Judged
from trunkline.models.pooling import Mix
from trunkline.predict import Model
from trunkline.tasks.catalog import Catalog

Captured = pytest.CaptureFixture[str]
Opened = tuple[Model, dict[str, tuple[Judged, Table]]]


@pytest.fixture(scope="module")
def opened(finished: Path) -> Opened:
    place = finished.parent.parent / "tasks"
    catalog = Catalog([place])
    model = load_model(finished / "model", catalog)
    tasks = ("topic", "score", "tags")
    return model, {name: judged_task(model, name, catalog, place, "validation", lambda _: None) for name in tasks}


def scores(model: Model, task: str, table: Table, share: float) -> np.ndarray:
    """Of every row [n, C], with word vectors scaled by `share`."""
    hook = model.network.trunk.embeddings.register_forward_hook(lambda module, given, output: output * share)
    (batch,) = evaluation_packs({task: table}, rank=0, world=1, tokens_per_pass=100_000)
    with torch.no_grad():
        found = model.network.answer(task, batch).reshape(len(table.rows), -1).numpy()
    hook.remove()
    return found[batch.tasks[task].row_ids.argsort()]


@pytest.mark.parametrize("task", ["topic", "score"])
def test_what_tokens_add_is_the_score_less_that_of_empty_vectors(opened: Opened, task: str) -> None:
    model, judged = opened[0], opened[1][task][0]
    whole, empty = (scores(model, task, judged.table, share) for share in (1.0, 0.0))
    chosen = whole.argmax(1)
    gained = (whole - empty)[np.arange(len(chosen)), chosen]
    added = attributions(model, task, judged.table, steps=200)
    assert added is not None
    assert [len(own) for own in added] == judged.table.rows.tokens.lengths.tolist()
    assert [own.sum() for own in added] == pytest.approx(gained.tolist(), abs=0.02 * float(np.abs(gained).max()))
    coarse = attributions(model, task, judged.table, steps=1)  # a single slope does not tell the way
    assert coarse is not None and [own.sum() for own in coarse] != pytest.approx(
        gained.tolist(), abs=0.02 * float(np.abs(gained).max())
    )


def test_a_kind_without_one_score_a_row_has_no_attributions(opened: Opened) -> None:
    assert attributions(opened[0], "tags", opened[1]["tags"][0].table) is None


def test_a_probe_reads_every_layer_of_a_task_of_labels_and_a_head_s_mix_is_told(opened: Opened) -> None:
    model, tables = opened
    found = used_layers(model, *tables["topic"])
    assert found["mix"] is None and len(found["probes"]) == model.network.trunk.num_layers == 2
    assert all(0.5 < share <= 1 for share in found["probes"])  # the label hangs on one word
    assert used_layers(model, *tables["tags"]) == {"mix": None, "probes": None}
    head = model.network.head("tags")
    head.mix = Mix(2)
    head.mix.weights.data = torch.tensor([math.log(3), 0.0])
    assert used_layers(model, *tables["tags"])["mix"] == pytest.approx([0.75, 0.25])
    head.mix = None


def test_evaluate_shows_layers_and_the_tokens_behind_the_worst_rows(finished: Path, capsys: Captured) -> None:
    command = ["evaluate", str(finished / "model"), "--task", "topic", "--task", "tags", "--draws", "0", "--worst", "2", "--why"]
    assert main([*command, "--layers", "--json"]) == 0
    topic, tags = json.loads(capsys.readouterr().out)
    assert len(topic["layers"]["probes"]) == 2 and tags["layers"] == {"mix": None, "probes": None}
    words = [token for token, _ in topic["worst"][0]["why"]]
    assert words[0] == "[CLS]" and set(topic["worst"][0]["text"].split()) <= {"".join(words).replace("##", ""), *words}
    assert "why" not in tags["worst"][0]
    assert main([*command, "--layers"]) == 0
    out = capsys.readouterr().out
    assert "because of" in out and "what a linear probe on it gets right" in out and "probes" in out


def test_why_without_rows_to_tell_of_is_refused(finished: Path, capsys: Captured) -> None:
    assert main(["evaluate", str(finished / "model"), "--why"]) == 2
    assert "--why: it tells of the rows that were most wrong. Say how many with --worst N." in capsys.readouterr().err
