"""The command line's frame: registers the commands, turns errors into sentences and exit codes."""

from __future__ import annotations

import errno
import importlib
import io
import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import Abort, Exit, TyperException

from trunkline.cli import COMMANDS, output
from trunkline.errors import EnvironmentProblem, TrunklineError
from trunkline.monitor.redact import redacted_text

INTERRUPTED = 130
BUG = 1
MACHINE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG)  # not our bugs


def build() -> typer.Typer:
    """The application. Every module of the table in `cli/__init__.py` adds its commands through `register(app)`."""
    app = typer.Typer(
        name="trunkline",
        help="Train one shared trunk with a head per task.",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # plain help: half the start-up time
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_root)
    for module in dict.fromkeys(COMMANDS.values()):
        importlib.import_module(f"trunkline.cli.{module}").register(app)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code; the only place where an error becomes text."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    as_json = "--json" in given
    try:
        code = _run(given)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read us has enough; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except TrunklineError as error:
        return _fail(error.kind, error.message, error.where, error.exit_code, as_json)
    except TyperException as error:
        return _fail("usage", error.format_message(), None, error.exit_code, as_json)
    except (KeyboardInterrupt, Abort):
        return _fail("interrupted", "interrupted.", None, INTERRUPTED, as_json)
    except OSError as error:
        if error.errno not in MACHINE:
            return _bug(error, as_json)
        return _fail("environment", f"{error.strerror}.", error.filename, EnvironmentProblem.exit_code, as_json)
    except Exception as error:
        return _bug(error, as_json)
    return code


def _bug(error: Exception, as_json: bool) -> int:
    sys.stderr.write(redacted_text("".join(traceback.format_exception(error))))
    said = f"{type(error).__name__}: {error}"
    return _fail("bug", f"this is a bug in trunkline: {said}. Please report it with the lines above.", None, BUG, as_json)


def _run(arguments: list[str]) -> int:
    command = typer.main.get_command(build())
    try:
        with command.make_context("trunkline", arguments) as context:
            command.invoke(context)
    except Exit as end:
        return end.exit_code
    return 0


def _fail(kind: str, message: str, where: str | None, code: int, as_json: bool) -> int:
    if as_json:
        error = {"kind": kind, "message": redacted_text(message), "where": where, "exit_code": code}
        output.data(json.dumps({"error": error}, ensure_ascii=False))
    else:
        output.note(f"error: {where}: {message}" if where else f"error: {message}")
    return code


def _root(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False
) -> None:
    if version:
        from importlib import metadata

        try:
            output.data(f"trunkline {metadata.version('trunkline')}")
        except metadata.PackageNotFoundError:
            output.data("trunkline (not installed)")
        raise Exit(0)
    output.help_if_alone(context)
