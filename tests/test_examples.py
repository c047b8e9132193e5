"""The examples run as they stand, each in a folder of its own, and end with what they promise."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
ENDS_WITH = {
    "add_a_task": r"\[\{'label': '(calm|angry)', .*\}\]",
    "custom_head": r"Gated (billing|delivery|technical)",
    "custom_weighting": r"\{'weight/topic': [\d.]+, 'weight/urgency': [\d.]+\}",
    "continue_hugging_face": r"BertModel moved by 0\.0*[1-9]\d*; \[.*\]",
    "export_to_sentence_transformers": r"\(2, \d+\) apart by (0\.0e\+00|[\d.]+e-(0[6-9]|[1-9]\d))",
}


def test_every_example_is_known() -> None:
    assert {path.stem for path in EXAMPLES} == set(ENDS_WITH)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], own_registries: None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [path.name, "project"])
    runpy.run_path(str(path), run_name="__main__")
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(ENDS_WITH[path.stem], last), last
    assert [place.name for place in tmp_path.iterdir()] == ["project"]
