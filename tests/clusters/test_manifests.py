"""What `submit --dry-run` writes for every kind of cluster, against those who read it: schemas, validators, shells."""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from cluster_cases import GOLDEN, HOSTILE, KINDS, files_of, job_on, project, strict
from trunkline.cluster import load_cluster
from trunkline.clusters.job import decode, encode
from trunkline.clusters.kuberay import documents
from trunkline.clusters.launcher import config, submission
from trunkline.clusters.manifest import render
from trunkline.clusters.slurm import Batch, script
from trunkline.errors import ClusterError, ConfigError

SCHEMA = Path(__file__).parent / "schemas" / "rayjob.v1.openapi.json"
DNS = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
FULL = """\
kind: kuberay
image: i@sha256:00
storage: /mnt/runs
volumes: [{claim: c, mount: /mnt}]
groups: [{name: a, replicas: 2, min: 1, max: 4, cpus: 4, memory: 8Gi, gpus: 1, nodes: {zone: on}},
  {name: b, cpus: 1, memory: 1Gi}]
autoscaling: true
gang: true
fault_tolerance: {redis: "redis://r:6379", secret: redis}
submission: SidecarMode
active_s: 7200
service_account: runner
workdir: /app
env: {MODE: "on", SIZE: "1e3"}
"""


@pytest.fixture
def package(tmp_path):
    return project(tmp_path / "project")


@pytest.mark.parametrize("kind", KINDS)
def test_the_output_equals_the_golden_files(kind, package):
    golden = {path.name: path.read_text() for path in (GOLDEN / kind).iterdir()}
    assert files_of(kind, package) == golden


# --- KubeRay


