"""What a cluster runs of a submitted job: the run is named by who sent it, goes on if it is there, and tells its records."""

from __future__ import annotations

import json

import pytest

from small_project import write_project
from trunkline.errors import UsageError
from trunkline.launch.local import train
from trunkline.launch.runs import submitted_run
from trunkline.monitor.records import record_of


def test_a_submitted_run_has_its_name_its_data_beside_it_and_its_records_in_the_log(tmp_path, capsys):
    recipe, place = write_project(tmp_path / "p"), tmp_path / "runs"
    (place / "small-1").mkdir(parents=True)
    (place / "small-1" / "half").touch()  # what an attempt left that was killed while it prepared

    def attempt() -> list[str]:
        said: list[str] = []
        train(
            recipe, overrides=["train.steps=4"], outputs=place, in_process=True, run_id="small-1", show="records", say=said.append
        )
        return said

    attempt()
    assert not (place / "small-1" / "half").exists() and json.loads((place / "small-1" / "result.json").read_text())["steps"] == 4
    assert (place / ".store" / "splits").is_dir() and not (tmp_path / "p" / ".trunkline").exists()
    records = [record for line in capsys.readouterr().err.splitlines() if (record := record_of(line))]
    assert {"training", "finished"} <= {record.get("event") for record in records}
    assert max(record.get("step", 0) for record in records) == 4
    assert attempt() == ["run small-1 is finished already"]  # what a second attempt of a finished run is


@pytest.mark.parametrize("run_id", ["../x", "A", "a b", "", "a" * 64])
def test_a_run_id_that_is_no_label_is_refused_before_anything_is_removed(run_id, tmp_path):
    with pytest.raises(UsageError, match="is no run id"):
        submitted_run(tmp_path, run_id)
