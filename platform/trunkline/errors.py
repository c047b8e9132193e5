"""Errors a user can cause, each with the exit code its command ends with.

A message reads `where: what is wrong, found value. Nearest or known values. What to do.`
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping


class TrunklineError(Exception):
    """The base of every error a user can cause; `exit_code` is what the command ends with."""

    exit_code = 1
    kind = "error"

    def __init__(self, message: str, *, where: str | None = None) -> None:
        self.where = where
        self.message = message
        super().__init__(f"{where}: {message}" if where else message)

    def __reduce__(self) -> tuple[object, ...]:
        # Crosses process boundaries (Ray workers), where keyword arguments would be lost.
        return (_rebuild, (type(self), self.message, self.where))


def _rebuild(cls: type[TrunklineError], message: str, where: str | None) -> TrunklineError:
    return cls(message, where=where)


class UsageError(TrunklineError):
    """The command line is off."""

    exit_code = 2
    kind = "usage"


class ConfigError(TrunklineError):
    """A recipe, card or cluster file is wrong."""

    exit_code = 3
    kind = "config"


class UnknownPart(ConfigError):
    """A name that no registry holds."""


class DataError(TrunklineError):
    """Rows, files or columns are wrong. rows: of single bad rows, the number in the chunk at hand -> what is wrong with it."""

    exit_code = 4
    kind = "data"

    def __init__(self, message: str, *, where: str | None = None, rows: Mapping[int, str] | None = None) -> None:
        super().__init__(message, where=where)
        self.rows = dict(rows or {})


class IntegrityError(TrunklineError):
    """A checkpoint or a model is damaged, incomplete or does not fit."""

    exit_code = 5
    kind = "integrity"


class EnvironmentProblem(TrunklineError):
    """The machine lacks something."""

    exit_code = 6
    kind = "environment"


class MissingExtra(EnvironmentProblem):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str | None = None, *, where: str | None = None) -> None:
        install = f"trunkline[{extra}]" if extra else package
        super().__init__(f"package '{package}' is not installed. Run: pip install '{install}'.", where=where)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (EnvironmentProblem, self.message, self.where))


class OutOfMemory(EnvironmentProblem):
    """A pass does not fit into memory; the next attempt takes smaller ones, if there are any."""


class ClusterError(TrunklineError):
    """A cluster or a run's lock could not be had."""

    exit_code = 7
    kind = "cluster"


class Diverged(TrunklineError):
    """Training can not go on: the loss is no longer a number."""

    exit_code = 8
    kind = "diverged"


class PromiseBroken(TrunklineError):
    """The new model is worse for a protected task than was promised; the old one stays the current one."""

    exit_code = 9
    kind = "promise"


class Hung(TrunklineError):
    """A rank made no progress for too long; where all ranks stood is kept."""

    exit_code = 8
    kind = "hung"


class Stopped(TrunklineError):
    """Training was asked to stop, and did so after a step, with a checkpoint."""

    exit_code = 75
    kind = "stopped"


class Problems:
    """Collects several mistakes so that they are reported together.

    >>> problems = Problems(); problems.add(ConfigError("a")); problems.raise_if_any()
    """

    def __init__(self) -> None:
        self.errors: list[TrunklineError] = []

    def add(self, error: TrunklineError) -> None:
        self.errors.append(error)

    def raise_if_any(self) -> None:
        """Raises the single error, or one of the first error's type whose message has a line each."""
        if not self.errors:
            return
        if len(self.errors) == 1:
            raise self.errors[0]
        first = type(self.errors[0])
        cls = ConfigError if first is UnknownPart else first
        raise cls("\n".join(str(error) for error in self.errors))


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known value (if any) and then all of them, sorted."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    guess = f"Did you mean '{close[0]}'? " if close else ""
    shown = ", ".join(names[:40]) + (f" and {len(names) - 40} more" if len(names) > 40 else "")
    return f"{guess}Known: {shown}."
