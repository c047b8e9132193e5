"""What the docs site makes of the pages: those beside docs/ come in, links to code become plain text. `make docs`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BESIDE = {
    "index.md": ROOT / "README.md",
    "changelog.md": ROOT / "CHANGELOG.md",
    "contributing.md": ROOT / "CONTRIBUTING.md",
    "security.md": ROOT / "SECURITY.md",
}
FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
MARKS = re.compile(r"^(```\w+) .*$", re.MULTILINE)
LINK = re.compile(r"\[([^\]\n]*)\]\(([^)\s]+)\)")


def on_config(config: Any) -> Any:
    """Every decision has its place in the navigation."""
    config.nav.append({"Decisions": [f"decisions/{path.name}" for path in sorted((DOCS / "decisions").glob("*.md"))]})
    return config


def on_files(files: Files, config: Any) -> Files:
    for name, path in BESIDE.items():
        files.append(File.generated(config, name, content=path.read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    return shown(markdown, page.file.src_uri)


def shown(markdown: str, name: str) -> str:
    """The page as the site shows it. name: of the page, below docs/."""
    source = BESIDE.get(name, DOCS / name)
    parts = FENCED.split(markdown)
    for number, part in enumerate(parts):
        if part.startswith("```"):
            parts[number] = MARKS.sub(r"\1", part)  # `yaml card` is ours, not the highlighter's
        else:
            parts[number] = LINK.sub(lambda found: _link(found[1], found[2], source, name), part)
    return "".join(parts)


def _link(text: str, link: str, source: Path, name: str) -> str:
    """A link between pages leads to the page, one to anything else of the repository is its text."""
    path, _, anchor = link.partition("#")
    if "://" in link or link.startswith("mailto:") or not path:
        return f"[{text}]({link})"
    target = (source.parent / path).resolve()
    known = {path: page for page, path in BESIDE.items()}
    if target in known:
        page = known[target]
    elif target.is_relative_to(DOCS) and target.is_file():
        page = target.relative_to(DOCS).as_posix()
    else:
        return text
    near = os.path.relpath(page, os.path.dirname(name) or ".")
    return f"[{text}]({near}{'#' if anchor else ''}{anchor})"
