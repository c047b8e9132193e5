"""What is in deploy/: read by the tools that read it, and of one mind with the rest of the project."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from cluster_cases import strict
from trunkline.monitor.ray_metrics import COUNTERS, GAUGES

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
SCHEMA = ROOT / "tests" / "clusters" / "schemas" / "raycluster.v1.openapi.json"
EXPORTED = {f"ray_{name}" for name in GAUGES} | {f"ray_{name}_total" for name in COUNTERS}


def tool(name: str, *words: str, given: str | None = None) -> subprocess.CompletedProcess:
    program = str(Path(sys.executable).with_name(name))
    return subprocess.run([program, *words], input=given, capture_output=True, text=True, timeout=60, check=False)


def read(name: str):
    return yaml.safe_load((DEPLOY / name).read_text())


# --- the image


def test_hadolint_finds_nothing_in_the_dockerfile_and_something_in_a_worse_one():
    done = tool("hadolint", "-", given=DOCKERFILE)
    assert (done.returncode, done.stdout) == (0, "")
    assert tool("hadolint", "-", given=DOCKERFILE.replace("FROM ${BASE} AS runtime", "FROM debian")).returncode == 1


def image_faults(text: str, makefile: str) -> list[str]:
    """What an image of ours must not do."""
    faults = []
    installs = re.findall(r"pip install (.+)", text)
    faults += [f"not locked: {words}" for words in installs if "-c constraints.txt" not in words]
    versions = set(re.findall(r"torch==([\d.]+)", text)) | set(re.findall(r"torch==([\d.]+)", makefile))
    if len(versions) != 1:
        faults.append(f"several torch: {versions}")
    users = re.findall(r"^USER (.+)$", text, re.MULTILINE)
    if not users or users[-1].startswith(("0", "root")):
        faults.append("runs as root")
    faults += [
        f"secret: {line}" for line in text.splitlines() if re.search(r"(?i)^(ARG|ENV).*(token|password|secret|_key)", line)
    ]
    faults += [f"base: {name}" for name in re.findall(r"^FROM (\S+)", text, re.MULTILINE) if ":" in name]
    return faults


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("", "", None),
        ("-c constraints.txt '.[cluster]'", "'.[cluster]'", "not locked"),
        ("cpu torch==2.13.0", "cpu torch==2.12.0", "several torch"),
        ("USER 1000:1000\n", "", "runs as root"),
        ("ENV PATH", "ENV WANDB_API_KEY=x PATH", "secret"),
        ("FROM ${BASE} AS build", "FROM python:3.11 AS build", "base"),
    ],
)
def test_the_image_is_locked_as_the_makefile_is_and_runs_as_nobody_in_particular(old, new, fault):
    assert old in DOCKERFILE
    faults = image_faults(DOCKERFILE.replace(old, new, 1), (ROOT / "Makefile").read_text())
    assert [found.split(":")[0] for found in faults] == ([fault] if fault else [])


def test_every_file_that_is_copied_is_there_and_comes_through_the_ignore_file():
    copied = [name for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()]
    let_in = (DEPLOY / "Dockerfile.dockerignore").read_text()
    assert copied and all((ROOT / name).exists() and f"!{name}\n" in let_in for name in copied)


def test_the_scripts_pass_shellcheck_and_a_base_without_a_digest_is_not_built():
    assert tool("shellcheck", str(DEPLOY / "build"), str(DEPLOY / "pin")).stdout == ""
    lock = (DEPLOY / "images.lock").read_text()
    done = subprocess.run(["bash", str(DEPLOY / "build"), "cpu"], capture_output=True, text=True, check=False)
    if "@sha256:" not in lock:
        assert done.returncode == 6 and "without a digest" in done.stderr
    assert subprocess.run(["bash", str(DEPLOY / "build"), "tpu"], capture_output=True, check=False).returncode == 2


# --- manifests


def test_the_development_cluster_fits_the_operators_schema_and_a_typing_slip_does_not():
    stated = json.loads(SCHEMA.read_text())
    schema = strict(stated.get("openAPIV3Schema", stated))
    schema["properties"]["metadata"] = {"type": "object"}
    check = jsonschema.Draft202012Validator(schema)
    cluster = read("kuberay/raycluster-dev.yaml")
    assert [error.message for error in check.iter_errors(cluster)] == []
    planted = copy.deepcopy(cluster)
    planted["spec"]["headGroupSpec"]["rayStartParam"] = {}
    assert list(check.iter_errors(planted))


def test_compose_publishes_to_this_machine_alone_and_its_files_are_there():
    found = read("compose.yaml")
    assert {"head", "worker", "prometheus", "grafana"} == set(found["services"])
    for service in found["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        for volume in service.get("volumes", []):
            place = volume.split(":")[0]
            assert place in found["volumes"] or (DEPLOY / place).exists()
        assert not [name for name in service.get("environment", {}) if name.endswith(("TOKEN", "KEY"))]
    for name in read("prometheus/prometheus.yaml")["rule_files"]:
        assert (DEPLOY / "prometheus" / name).is_file()


# --- metrics


def used(text: str) -> set[str]:
    return set(re.findall(r"\bray_trunkline_\w+", text))


def test_rules_and_dashboard_ask_for_what_is_exported():
    rules, board = (DEPLOY / "prometheus" / "rules.yaml").read_text(), (DEPLOY / "grafana" / "trunkline.json").read_text()
    assert used(rules) and used(board) and used(rules) | used(board) <= EXPORTED
    assert EXPORTED - used(rules) - used(board) == set()
    assert used(rules.replace("ray_trunkline_last", "ray_trunkline_lst")) - EXPORTED


def test_the_dashboard_s_panels_do_not_overlap():
    panels = json.loads((DEPLOY / "grafana" / "trunkline.json").read_text())["panels"]
    cells = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(cells)) == len(cells) and len({panel["id"] for panel in panels}) == len(panels)
    assert all(target["expr"] for panel in panels for target in panel["targets"])
