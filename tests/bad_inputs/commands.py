"""Rows 59 to 64: the command line and the place it runs in."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Callable, Iterator

from bad_inputs.project import Case, Outcome, Project


def run(*arguments: str) -> Callable[[Project], Outcome]:
    return lambda project: project.run(*arguments)


def process(what: str, line: str, code: int, says: str, **environment: str | None) -> Case:
    """A line of bash, in a process of its own."""
    return Case(63, what, lambda project: project.shell(line, **environment), code, says, slow=True)


def submitted(address: str) -> Callable[[Project], Outcome]:
    """The recipe sent to a cluster at this address."""

    def act(project: Project) -> Outcome:
        project.write("clusters/c.yaml", f"kind: ray\naddress: {address}\nstorage: /mnt/runs\ntimeout_s: 1\n")
        return project.run("submit", "recipes/r.yaml", "--cluster", "c", "--skip-data")

    return act


def answered(status: int, content: str = "<html>Sign in</html>", after_s: float = 0.0) -> Callable[[Project], Outcome]:
    """The recipe sent to a server that answers everything with this."""

    def act(project: Project) -> Outcome:
        with server(status, content, after_s) as port:
            return submitted(f"http://127.0.0.1:{port}")(project)

    return act


@contextlib.contextmanager
def server(status: int, content: str, after_s: float) -> Iterator[int]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(after_s)
            with contextlib.suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(content.encode())

        do_POST = do_PUT = do_GET

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield serving.server_address[1]
        serving.shutdown()


SHOW = "trunkline config render recipes/r.yaml"
NOTE = "weighting.note=; touch canary $(touch canary) `touch canary`"
CASES = [
    Case(59, "a command misspelled", run("tsk"), 2, r"No such command 'tsk'\. Did you mean 'task'"),
    Case(59, "an option misspelled", run("task", "list", "--catalgo", "x"), 2, r"No such option: --catalgo .*--catalog"),
    Case(60, "an argument missing", run("task", "show"), 2, r"Missing argument"),
    Case(
        60, "options that exclude each other", run("train", "recipes/r.yaml", "--resume", "-s", "seed=2"), 2, r"-s and --resume"
    ),
    Case(
        60, "a bad recipe with --json", run("config", "render", "q.yaml", "--json"), 3, r'(?s)^\{"error": \{"kind": "config".*\}$'
    ),
    Case(61, "an address where nothing listens", submitted("http://127.0.0.1:9"), 7, r"127\.0\.0\.1:9", keeps=True),
    Case(61, "an address for drivers", submitted("ray://127.0.0.1:10001"), 3, r"address must be http://HOST:PORT"),
    Case(61, "TLS where there is none", submitted("https://127.0.0.1:9"), 7, r"127\.0\.0\.1:9", keeps=True),
    Case(61, "401", answered(401), 7, r"(?i)token", keeps=True),
    Case(61, "403", answered(403), 7, r"(?i)token", keeps=True),
    Case(61, "500", answered(500), 7, r"500", keeps=True),
    Case(61, "a page instead of an answer", answered(200), 7, r"(?i)dashboard|JSON|page", keeps=True),
    Case(61, "a server that hangs", answered(200, "{}", after_s=3.0), 7, r"1 s", keeps=True),
    Case(
        62,
        "shell text in an override",
        run("config", "render", "recipes/r.yaml", "-s", NOTE),
        0,
        r"touch canary \$\(touch canary\)",
    ),
    Case(62, "shell text in a name", run("task", "new", "x; touch canary"), 2, r"is not a task name"),
    process("stdout closed", f"{SHOW} | head -n 1", 0, r"schema_version|seed"),
    process("stdout full", f"{SHOW} >/dev/full", 6, r"No space left"),
    process("no locale, a terminal of 20 columns", f"{SHOW} >/dev/null", 0, r"^$", TERM="dumb", LC_ALL="C", COLUMNS="20"),
    process("a Chinese name in the C locale", "trunkline config render 没有.yaml", 3, r"yaml", LC_ALL="C", PYTHONUTF8="0"),
    process("no HOME", "trunkline parts >/dev/null && trunkline task list", 0, r"one", HOME=None),
    process("a HOME that can not be written", "trunkline task list", 0, r"one", HOME="/proc/1"),
    process("a TMPDIR that is not there", "trunkline task check one", 0, r"sound", TMPDIR="/nowhere"),
    Case(64, "an unknown run", run("train", "recipes/r.yaml", "--resume", "r-2"), 2, r"no run 'r-2'"),
    *(
        Case(64, f"{name} of an unknown job", run(name, "r-3"), 2, r"no job 'r-3'")
        for name in ("status", "logs", "stop", "resume")
    ),
]
HELD = "tests/clusters/test_ray_jobs.py"  # logs of a job that has ended, a stop said twice: 64, on a server that knows jobs
