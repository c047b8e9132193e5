"""Cluster files: strict, with the place of every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from trunkline.cli.app import main
from trunkline.cluster import KINDS, find_cluster, load_cluster
from trunkline.errors import ConfigError

ROOT = Path(__file__).parent.parent
RAY = "kind: ray\naddress: https://ray.example.org:8265\nstorage: /mnt/runs\n"
KUBERAY = (
    "kind: kuberay\nimage: i\nstorage: /mnt/runs/x\nvolumes: [{claim: c, mount: /mnt/runs}]\n"
    "groups: [{name: g, cpus: 4, memory: 8Gi}]\n"
)


def load(tmp_path: Path, text: str):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    return load_cluster(file)


def test_every_kind_has_a_file_that_loads():
    assert {load_cluster(path).kind for path in (ROOT / "clusters").glob("*.yaml")} == set(KINDS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: kubernetes\n", "c.yaml:1:7: kind: unknown kind 'kubernetes'. Known: aws, gcp, kuberay"),
        ("storage: /x\n", "kind: is missing"),
        (RAY + "adress: x\n", "c.yaml:4:1: adress: unknown key. Did you mean 'address'?"),
        (RAY + "train: {steps: 3}\n", "train: does not belong here. It belongs in the recipe"),
        (RAY + "prices: {currency: euro, worker_hour: 3}\n", "prices.currency: String should match"),
        (RAY + "prices: {currency: EUR, worker_hour: 0}\n", "prices.worker_hour: must be above 0, found 0"),
        (RAY + "prices: {currency: EUR}\n", "prices.worker_hour: "),
        (RAY + "token: abcdef\n", "token: a secret does not belong in a file"),
        (RAY + "env: {WANDB_API_KEY: hunter22}\n", "WANDB_API_KEY is a secret"),
        (RAY.replace("/mnt/runs", "runs"), "must be an absolute path"),
        (RAY.replace("/mnt/runs", "/mnt/../etc"), "must be an absolute path"),
        (RAY.replace("https://ray.example.org:8265", "ray://head:10001"), "address must be http://HOST:PORT"),
        (RAY.replace("https://", "https://user:pass@"), "address holds more than"),
        (RAY + "python: python; reboot\n", "python: String should match"),
        (KUBERAY + "queue: q\nautoscaling: true\n", "queue and autoscaling do not go together"),
        (KUBERAY.replace("/mnt/runs/x", "/mnt/other"), "lies on no volume"),
        (KUBERAY.replace("cpus: 4", "cpus: 4, replicas: 3, max: 2"), "replicas 3 must lie between"),
        (KUBERAY.replace("8Gi", "8GB"), "memory: String should match"),
        (KUBERAY.replace("name: g", "name: 'G; x'"), "must be a DNS label"),
        ("kind: slurm\nstorage: /s\ncpus: 4\ntime: soon\n", "time: String should match"),
        ("kind: slurm\nstorage: /s\ncpus: 4\npartition: 'a --wrap=reboot'\n", "partition: String should match"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path, text, said):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert said in str(caught.value) and "c.yaml:" in str(caught.value)
    assert "hunter22" not in str(caught.value) and "abcdef" not in str(caught.value)


def test_a_name_no_file_has_is_told_with_those_there_are():
    with pytest.raises(ConfigError, match=r"no cluster 'slrum'\. Did you mean 'slurm'"):
        find_cluster("slrum", ROOT)
    with pytest.raises(ConfigError, match="no cluster"):
        find_cluster("../clusters/slurm", ROOT)


def test_local_needs_no_file(tmp_path):
    assert find_cluster("local", tmp_path).kind == "local"


def test_a_schema_for_editors_is_printed(capsys):
    assert main(["config", "schema", "cluster"]) == 0
    assert '"kuberay"' in capsys.readouterr().out
