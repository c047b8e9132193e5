"""The docs site builds without a warning, with every page in its navigation, and fetches nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FETCHED = re.compile(r'(?:src|<link[^>]*href)="((?:https?:)?//[^"]*)"')


def build(to: Path, config: Path = ROOT / "mkdocs.yml") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "-f", str(config), "-d", str(to)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    return folder


def test_every_page_is_there_and_reached_from_the_first(site: Path) -> None:
    first = (site / "index.html").read_text(encoding="utf-8")
    pages = sorted((ROOT / "docs").rglob("*.md"))
    assert len(pages) > 40
    for page in pages:
        name = page.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        assert (site / name).is_file() and f'href="{name}"' in first, name
    assert "trains one shared text encoder" in first


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    fetched = {link for page in site.rglob("*.html") for link in FETCHED.findall(page.read_text(encoding="utf-8"))}
    assert fetched == set()
    assert FETCHED.findall('<link rel="stylesheet" href="https://fonts.example/x">') == ["https://fonts.example/x"]


def test_code_is_no_link_and_a_card_is_shown_as_yaml(site: Path) -> None:
    page = (site / "add-a-task.html").read_text(encoding="utf-8")
    assert "```" not in page and "../platform" not in page and page.count('class="highlight"') > 5


@pytest.mark.parametrize("planted", ["[gone](nowhere.md)", "[gone](#nowhere)", "[gone](export.md#nowhere)"])
def test_a_broken_link_ends_the_build(planted: str, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text(f"# One\n\n{planted}\n")
    (docs / "export.md").write_text("# Two\n")
    config = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[0].replace("hooks: [docs/hooks.py]\n", "")
    (tmp_path / "mkdocs.yml").write_text(f"{config}\nnav: [index.md, export.md]\n")
    done = build(tmp_path / "site", tmp_path / "mkdocs.yml")
    assert done.returncode == 1 and "nowhere" in done.stderr
