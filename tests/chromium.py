"""A headless Chromium, and pages in it whose every complaint is kept."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LARGEST_PICTURE = 150_000


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """The one that is installed; Playwright brings none here."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    assert program, "there is no chromium here to open a page with: apt-get install chromium"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


def complaints(page: Any) -> list[str]:
    """Errors of its console and its scripts, from now on."""
    said: list[str] = []
    page.on("console", lambda told: said.append(f"{told.text} {told.location['url']}") if told.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    return said


def pictured(page: Any, file: Path) -> None:
    """A picture of what is seen of the page, small enough for the docs (docs/images)."""
    page.screenshot(path=str(file))
    assert 5_000 < file.stat().st_size <= LARGEST_PICTURE
