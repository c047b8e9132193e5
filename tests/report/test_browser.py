"""The report in a real browser: no error, everything drawn, hostile names are text, in light, in dark and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import trunkline
from chromium import chromium, complaints, pictured
from report_runs import HOSTILE, extended, run
from small_project import write_project
from trunkline.cli.app import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TASKS = [f"task_{number}" for number in range(19)] + [HOSTILE.replace("/", "|")]
SIGHTS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "narrow": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of twenty tasks, resumed three times, alone; and the same beside two runs that extended it."""
    folder = tmp_path_factory.mktemp("runs")
    base = run(folder / "base", TASKS, steps=400, resumes=3)
    more = [extended(folder / f"extend{number}", base, TASKS, f"new_{number}") for number in (1, 2)]
    made = {"one": folder / "one.html", "three": folder / "three.html"}
    assert main(["report", str(base), "-o", str(made["one"])]) == 0
    assert main(["report", *map(str, [base, *more]), "-o", str(made["three"])]) == 0
    return made


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


def opened(browser: Any, page: Path, sight: str) -> tuple[Any, list[str], list[str]]:
    """The page as it is seen, what its console said, and what it asked the network for."""
    shown = browser.new_page(**SIGHTS[sight])
    said: list[str] = []
    asked: list[str] = []
    shown.on("console", lambda message: said.append(message.text))
    shown.on("pageerror", lambda error: said.append(str(error)))
    shown.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    shown.on("request", lambda request: asked.append(request.url))
    shown.goto(page.as_uri())
    return shown, said, asked


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("name", ["one", "three"])
def test_the_page_is_whole_in_every_sight(name: str, sight: str, pages: dict[str, Path], browser: Any, tmp_path: Path) -> None:
    shown, said, asked = opened(browser, pages[name], sight)
    assert said == [] and asked == [pages[name].as_uri()]
    charts = shown.locator("svg")
    assert charts.count() > 40
    for number in range(charts.count()):
        box = charts.nth(number).bounding_box()
        assert box["width"] > 150 and box["height"] > 60
    wide = shown.evaluate("document.documentElement.scrollWidth")
    assert wide <= SIGHTS[sight]["viewport"]["width"]  # nothing hangs out on the right
    ink, paper = shown.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    assert contrast(ink, paper) > 7 and (sum(channels(paper)) < 200) == (sight == "dark")
    assert shown.get_by_text(HOSTILE.replace("/", "|"), exact=True).count() > 0
    shown.screenshot(path=str(tmp_path / f"{name}-{sight}.png"), full_page=True)


def test_the_page_on_a_run_that_w_and_b_keeps_offline_has_no_console_errors(browser: Any, tmp_path: Path) -> None:
    """A real run, tracked offline, and its real page; the picture is docs/images/report.png."""
    recipe = write_project(tmp_path / "p")
    tracked = ["track.wandb={project: laws, mode: offline}", "train.watch_gradients=2"]
    done = trunkline.train(recipe, overrides=tracked, in_process=True).run
    (kept,) = done.glob("wandb/offline-run-*/run-*.wandb")
    page = tmp_path / "report.html"
    assert main(["report", str(done), "-o", str(page)]) == 0
    shown = browser.new_page(viewport={"width": 1000, "height": 700})
    said = complaints(shown)
    shown.goto(page.as_uri())
    line = f"Its Weights & Biases run is kept offline, in {done.name}/wandb: trunkline track sync {done.name} sends it."
    assert kept.is_file() and shown.get_by_text(line).is_visible()
    assert said == [] and shown.locator("svg").count() > 10
    pictured(shown, tmp_path / "report.png")


def test_what_a_page_without_escapes_would_do_is_seen(pages: dict[str, Path], browser: Any, tmp_path: Path) -> None:
    """The fault: a name that was not escaped runs, once the policy that forbids it is gone too."""
    text = pages["one"].read_text()
    open_door = text.replace("&lt;script&gt;", "<script>").replace("&lt;|script&gt;", "</script>")
    open_door = open_door.replace('http-equiv="Content-Security-Policy"', 'name="none"')
    (tmp_path / "open.html").write_text(open_door)
    _, said, _ = opened(browser, tmp_path / "open.html", "light")
    assert "dialog: 1" in said
    (tmp_path / "policy.html").write_text(text.replace("&lt;script&gt;", "<script>").replace("&lt;|script&gt;", "</script>"))
    _, said, _ = opened(browser, tmp_path / "policy.html", "light")
    assert said and not any(line.startswith("dialog") for line in said)  # the policy alone holds too


def channels(colour: str) -> list[int]:
    return [int(part) for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]


def contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG 2 has it."""

    def light(colour: str) -> float:
        parts = [part / 255 for part in channels(colour)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)
