"""Jobs on a Ray cluster that is up, through the REST interface of its dashboard; needs no Ray here.

Source: docs.ray.io, "Ray Jobs REST API", and for packages ray/dashboard/modules/job/job_head.py of Ray 2.60.
"""

from __future__ import annotations

import functools
import http.client
import json
import os
import shlex
import socket
import ssl
import stat
import time
import urllib.error
import urllib.request
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

from trunkline.cluster import Cluster, Ray
from trunkline.clusters.job import Job, State
from trunkline.clusters.pack import Package, digest
from trunkline.errors import ClusterError
from trunkline.monitor.redact import redacted

STATES = {"PENDING": "pending", "RUNNING": "running", "SUCCEEDED": "finished", "FAILED": "failed", "STOPPED": "stopped"}
STOPPED_AND_SAVED = 75
MOST_BYTES = 256 * 2**20
CHUNK = 2**16
NO_AGENT, AGAIN_S = "No available agent to submit job", 1.0
TOKEN_HINT = "Give the cluster's token by RAY_AUTH_TOKEN, or by token_file in the cluster file."


def make(cluster: Cluster) -> RayJobs:
    assert isinstance(cluster, Ray)
    return RayJobs(cluster)


class RayJobs:
    """Every request ends within the cluster's `timeout_s`."""

    def __init__(self, cluster: Ray) -> None:
        self.cluster = cluster

    @functools.cached_property
    def api(self) -> Api:
        return Api(self.cluster)

    def files(self, job: Job, package: Package) -> dict[str, str]:
        return {"request.json": json.dumps(request(job, digest(package.archive())), indent=1, ensure_ascii=False) + "\n"}

    def submit(self, job: Job, package: Package, folder: Path) -> str:
        del folder
        self.check()
        if self.state(job, job.name).state != "unknown":
            return job.name
        archive = package.archive()
        place = f"/api/packages/gcs/{_package_name(digest(archive))}"
        if self.api.get(place, missing_ok=True) is None:
            self.api.send("PUT", place, archive)
        self._begin(request(job, digest(archive)))
        return job.name

    def _begin(self, body: dict[str, Any]) -> None:
        """Asked again for `timeout_s` while the cluster only begins: it has no agent yet that could take a job, and says so."""
        until = time.monotonic() + self.cluster.timeout_s
        while True:
            try:
                self.api.json("POST", "/api/jobs/", body)
                return
            except ClusterError as error:
                if NO_AGENT not in error.message or time.monotonic() > until:
                    raise
            time.sleep(AGAIN_S)

    def state(self, job: Job, native: str) -> State:
        del job
        found = self.api.json("GET", f"/api/jobs/{quote(native, safe='')}", missing_ok=True)
        if found is None:
            return State("unknown", f"no job {native} at {self.cluster.address}")
        stated = STATES.get(str(found.get("status")), "unknown")
        if stated == "failed" and found.get("driver_exit_code") == STOPPED_AND_SAVED:
            stated = "stopped"
        return State(stated, _last_line(str(found.get("message") or "")), {"node": found.get("driver_node_id")})

    def logs(self, job: Job, native: str) -> str:
        del job
        found = self.api.json("GET", f"/api/jobs/{quote(native, safe='')}/logs", missing_ok=True)
        return str((found or {}).get("logs") or "")

    def stop(self, job: Job, native: str) -> None:
        said = self.api.json("POST", f"/api/jobs/{quote(native, safe='')}/stop", missing_ok=True)
        if said is not None and not said.get("stopped") and not self.state(job, native).ended:
            raise ClusterError(f"{native} could not be asked to stop, for it only begins. Ask again in a moment.")

    def check(self) -> None:
        """A cluster of another Ray fails later, in the worker that unpickles what this one sent."""
        found = self.api.json("GET", "/api/version") or {}
        theirs, ours = str(found.get("ray_version", "")), metadata.version("ray")
        if theirs.split(".")[:2] != ours.split(".")[:2]:
            raise ClusterError(f"the cluster runs Ray {theirs or 'of no version'}, this trunkline {ours}. Make them equal.")


def request(job: Job, package: str) -> dict[str, Any]:
    """The body of the request that submits the job. package: the digest of the packed project."""
    return {
        "entrypoint": shlex.join(job.command()),
        "submission_id": job.name,
        "runtime_env": {"working_dir": f"gcs://{_package_name(package)}", "env_vars": job.environment()},
        "metadata": {"trunkline_run": job.run_id, "trunkline_recipe": job.recipe, "trunkline_attempt": str(job.attempt)},
    }


