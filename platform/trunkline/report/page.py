"""The page: one HTML file with its style and charts in it, readable in light and dark, on a screen and on a phone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trunkline.report import data_card, svg
from trunkline.report.facts import Facts, verdict
from trunkline.report.series import Curve

HERE = Path(__file__).parent
LIGHT = ("#1f6feb", "#d1481f", "#1a8f5a", "#8250df", "#b58300", "#c2348c", "#0d8ba1", "#6b7280", "#7a4b1e", "#4f9d00")
DARK = ("#6ea8ff", "#ff8a63", "#4fd49a", "#b794ff", "#f0c24b", "#ff85c8", "#56d3e6", "#a8b0bd", "#d3a06c", "#a5e05a")
NIGHT = ":root{--ink:#e6edf3;--soft:#9198a1;--paper:#0d1117;--card:#161b22;--line:#30363d;--warm:#ff8a63;--cold:#6ea8ff}"


def style() -> str:
    """The page's own; the colours of lines are classes c0.., of points p0.., of the legend b0.."""

    def colours(palette: Sequence[str]) -> str:
        return "".join(f".c{n}{{stroke:{own}}}.p{n}{{fill:{own}}}.b{n}{{background:{own}}}" for n, own in enumerate(palette))

    return f"{(HERE / 'page.css').read_text()}{colours(LIGHT)}@media(prefers-color-scheme:dark){{{NIGHT}{colours(DARK)}}}"


def render(title: str, runs: Sequence[Facts], footer: str) -> str:
    """The page's text. Names and messages are escaped, whatever they hold."""
    from jinja2 import Environment

    sections = [section for section in _sections(runs) if section]
    page = Environment(autoescape=True).from_string((HERE / "page.html").read_text(encoding="utf-8"))
    verdicts = [{"name": facts.name, "lines": verdict(facts)} for facts in runs]
    return page.render(title=title, style=style(), verdicts=verdicts, sections=sections, footer=footer)


def _sections(runs: Sequence[Facts]) -> list[dict[str, Any]]:
    found = [_results(runs)]
    for facts in runs:
        name = f" of {facts.name}" if len(runs) > 1 else ""
        found += [_weights(facts, name), _shares(facts, name), _conflicts(facts, name), _affinity(facts, name)]
        found += [_system(facts, name), *data_card.sections(facts.data, name)]
    return [found[0], *(_line(facts) for facts in runs), _forgetting(runs), _curves(runs), *found[1:]]


def _results(runs: Sequence[Facts]) -> dict[str, Any]:
    several = len(runs) > 1
    head = ["task", "metric", "constant guess", *([facts.name for facts in runs] if several else ["value"])]
    more = [] if several else [key for key in ("alone", "difference") if any(key in row for row in runs[0].tasks)]
    rows = []
    for task in dict.fromkeys(name for facts in runs for name in facts.names):
        own = [next((row for row in facts.tasks if row["task"] == task), {}) for facts in runs]
        first: Mapping[str, Any] = next((row for row in own if row.get("metric")), {})
        values = [_figure(row.get("value")) for row in own]
        rows.append(
            [task, first.get("metric") or "-", _figure(first.get("baseline")), *values, *(_figure(own[0].get(k)) for k in more)]
        )
    measured = any(row.get("value") is not None for facts in runs for row in facts.tasks)
    return {"title": "Results on validation rows", "table": {"head": [*head, *more], "rows": rows}} if measured else {}


def _figure(value: Any) -> str:
    if value is None:
        return "-"
    return svg.number(value) if isinstance(value, int | float) else str(value)


def _line(facts: Facts) -> dict[str, Any]:
    """The matrix of scores: a row for each model of the line, a column for each task, in the order in which they came."""
    if len(facts.scores) < 2:
        return {}
    tasks = list(dict.fromkeys(task for own in facts.scores.values() for task in own))
    rows = [[name, *(_figure(own.get(task)) for task in tasks)] for name, own in facts.scores.items()]
    text = "What every task scored at each model of the line, the oldest first: down a column is what became of a task."
    return {"title": f"Line of {facts.name}", "text": text, "table": {"head": ["model", *tasks], "rows": rows}}


def _forgetting(runs: Sequence[Facts]) -> dict[str, Any]:
    """A line for each extend, a column for each old task, in points."""
    told = [facts for facts in runs if facts.forgetting]
    if not told:
        return {}
    tasks = list(dict.fromkeys(task for facts in told for task in facts.forgetting))
    values = {(facts.name, task): change for facts in told for task, change in facts.forgetting.items()}
    drawn = svg.heat([facts.name for facts in told], tasks, values, label="change of old tasks", reach=2.0)
    text = "What each extend changed for the tasks that were there, in points; red is forgotten."
    return {"title": "Old tasks", "text": text, "figures": [{"title": "change in points", "svg": drawn}]}


