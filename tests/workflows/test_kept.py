"""What was measured is found again for the same bits, and for no others."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import trunkline
from extended import extend, model_of
from trunkline.build.evaluation import judged_task
from trunkline.data.packing import Table
from trunkline.evaluate import Judged
from trunkline.predict import Model
from trunkline.tasks.catalog import Catalog
from trunkline.workflows import judging
from trunkline.workflows.kept import Kept


@pytest.fixture
def topic(project: Path) -> tuple[Model, Table]:
    model, tasks = trunkline.load(model_of(project)), project / "tasks"
    return model, judged_task(model, "topic", Catalog([tasks]), tasks, "validation", lambda _: None)[0].table


def damaged(model: Model, file: str) -> Model:
    files = {**model.manifest["files"], file: {"size": 1, "sha256": "another"}}
    return Model(model.network, model.tokenizer, model.tasks, {**model.manifest, "files": files})


def test_the_key_is_of_trunk_head_and_rows_and_not_of_other_heads(topic: tuple[Model, Table], tmp_path: Path) -> None:
    model, table = topic
    kept = Kept(tmp_path)
    key = kept.key(model, "topic", table)
    assert key == kept.key(damaged(model, "heads/score/head.safetensors"), "topic", table)
    fewer = replace(table, rows=table.rows.take(np.arange(len(table.rows) - 1)))
    other = [
        kept.key(damaged(model, "trunk/model.safetensors"), "topic", table),
        kept.key(damaged(model, "heads/topic/head.safetensors"), "topic", table),
        kept.key(model, "score", table),
        kept.key(model, "topic", fewer),
    ]
    assert len({key, *other}) == 5


def test_what_is_put_is_found_bit_for_bit_and_a_damaged_file_is_not(tmp_path: Path) -> None:
    kept, ids = Kept(tmp_path / "new"), np.arange(3)
    records = {"labels": np.array([1, 0, 1]), "ids": np.array(["a", "b", "c"])}
    assert kept.get("key") is None
    kept.put("key", ids, records)
    found = kept.get("key")
    assert found is not None and np.array_equal(found[0], ids)
    assert all(np.array_equal(found[1][name], record) for name, record in records.items()) and found[1].keys() == records.keys()
    (tmp_path / "new" / "key.npz").write_bytes(b"no archive")
    assert kept.get("key") is None
    kept.put("texts", ids, {"text": np.array([["a"], ["b", "c"], []], dtype=object)})
    assert kept.get("texts") is None


def test_an_isolated_extension_measures_each_old_task_once_and_finds_what_measuring_again_finds(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    right = judging.records_of

    def counted(model: Model, judged: Judged) -> object:
        seen.append(judged.name)
        return right(model, judged)

    monkeypatch.setattr(judging, "records_of", counted)
    assert extend(project, "--task", "answer", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert seen == ["topic", "score", "tags"]
    shutil.rmtree(project / ".trunkline" / "judged")
    assert extend(project, "--task", "answer", "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["old"] == report["old"] and len(seen) == 6
