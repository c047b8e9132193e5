"""The model card: what the model is, what it reaches, from which data, under which licences, and where it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trunkline.document import writer


@dataclass(frozen=True)
class Source:
    """The data of one task. fingerprints: split -> hash of its rows' files and reading, empty where they are not at hand."""

    task: str
    summary: str | None
    licence: str | None
    languages: Sequence[str] = ()
    card: str = ""
    fingerprints: Mapping[str, str] = field(default_factory=dict)


def model_card(manifest: Mapping[str, Any], sources: Sequence[Source], tasks: Sequence[str], use: str, library: str) -> str:
    """README.md in the form of the Hugging Face hub. use: how to open it, as code; library: the hub's name of what opens it.

    tasks: those exported; none: the trunk alone.
    """
    known = sorted({source.licence for source in sources if source.licence})
    languages = sorted({language for source in sources for language in source.languages})
    front = {
        **({"language": languages} if languages else {}),
        **({"license": "other", "license_name": ", ".join(known)} if known else {}),
        "library_name": library,
        "tags": ["trunkline", "multi-task"],
    }
    told = [row for row in manifest["results"] if not tasks or row["task"] in tasks]
    title = f"# {', '.join(tasks)}" if tasks else f"# A text encoder trained on {len(manifest['tasks'])} tasks"
    lines = ["---", writer.render(front).strip(), "---", "", title, "", *_what(manifest, tasks), "", "```python", use, "```"]
    lines += ["", "## Results", "", *_results(told), "", "## Data", "", *_data(sources)]
    lines += ["", "## Lineage", "", *_lineage(manifest), "", "## Limits", "", *_limits(manifest, told)]
    return "\n".join(lines) + "\n"


def _what(manifest: Mapping[str, Any], tasks: Sequence[str]) -> list[str]:
    count = len(manifest["tasks"])
    part = (
        f"{'One task' if len(tasks) == 1 else f'{len(tasks)} tasks'} of {count}"
        if tasks
        else f"The shared trunk of {count} tasks"
    )
    return [f"{part} that trunkline trained together: {', '.join(manifest['tasks'])}."]


def _results(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| task | training rows | metric | constant guess | validation |", "|---|---:|---|---:|---:|"]
    for row in rows:
        for metric, value in (row.get("metrics") or {}).items():
            guess = f"{row['baseline']:.3f}" if metric == row["metric"] and row["baseline"] is not None else ""
            shown = "not measured" if value is None else f"{value:.3f}"
            lines.append(f"| {row['task']} | {row['rows']:,} | {metric} | {guess} | {shown} |")
    return lines


def _data(sources: Sequence[Source]) -> list[str]:
    lines = ["| task | what it asks | licence | card | data (SHA-256) |", "|---|---|---|---|---|"]
    for source in sources:
        hashes = "; ".join(f"{split} `{value[:12]}`" for split, value in source.fingerprints.items()) or "not at hand"
        what = (source.summary or "").replace("|", "\\|")
        lines.append(f"| {source.task} | {what} | {source.licence or 'not stated'} | `{source.card[:12]}` | {hashes} |")
    return lines


def _lineage(manifest: Mapping[str, Any]) -> list[str]:
    """Where it comes from, without folders of the machine it was made on; cards and data have a table of their own."""
    known = manifest["lineage"]
    told = {
        "run": f"`{known['run_id']}`" if known.get("run_id") else "",
        "goes on from": _parent(known.get("parent")),
        "trunk began as": _began(known.get("began")),
        "strategy": known.get("strategy"),
        "merged": f"{len(known['merged'])} models" if known.get("merged") else "",
        "removed": ", ".join(known.get("removed", ())),
        "trained on, but of no use by itself": ", ".join(known.get("aside", ())),
    }
    return [f"- {name}: {value}" for name, value in told.items() if value] or ["- not stated"]


def _parent(parent: Mapping[str, Any] | None) -> str:
    if parent is None:
        return ""
    named = f"run `{parent['run_id']}`" if parent.get("run_id") else "a model of no run"
    hashed = parent.get("manifest_sha256")
    return f"{named}, manifest SHA-256 `{hashed[:12]}`" if hashed else named


def _began(began: Mapping[str, Any] | None) -> str:
    if began is None:
        return ""
    trunk = began["trunk"]
    source = trunk.get("pretrained")
    return f"{trunk['kind']}{f' from `{_named(source)}`' if source else ''}, seed {began['seed']}"


def _named(source: str) -> str:
    """A folder's name alone; what others can find too (a package, a hub's name) as it is."""
    return Path(source).name if Path(source).is_absolute() else source


def _limits(manifest: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    weak = [row["task"] for row in rows if row.get("learned") is False]
    return [
        f"- Texts are cut after {manifest['max_length']} tokens, special ones counted.",
        "- The figures above are on validation rows; they say nothing of other data.",
        *([f"- Not better than a constant guess: {', '.join(weak)}."] if weak else []),
        *(["- The licences of some of the data are not stated: ask before you share it."] if _unstated(manifest) else []),
    ]


def _unstated(manifest: Mapping[str, Any]) -> bool:
    return bool(manifest.get("licences_missing"))
