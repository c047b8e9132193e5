"""Programs of the cluster (kubectl, sbatch, ray up): called with a list of words, never through a shell."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from trunkline.errors import ClusterError
from trunkline.monitor.redact import redacted

TIMEOUT_S = 60.0


def call(words: Sequence[str], *, given: str | None = None, timeout_s: float = TIMEOUT_S, hint: str = "") -> str:
    """What the program printed. Raises ClusterError: not installed, no answer in time, or it failed, with what it said."""
    program = words[0]
    try:
        done = subprocess.run(list(words), input=given, capture_output=True, text=True, timeout=timeout_s, check=False)
    except FileNotFoundError as error:
        raise ClusterError(f"'{program}' is not installed here, or not on PATH. {hint}".rstrip()) from error
    except OSError as error:
        raise ClusterError(f"'{program}' can not be run: {error.strerror}.") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"'{program}' gave no answer in {timeout_s:.0f} s. Is the cluster reachable?") from error
    if done.returncode:
        said = str(redacted(" ".join((done.stderr or done.stdout).split())[-400:]))
        raise ClusterError(f"'{' '.join(words[:3])}' failed with {done.returncode}: {said or 'it said nothing'}. {hint}".rstrip())
    return done.stdout