def _curves(runs: Sequence[Facts]) -> dict[str, Any]:
    """For every task its loss and its first metric, a line for each run."""
    figures = []
    for task in dict.fromkeys(name for facts in runs for name in facts.names):
        figures += _of_task(runs, task)
    legend = [facts.name for facts in runs] if len(runs) > 1 else []
    return {"title": "Tasks", "figures": figures, "legend": legend} if figures else {}


def _of_task(runs: Sequence[Facts], task: str) -> list[dict[str, str]]:
    empty = Curve("", [], [])
    measured = [facts.of(f"eval/{task}/") for facts in runs]
    metric = next((row["metric"] for facts in runs for row in facts.tasks if row["task"] == task and row.get("metric")), None)
    metric = metric or next((name for own in measured for name in own), None)
    charts = [("loss", [facts.series.get(f"train/{task}/loss", empty) for facts in runs])]
    charts += [(metric, [own.get(metric, empty) for own in measured])] if metric else []
    named = []
    for what, curves in charts:
        own = [Curve(facts.name, curve.steps, curve.values) for facts, curve in zip(runs, curves, strict=True)]
        named.append((what, _smooth(own, f"{task}: {what}")))
    return [{"title": f"{task}: {what}", "svg": drawn} for what, drawn in named if drawn]


def _smooth(curves: Sequence[Curve], label: str) -> str:
    """Means of noisy curves; of a single one its points too, faint behind them."""
    means = [curve.smoothed() for curve in curves]
    if len(curves) > 1 or means[0] is curves[0]:
        return svg.lines(means, label=label)
    return svg.lines([*curves, *means], label=label, faint=[0], colours=[0, 0])


def _weights(facts: Facts, name: str) -> dict[str, Any]:
    """A chart where any of them changes, a sentence where none does."""
    found = facts.of("weight/")
    if not found:
        return {}
    still = {task: curve.values[0] for task, curve in found.items() if len(set(curve.values)) == 1}
    if len(still) == len(found):
        told = ", ".join(f"{task} {svg.number(value)}" for task, value in still.items())
        return {"title": f"Weights{name}", "text": f"The factor of each task's loss did not change: {told}."}
    curves = [found[task].smoothed() if task in found else Curve(task, [], []) for task in facts.names]
    drawn = svg.lines(curves, label="weights", size=svg.WIDE)
    return {"title": f"Weights{name}", "legend": facts.names, "figures": [{"title": "factor of each task's loss", "svg": drawn}]}


def _shares(facts: Facts, name: str) -> dict[str, Any]:
    """Planned ones dashed, in the colour of the real ones."""
    real, planned = facts.of("drawn/rows/") or facts.of("share/"), facts.of("drawn/planned/")
    tasks = [task for task in facts.names if task in real]
    if not tasks:
        return {}
    kept = [task for task in tasks if task in planned]
    curves = [real[task].smoothed() for task in tasks] + [planned[task] for task in kept]
    colours = [facts.names.index(task) for task in (*tasks, *kept)]
    drawn = svg.lines(curves, label="shares of rows", size=svg.WIDE, dashed=range(len(tasks), len(curves)), colours=colours)
    text = "Means over a fortieth of the run as drawn" + (", and dashed as planned." if kept else ".")
    figures = [{"title": "share of the rows", "svg": drawn}]
    return {"title": f"Shares{name}", "text": text, "legend": facts.names, "figures": figures}


def _conflicts(facts: Facts, name: str) -> dict[str, Any]:
    cosines = facts.cosines
    if not cosines:
        return {}
    tasks = [task for task in facts.names if any(task in pair for pair in cosines)]
    drawn = svg.heat(tasks, tasks, cosines, label="cosines of gradients", reach=0.5)
    text = "Mean cosine of two tasks' gradients on the probe layers; red pulls apart."
    return {"title": f"Conflicts{name}", "text": text, "figures": [{"title": "mean cosine", "svg": drawn}]}


def _affinity(facts: Facts, name: str) -> dict[str, Any]:
    if not facts.affinity:
        return {}
    tasks = list(dict.fromkeys(task for pair in facts.affinity for task in pair))
    reach = max(map(abs, facts.affinity.values())) or 1.0
    drawn = svg.heat(tasks, tasks, facts.affinity, label="lookahead affinity", reach=reach)
    text = "What a step along the row's gradient takes off the loss of the column, in thousandths; red adds to it."
    return {"title": f"Affinity{name}", "text": text, "figures": [{"title": "lookahead affinity", "svg": drawn}]}


def _system(facts: Facts, name: str) -> dict[str, Any]:
    figures = []
    for key, title in (("system/tokens_per_s", "tokens a second"), ("train/lr", "learning rate")):
        if key in facts.series and (drawn := svg.lines([facts.series[key]], label=title)):
            figures.append({"title": title, "svg": drawn})
    return {"title": f"Throughput{name}", "figures": figures} if figures else {}
