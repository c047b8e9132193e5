"""News as a task beside the model's own: some of its rows are held out, and what was learned before is rehearsed."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from small_project import write_project
from trunkline.build.task import open_source
from trunkline.data.sources.split import bucket_of
from trunkline.errors import DataError
from trunkline.tasks.catalog import Catalog
from trunkline.workflows import news as workflow
from trunkline.workflows.earlier import divided, rehearsing
from trunkline.workflows.news import News, earlier_news, read_rows
from trunkline.workflows.strategies import Plan

ASIDE = "topic_news_0123456789"
TEXTS = [f"river house number {number}" for number in range(400)]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog([write_project(tmp_path).parent.parent / "tasks"])


def told(catalog: Catalog, folder: Path, fits: Callable[[int], bool], count: int = 10) -> News:
    """News of the topic task whose texts fall into these hundredths, as the refresh after the next finds it."""
    place = folder / ASIDE
    place.mkdir(parents=True, exist_ok=True)
    chosen = [text for text in TEXTS if fits(bucket_of([text]))][:count]
    (place / "rows.jsonl").write_text("".join(json.dumps({"text": text, "label": "land"}) + "\n" for text in chosen))
    stated = f"name: {ASIDE}\nhead_of: topic\ndata: {{format: jsonl, train: rows.jsonl}}\ninputs: [text]\ntarget: label\n"
    (place / "card.yaml").write_text(f"{stated}head: {{kind: classification, labels: [water, land]}}\n")
    (found,) = earlier_news(["topic_lesson", ASIDE, ASIDE], ["topic"], catalog, folder)
    return found


def held_out_law(catalog: Catalog, folder: Path, fits: Callable[[int], bool]) -> bool:
    """At least one row is held out and one is left, and as many are as is told."""
    news = told(catalog, folder, fits)
    source = open_source(news.card, Catalog([folder]))
    read = [sum(len(chunk) for chunk in source.read(split)) for split in ("train", "validation")]
    return min(read) > 0 and read == [news.rows - news.held_out, news.held_out]


@pytest.mark.parametrize("fits", [lambda b: b >= 20, lambda b: b < 20, lambda b: True], ids=["late", "early", "any"])
def test_some_rows_are_held_out_and_some_are_left_wherever_their_texts_fall(
    catalog: Catalog, tmp_path: Path, fits: Callable[[int], bool]
) -> None:
    assert held_out_law(catalog, tmp_path / "news", fits)


def test_a_fixed_share_that_may_hold_out_none_is_caught(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, "held_out", lambda _: workflow.HELD_OUT)
    assert not held_out_law(catalog, tmp_path / "news", lambda bucket: bucket >= 20)


def test_a_fifth_is_held_out_where_there_is_one(catalog: Catalog, tmp_path: Path) -> None:
    assert told(catalog, tmp_path / "news", lambda _: True, 400).held_out == sum(bucket_of([text]) < 20 for text in TEXTS)


def test_labels_that_were_added_since_are_the_news_too(catalog: Catalog, tmp_path: Path) -> None:
    card = catalog.path("topic")
    card.write_text(card.read_text().replace("[water, land]", "[water, land, fire]"))
    assert told(catalog, tmp_path / "news", lambda _: True).card.head.arguments["labels"] == ["water", "land", "fire"]


def test_earlier_news_is_rehearsed_out_of_its_task_s_share_by_rows(catalog: Catalog, tmp_path: Path) -> None:
    before = told(catalog, tmp_path / "news", lambda _: True, 100)
    learned = before.rows - before.held_out
    rates = {"topic": 0.4, "score": 0.2, "now": 0.4}
    found = divided(rates, [before], {"topic": 3 * learned}, None)
    assert found == pytest.approx({"topic": 0.3, ASIDE: 0.1, "score": 0.2, "now": 0.4})
    assert divided(rates, [before], {"topic": 3 * learned}, 7) == pytest.approx({**rates, "topic": 0.2, ASIDE: 0.2})


def rehearsed_law(plan: Plan) -> bool:
    """What was taught before is trained, has a rate, and is not for the model."""
    rates = plan.changes["sampling"]["rates"]
    return ASIDE in plan.tasks and set(rates) == set(plan.tasks) and plan.start["aside"] == [ASIDE, "now"]


def test_a_plan_takes_in_earlier_news_and_one_that_does_not_is_caught(catalog: Catalog, tmp_path: Path) -> None:
    sampling = {"kind": "explicit", "rates": {"topic": 0.4, "now": 0.6}}
    plan = Plan(["topic", "now"], {"sampling": sampling}, {"aside": ["now"]})
    before = told(catalog, tmp_path / "news", lambda _: True)
    assert rehearsed_law(rehearsing(plan, [before], catalog, None)) and not rehearsed_law(plan)
    assert rehearsing(plan, [], catalog, None) is plan
    free = rehearsing(Plan(["topic"], {"sampling": {"kind": "temperature"}}), [before], catalog, None)
    assert free.tasks == ["topic", ASIDE] and free.start == {"aside": [ASIDE]} and "rates" not in free.changes["sampling"]


@pytest.mark.parametrize(("suffix", "between"), [(".csv", ","), (".tsv", "\t")])
def test_corrections_in_a_table_are_those_of_json_lines(tmp_path: Path, suffix: str, between: str) -> None:
    rows = [{"text": 'a "red", river', "predicted": "land", "right": "water"}, {"text": "two\nlines", "label": "land"}]
    names = ["text", "predicted", "right", "label"]
    table, lines = tmp_path / f"new{suffix}", tmp_path / "new.jsonl"
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names, delimiter=between)
        writer.writeheader()
        writer.writerows(rows)
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [row for _, row in read_rows(table)] == [row for _, row in read_rows(lines)] == rows
    assert [number for number, _ in read_rows(table)] == [2, 4]


@pytest.mark.parametrize(
    ("text", "said"), [("text,label\na,land,more\n", "has 3 fields"), ('text,label\n"a,land\n', "is no table")]
)
def test_a_table_that_can_not_be_read_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "new.csv").write_text(text)
    with pytest.raises(DataError, match=said) as error:
        read_rows(tmp_path / "new.csv")
    assert str(error.value.where).endswith("new.csv:2")