def _package_name(package: str) -> str:
    return f"_ray_pkg_{package}.zip"


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return str(redacted(lines[-1][:300])) if lines else ""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to whom it names."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Api:
    """Requests with the token and a deadline, whose failures are sentences."""

    def __init__(self, cluster: Ray) -> None:
        self.cluster = cluster
        self.address = cluster.address.rstrip("/")
        self._token = token_of(cluster)
        if self._token is None and not cluster.loopback:
            raise ClusterError(f"{self.address} is not this machine, and there is no token. {TOKEN_HINT}")
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if self.address.startswith("https:"):
            handlers.append(urllib.request.HTTPSHandler(context=_context(cluster)))
        if cluster.loopback:
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def json(self, method: str, path: str, body: Any = None, *, missing_ok: bool = False) -> dict[str, Any] | None:
        """The JSON object that is answered; None where there is nothing and that is fine."""
        content = None if body is None else json.dumps(body).encode()
        said = self._ask(method, path, content, "application/json", missing_ok)
        if said is None:
            return None
        try:
            found = json.loads(said)
        except ValueError as error:
            page = "a web page" if said.lstrip()[:1] == b"<" else "something that is no JSON"
            raise ClusterError(
                f"{self.address} answers with {page}: is it the Ray dashboard's address, or does a login stand before it?"
            ) from error
        if not isinstance(found, dict):
            raise ClusterError(
                f"{self.address} answers {path} with {type(found).__name__}, not an object. Is it a Ray dashboard?"
            )
        return found

    def get(self, path: str, *, missing_ok: bool = False) -> bytes | None:
        return self._ask("GET", path, None, "application/json", missing_ok)

    def send(self, method: str, path: str, content: bytes) -> None:
        self._ask(method, path, content, "application/octet-stream", False)

    def _ask(self, method: str, path: str, content: bytes | None, kind: str, missing_ok: bool) -> bytes | None:
        headers = {"Content-Type": kind, "Accept": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        asked = urllib.request.Request(f"{self.address}{path}", data=content, headers=headers, method=method)
        until = time.monotonic() + self.cluster.timeout_s
        try:
            with self._opener.open(asked, timeout=self.cluster.timeout_s) as answer:
                return self._read(answer, until)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404 and missing_ok:
                    return None
                raise self._refused(error, until) from error
        except (OSError, http.client.HTTPException) as error:
            raise ClusterError(self._unreached(error)) from error

    def _read(self, answer: Any, until: float) -> bytes:
        parts, size = [], 0
        while part := answer.read1(CHUNK):
            parts.append(part)
            size += len(part)
            if size > MOST_BYTES:
                raise ClusterError(f"{self.address} answers with more than {MOST_BYTES // 2**20} MiB.")
            if time.monotonic() > until:
                raise TimeoutError
        return b"".join(parts)

    def _refused(self, error: urllib.error.HTTPError, until: float) -> ClusterError:
        if error.code in (401, 403):
            had = "has no token" if self._token is None else "does not accept the token"
            return ClusterError(f"{self.address} {had} ({error.code}). {TOKEN_HINT}".replace("has no token", "asks for a token"))
        if 300 <= error.code < 400:
            return ClusterError(f"{self.address} sends elsewhere ({error.code}), where the token is not sent. Name that address.")
        try:
            said = self._read(error, until).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            said = ""
        shown = "" if said.lstrip().startswith("<") else _last_line(said)
        return ClusterError(f"{self.address} answers {error.code}{f': {shown}' if shown else ''}. The dashboard's log says why.")

    def _unreached(self, error: BaseException) -> str:
        cause = error.reason if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException) else error
        if isinstance(cause, ssl.SSLError):
            said = getattr(cause, "verify_message", "") or cause.reason or "the handshake failed"
            return f"{self.address}: TLS failed: {said}. Name the signing certificates in ca_file, or check http against https."
        if isinstance(cause, TimeoutError):
            return f"{self.address} gave no answer in {self.cluster.timeout_s} s. Is it up, and is a firewall between?"
        if isinstance(cause, socket.gaierror):
            return f"{self.address}: no such host. Check address in the cluster file."
        if isinstance(cause, ConnectionRefusedError):
            return f"nothing listens at {self.address}. Is the cluster up, and is that its dashboard's port (8265)?"
        if isinstance(cause, http.client.HTTPException):
            return f"{self.address} does not speak HTTP: {type(cause).__name__}. Is it the dashboard's port (8265)?"
        return f"{self.address} can not be reached: {getattr(cause, 'strerror', None) or cause}. Is the cluster up?"


def _context(cluster: Ray) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=cluster.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ClusterError(f"can not be read: {error.strerror or error}. Check ca_file.", where=cluster.ca_file) from error


def token_of(cluster: Ray) -> str | None:
    """The cluster's token: from its token_file, RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, or where Ray keeps it.

    Raises ClusterError for a file that others may read, or that holds no token.
    """
    if cluster.token_file is None and os.environ.get("RAY_AUTH_TOKEN"):
        return _sound(os.environ["RAY_AUTH_TOKEN"], "RAY_AUTH_TOKEN")
    stated = cluster.token_file or os.environ.get("RAY_AUTH_TOKEN_PATH")
    file = Path(stated).expanduser() if stated else Path.home() / ".ray" / "auth_token"
    if stated is None and not file.is_file():
        return None
    try:
        if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ClusterError("others may read the token. Run: chmod 600 on it.", where=str(file))
        return _sound(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ClusterError(f"the token can not be read: {getattr(error, 'strerror', 'is not text')}.", where=str(file)) from error


def _sound(text: str, where: str) -> str:
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ClusterError("holds no token: one word is expected.", where=where)
    return token