@pytest.fixture(scope="module")
def ray_job_schema():
    stated = json.loads(SCHEMA.read_text())
    schema = strict(stated.get("openAPIV3Schema", stated))
    schema["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft202012Validator(schema)


def full(tmp_path):
    file = tmp_path / "full.yaml"
    file.write_text(FULL)
    return load_cluster(file)


def test_a_ray_job_fits_the_schema_of_the_operator(ray_job_schema, package, tmp_path):
    for job in (job_on("kuberay"), job_on("kuberay", cluster=full(tmp_path))):
        found = list(YAML(typ="safe").load_all(render(documents(job, job.cluster, package))))
        assert [error.message for error in ray_job_schema.iter_errors(found[-1])] == []
        assert all(DNS.fullmatch(document["metadata"]["name"]) for document in found)
        assert len(found[-1]["metadata"]["name"]) <= 47


@pytest.mark.parametrize(
    "route",
    [("spec", "entrypont"), ("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "restartPolcy"), ("sepc",)],
)
def test_a_misspelt_key_is_refused_by_that_schema(ray_job_schema, package, route):
    job = job_on("kuberay")
    planted = copy.deepcopy(documents(job, job.cluster, package)[-1])
    place = planted
    for step in route[:-1]:
        place = place[step]
    place[route[-1]] = "x"
    assert list(ray_job_schema.iter_errors(planted))


def rules(spec: dict) -> list[str]:
    """What the operator refuses beyond its schema."""
    cluster, faults = spec["rayClusterSpec"], []
    if spec.get("ttlSecondsAfterFinished") and not spec.get("shutdownAfterJobFinishes"):
        faults.append("ttl without shutdown")
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    if cluster.get("enableInTreeAutoscaling") and any(pod["template"]["spec"]["restartPolicy"] != "Never" for pod in pods):
        faults.append("autoscaler v2 restarts")
    faults += ["bounds" for own in cluster["workerGroupSpecs"] if not own["minReplicas"] <= own["replicas"] <= own["maxReplicas"]]
    return faults


def test_a_ray_job_keeps_the_operators_rules_and_ours(package, tmp_path):
    for job in (job_on("kuberay"), job_on("kuberay", cluster=full(tmp_path))):
        spec = documents(job, job.cluster, package)[-1]["spec"]
        assert rules(spec) == []
        cluster = spec["rayClusterSpec"]
        assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            (container,) = group["template"]["spec"]["containers"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert group["template"]["spec"]["securityContext"]["runAsNonRoot"]
            assert all("valueFrom" in own or own["name"] == "RAY_USAGE_STATS_ENABLED" for own in container["env"])
            assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    planted = copy.deepcopy(spec)
    planted["rayClusterSpec"]["workerGroupSpecs"][0]["replicas"] = 9
    assert rules(planted) == ["bounds"]


def test_a_project_too_big_for_a_config_map_is_refused_with_a_way_out(package):
    (package.root / "big").write_bytes(os.urandom(2**20))
    package.files["big"] = package.root / "big"
    job = job_on("kuberay")
    with pytest.raises(ConfigError, match=r"a ConfigMap takes 900.*workdir"):
        documents(job, job.cluster, package)


# --- YAML


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), plain, min_size=1, max_size=4))
def test_any_data_reads_back_equal_in_both_readers(data):
    text = render([data])
    if not any(isinstance(item, list) for item in data.values()):
        assert yaml.safe_load(text) == YAML(typ="safe").load(text) == data


def test_words_that_look_like_something_else_stay_text():
    data = {"on": "no", "y": "1e3", "n": "0x10", "a": "~", "b": "2026-11-23", "c": "- x: {", "d": "", "e": "a\u0085b\u2028c"}
    assert yaml.safe_load(render([data])) == data


# --- commands


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_names_reach_the_command_literally(kind):
    job = job_on(kind, recipe=HOSTILE, overrides=("a=$(touch canary)", "b='x' \"y\"\n;"))
    words = job.command()
    assert all(shlex.quote(word) == word for word in words)  # no shell, however many there are, changes one
    assert decode(words[-1]) == job.arguments() and HOSTILE in job.arguments()[1]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_encoded_words_are_safe_and_read_back(words):
    assert shlex.quote(encode(words)) == encode(words) and decode(encode(words)) == words


def test_a_recipe_that_looks_like_an_option_is_a_path():
    assert job_on("ray", recipe="-x.yaml").arguments()[:2] == ["train", "./-x.yaml"]


# --- Ray's launcher


@pytest.mark.parametrize("kind", ["aws", "gcp"])
def test_the_launchers_own_check_takes_it(kind):
    from ray.autoscaler._private.util import prepare_config, validate_config

    job = job_on(kind)
    text = render([config(job, job.cluster)])
    validate_config(prepare_config(yaml.safe_load(text)))
    planted = yaml.safe_load(text) | {"max_wokers": 3}
    with pytest.raises(Exception, match="max_wokers"):
        validate_config(prepare_config(planted))


@pytest.mark.parametrize("kind", ["aws", "gcp"])
def test_the_head_is_never_on_spot_and_the_dashboard_listens_to_itself_alone(kind):
    job = job_on(kind)
    found = config(job, job.cluster)
    nodes = {name: json.dumps(own["node_config"]).lower() for name, own in found["available_node_types"].items()}
    assert "spot" not in nodes["head"] and "spot" in nodes["workers"]
    assert "--dashboard-host=127.0.0.1" in found["head_start_ray_commands"][0]
    assert found["available_node_types"]["head"]["resources"] == {"CPU": 0}
    assert submission(job)[-len(job.command()) :] == job.command()


# --- Slurm


@pytest.mark.parametrize("changes", [{}, {"recipe": HOSTILE, "overrides": ("a=$(x) 'y'",)}])
def test_shellcheck_finds_nothing_in_the_batch_script(changes, tmp_path):
    job = job_on("slurm", **changes)
    file = tmp_path / "job.sh"
    program = str(Path(sys.executable).with_name("shellcheck"))
    file.write_text(script(job, job.cluster))
    done = subprocess.run([program, str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    file.write_text(script(job, job.cluster).replace('"$SLURM_JOB_NODELIST"', "$SLURM_JOB_NODELIST"))
    assert subprocess.run([program, str(file)], capture_output=True, check=False).returncode == 1


FAKES = {
    "sbatch": """
        echo 42
        cd "$(dirname "$2")"
        export SLURM_JOB_ID=42 SLURM_JOB_NODELIST=n
        bash "$2" >> log.txt 2>&1
        echo $? > "$CALLS/code"
    """,
    "scontrol": 'if [ "$1" = show ]; then echo localhost; else echo "$@" >> "$CALLS/scontrol"; fi',
    "srun": 'while [ "$1" != ray ]; do shift; done; SHELL_PID=$PPID "$@"',
    "ray": 'while [ "$1" != -- ]; do shift; done; shift; "$@"',
    "module": "true",
}
PROGRAM = """\
#!{python}
import json, os, signal, sys, time
json.dump(sys.argv[1:], open(os.environ["CALLS"] + "/argv", "w"))
if os.environ["ENDS"] == "preempted":
    os.kill(int(os.environ["SHELL_PID"]), signal.SIGUSR1)
    deadline = time.monotonic() + 20
    while not os.path.exists(os.environ["STOP"]) and time.monotonic() < deadline:
        time.sleep(0.05)
    sys.exit(75 if os.path.exists(os.environ["STOP"]) else 1)
sys.exit(int(os.environ["ENDS"]))
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A Slurm of one machine: sbatch runs the script at once."""
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    calls.mkdir()
    for name, body in FAKES.items():
        (programs / name).write_text(f"#!/bin/bash\n{body}\n")
    (programs / "trainer").write_text(textwrap.dedent(PROGRAM).format(python=sys.executable))
    for path in programs.iterdir():
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(calls))
    stated = f"kind: slurm\nstorage: {tmp_path}/runs\npython: {programs}/trainer\nnodes: 1\ncpus: 2\n"
    (tmp_path / "slurm.yaml").write_text(stated)
    return load_cluster(tmp_path / "slurm.yaml")


@pytest.mark.parametrize(
    ("ends", "code", "requeued"), [("0", 0, False), ("4", 4, False), ("75", 75, False), ("preempted", 75, True)]
)
def test_a_batch_job_runs_the_command_and_goes_back_into_the_queue_only_when_it_was_preempted(
    slurm, package, monkeypatch, tmp_path, ends, code, requeued
):
    job = job_on("slurm", cluster=slurm, storage=slurm.storage, recipe=HOSTILE)
    monkeypatch.setenv("ENDS", ends)
    monkeypatch.setenv("STOP", job.stop_file)
    backend = Batch(slurm)
    assert backend.submit(job, package, tmp_path / "unused") == "42"
    calls = tmp_path / "calls"
    assert json.loads((calls / "argv").read_text()) == job.command()[1:]
    assert int((calls / "code").read_text()) == code, backend.logs(job, "42")
    assert (calls / "scontrol").exists() == requeued
    assert not list(tmp_path.rglob("canary"))


def test_a_batch_job_in_which_ray_did_not_start_has_not_succeeded(slurm, package, tmp_path):
    (tmp_path / "bin" / "ray").write_text("#!/bin/bash\nexit 0\n")  # as symmetric-run does
    job = job_on("slurm", cluster=slurm, storage=slurm.storage)
    Batch(slurm).submit(job, package, tmp_path)
    assert (tmp_path / "calls" / "code").read_text().strip() == "7"
    assert "Ray did not start" in Batch(slurm).logs(job, "42")


def test_the_same_batch_job_is_not_submitted_twice(slurm, package, monkeypatch, tmp_path):
    monkeypatch.setenv("ENDS", "0")
    job = job_on("slurm", cluster=slurm, storage=slurm.storage)
    Batch(slurm).submit(job, package, tmp_path)
    with pytest.raises(ClusterError, match="was submitted"):
        Batch(slurm).submit(job, package, tmp_path)


def test_storage_that_sbatch_would_read_as_its_own_is_refused(tmp_path):
    (tmp_path / "s.yaml").write_text("kind: slurm\nstorage: '/s/%j x'\ncpus: 1\n")
    with pytest.raises(ConfigError, match="reads as its own"):
        Batch(load_cluster(tmp_path / "s.yaml"))


def test_a_program_that_is_not_here_is_told_with_where_to_go(slurm, package, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ClusterError, match=r"'sbatch' is not installed here.*login node"):
        Batch(slurm).submit(job_on("slurm", cluster=slurm, storage=slurm.storage), package, tmp_path)
