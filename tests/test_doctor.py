"""`trunkline doctor` sees what is wrong with a machine, and nothing where nothing is."""

from __future__ import annotations

import json
import os
import resource
from importlib import metadata
from pathlib import Path

import pytest

from trunkline import doctor
from trunkline.cli.app import main


def test_a_sound_machine_has_no_failure_and_leaves_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json", "--outputs", str(tmp_path / "not" / "there")])
    found = json.loads(capsys.readouterr().out)
    assert code == 0, found
    assert [row["check"] for row in found] == [
        "packages", "devices", "shared memory", "limits", "disk", "storage", "credentials", "collectives",
    ]  # fmt: skip
    assert {row["state"] for row in found} <= {"ok", "warning"} and list(tmp_path.iterdir()) == []


def test_a_version_that_does_not_fit_and_a_missing_package_are_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = ["torch>=99", "no-such-package>=1", "ray[train]; extra == 'none'"]
    monkeypatch.setattr(metadata, "requires", lambda _: needs)
    found = doctor.packages()
    assert found.state == "failure" and f"torch is {metadata.version('torch')}, not >=99" in found.seen
    assert "no-such-package is missing" in found.seen and "ray" not in found.seen


def test_a_token_that_others_can_read_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine api.wandb.ai login user password secret-token")
    netrc.chmod(0o600)
    assert doctor.credentials().state == "ok"
    netrc.chmod(0o644)
    found = doctor.credentials()
    assert found.state == "warning" and found.advice == f"chmod 600 {netrc}" and "secret-token" not in str(found)


def test_few_open_files_are_a_warning() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
        assert doctor.open_files().state == "warning"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_disk_that_refuses_files_is_a_failure_and_the_exit_code_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "collectives", lambda: doctor.Finding("collectives", "ok", ""))
    assert doctor.storage(Path("/proc/self")).state == "failure"
    assert main(["doctor", "--outputs", "/proc/self"]) == 6
    said = capsys.readouterr()
    assert "training can not work here yet: storage" in said.err and "--outputs" in said.err and "failure" in said.out


def test_collectives_that_do_not_work_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PAIR", doctor.PAIR.replace("rank + 1", "rank + 2"))
    found = doctor.collectives()
    assert found.state == "failure" and "1 + 2 gave 5.0" in found.seen


def test_deep_trains_is_killed_and_resumes() -> None:
    os.environ.pop("TRUNKLINE_CRASH_AT", None)
    found = doctor.training()
    assert found.state == "ok", found
