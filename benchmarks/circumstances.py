"""When, at which code and on what something was measured; imports nothing heavy."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

SHOWN = ("torch", "deepspeed", "transformers")


def circumstances() -> dict[str, Any]:
    """When, at which code, on what."""
    git = ["git", "-C", str(Path(__file__).parent)]
    commit = subprocess.run([*git, "describe", "--always", "--dirty"], capture_output=True, text=True, check=True).stdout.strip()
    gigabytes = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    versions = {name: importlib.metadata.version(name) for name in SHOWN}
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit,
        "machine": f"{os.cpu_count()} CPU cores ({platform.machine()}, shared), {gigabytes} GiB, no GPU",
        "versions": {"python": platform.python_version(), **versions},
    }
