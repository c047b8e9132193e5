"""`trunkline doctor`: whether this machine can train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trunkline.cli.output import AsJson, json_data, note, table


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="Also train a few steps, kill that run and resume it.")] = False,
    outputs: Annotated[Path, typer.Option("--outputs", help="Where run folders would go.")] = Path("outputs"),
    as_json: AsJson = False,
) -> None:
    """Check versions, devices, collectives, memory, disk and token files; exit code 6 if training can not work."""
    import dataclasses

    from trunkline.doctor import examine
    from trunkline.errors import EnvironmentProblem

    found = list(examine(outputs, deep=deep))
    if as_json:
        json_data([dataclasses.asdict(finding) for finding in found])
    else:
        table(("check", "state", "seen"), [(finding.check, finding.state, finding.seen) for finding in found])
        for finding in found:
            if finding.advice:
                note(f"{finding.check}: {finding.advice}")
    failed = [finding.check for finding in found if finding.state == "failure"]
    if failed:
        raise EnvironmentProblem(f"training can not work here yet: {', '.join(failed)}.")
