"""The page on a run: what it tells, that it stands alone, that names are text, and that it is small and fast."""

from __future__ import annotations

import json
import math
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from report_runs import HOSTILE, run
from trunkline.cli.app import main
from trunkline.report.facts import Facts, verdict
from trunkline.report.page import render
from trunkline.report.series import Curve, read_series
from trunkline.report.svg import heat, lines

VOID = {"meta", "br", "link", "img"}


class Wellformed(HTMLParser):
    """Every tag that opens closes; what tags and attributes there are."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(page: str) -> Wellformed:
    found = Wellformed()
    found.feed(page)
    assert found.open == []
    return found


def test_the_page_tells_the_verdict_the_curves_and_the_conflicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(tmp_path / "outputs" / "first", ["alpha", "beta", "gamma"])
    (folder / "report.json").write_text(
        json.dumps({"old": [{"task": "older", "change": -0.7}, {"task": "unseen", "change": None}]})
    )
    assert main(["report", str(folder), "-o", str(tmp_path / "r.html"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    page = (tmp_path / "r.html").read_text()
    assert told["size_bytes"] == len(page.encode()) < 200_000
    for line in (
        "2 of 3 tasks are better than a constant guess; beta is not.",
        "The run finished after 40 steps, 2 min of training, 920 tokens a second on average. It was resumed 1 time.",
        "alpha and beta pull apart most: the mean cosine of their gradients is -0.20.",
        "Of the old tasks older changed most for the worse: -0.70 points.",
        "delta_m +1.20 % (+0.10 to +2.30)",
    ):
        assert line in page
    found = parsed(page)
    assert found.tags >= {"svg", "polyline", "rect", "table"}
    assert page.count("<polyline") >= 3 * 2 + 6 + 2  # losses and metrics, shares real and planned, throughput and rate
    assert "The factor of each task&#39;s loss did not change: alpha 1, beta 2, gamma 3." in page


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("offline", "Its Weights &amp; Biases run is kept offline, in first/wandb: trunkline track sync first sends it."),
        ("online", "Its Weights &amp; Biases run: https://wandb.ai/team/p/runs/first"),
    ],
)
def test_the_page_says_where_the_tracked_run_is(mode: str, told: str, tmp_path: Path) -> None:
    folder = run(tmp_path / "first", ["alpha"])
    started = {"time": 1.0, "event": "tracker_started", "tracker": "wandb", "mode": mode, "id": "first"}
    with (folder / "events.jsonl").open("a") as file:
        file.write(json.dumps({**started, "location": "https://wandb.ai/team/p/runs/first"}) + "\n")
    assert main(["report", str(folder), "-o", str(tmp_path / "r.html")]) == 0
    assert told in (tmp_path / "r.html").read_text()
    assert main(["report", str(run(tmp_path / "second", ["alpha"])), "-o", str(tmp_path / "s.html")]) == 0
    assert "Biases" not in (tmp_path / "s.html").read_text()


def test_it_stands_alone_and_has_no_script(tmp_path: Path) -> None:
    page = render("t", [Facts("t", [])], "")
    found = parsed(page)
    policy = re.search(r"Content-Security-Policy\" content=\"([^\"]+)", page).group(1)
    assert policy.startswith("default-src 'none'") and "script" not in found.tags
    assert not [name for name, value in found.attributes if name.startswith("on") or "://" in value or name in ("src", "href")]
    assert "http" not in page.replace("http-equiv", "")


def test_hostile_names_are_text_everywhere(tmp_path: Path) -> None:
    run(tmp_path / "x", [HOSTILE.replace("/", "|"), "b"])
    series = read_series(tmp_path / "x" / "metrics.jsonl")
    name = HOSTILE.replace("/", "|")
    rows = [{"task": name, "metric": HOSTILE, "baseline": 0.1, "value": HOSTILE, "learned": False}]
    facts = Facts(HOSTILE, rows, series, forgetting={HOSTILE: -1.0}, told=[HOSTILE])
    page = render(HOSTILE, [facts, Facts("other", [])], HOSTILE)
    found = parsed(page)
    assert "script" not in found.tags and "<script" not in page and "{{ 7 * 7 }}" in page
    assert not [attribute for attribute, _ in found.attributes if attribute.startswith("on")]
    assert page.count("&lt;script&gt;") > 5


def test_several_runs_stand_beside_each_other(tmp_path: Path) -> None:
    one, two = (run(tmp_path / name, ["alpha", "beta"], steps) for name, steps in (("one", 40), ("two", 20)))
    assert main(["report", str(one), str(two), "-o", str(tmp_path / "r.html")]) == 0
    page = (tmp_path / "r.html").read_text()
    parsed(page)
    assert "<th>one</th><th>two</th>" in page.replace("\n", "") and "<h1>2 runs</h1>" in page and "Weights of two" in page


def test_a_run_whose_tasks_were_not_measured_has_no_table_of_dashes(tmp_path: Path) -> None:
    folder = run(tmp_path / "one", ["alpha"])
    assert main(["report", str(folder), "-o", str(tmp_path / "measured.html")]) == 0
    result = json.loads((folder / "result.json").read_text())
    nothing = dict.fromkeys(("metric", "baseline", "value", "learned"))
    (folder / "result.json").write_text(json.dumps({**result, "tasks": [{**row, **nothing} for row in result["tasks"]]}))
    assert main(["report", str(folder), "-o", str(tmp_path / "plain.html")]) == 0
    told = ["Results on validation rows" in (tmp_path / f"{name}.html").read_text() for name in ("measured", "plain")]
    assert told == [True, False] and "No task was evaluated." in (tmp_path / "plain.html").read_text()


def test_a_run_that_goes_on_is_told_as_such_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    folder = run(tmp_path / "on", ["alpha"], finished=False)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 41, "train/alp')
    assert main(["report", str(folder), "-o", str(tmp_path / "r.html")]) == 0
    page = (tmp_path / "r.html").read_text()
    assert "The run has not finished: step 40 of 40" in page and "No task was evaluated." in page


def test_a_run_without_anything_and_a_place_that_is_no_run_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    empty = run(tmp_path / "outputs" / "empty-1", [], steps=0, finished=False)
    for place, code, said in (
        (str(empty), 4, "has logged nothing yet"),
        (".", 3, "neither a run folder"),
        ("emty-1", 3, "empty-1"),
    ):
        assert main(["report", place, "-o", "r.html"]) == code
        assert said in capsys.readouterr().err
    assert not Path("r.html").exists()


def test_twenty_tasks_of_two_thousand_steps_take_seconds_and_few_bytes(tmp_path: Path) -> None:
    folder = run(tmp_path / "big", [f"task{n}" for n in range(20)], steps=2000)
    began = time.process_time()
    assert main(["report", str(folder), "-o", str(tmp_path / "r.html")]) == 0
    assert time.process_time() - began < 3
    assert (tmp_path / "r.html").stat().st_size < 6_000_000


def test_thinning_keeps_the_ends_of_every_stretch() -> None:
    curve = Curve("a", list(range(5000)), [100.0 if step == 2345 else math.sin(step / 300) for step in range(5000)])
    thin = curve.thinned(300)
    assert len(thin.steps) <= 300 and max(thin.values) == 100.0 and list(thin.steps) == sorted(thin.steps)


def test_charts_hold_a_point_a_constant_and_a_gap() -> None:
    assert "<circle" in lines([Curve("one", [3], [2.0])], label="x") and lines([], label="x") == ""
    assert "nan" not in lines([Curve("flat", [1, 2], [0.0, 0.0])], label="x")
    drawn = heat(["a"], ["a", "b"], {("a", "b"): -0.5}, label="x", reach=0.5)
    assert drawn.count("<rect") == 1 and 'class="warm"' in drawn


def test_a_verdict_without_anything_says_so() -> None:
    assert verdict(Facts("t", [])) == ["Nothing was evaluated yet."]
    good = [{"task": "a", "learned": True}, {"task": "b", "learned": True}]
    assert verdict(Facts("t", good)) == ["All 2 tasks learned: each is better than a constant guess."]
