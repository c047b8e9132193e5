"""A cluster file of each kind and the job on it whose manifests are kept in tests/clusters/golden; run to write those anew."""

from __future__ import annotations

import re
from pathlib import Path

from trunkline.cluster import load_cluster
from trunkline.clusters.job import Job, backend_of
from trunkline.clusters.pack import Package

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "clusters" / "golden"
KINDS = ("kuberay", "slurm", "aws", "gcp", "ray")
RUN = "quickstart-261123120000-0a1b"
HOSTILE = "recipes/-x; touch canary $(touch canary) `id` 'q' \"d\" \\ \n # % 名 🚂.yaml"


def job_on(kind: str, **changes) -> Job:
    """A job on the cluster of clusters/KIND.yaml."""
    cluster = load_cluster(ROOT / "clusters" / f"{kind}.yaml")
    stated = {"recipe": "recipes/quickstart.yaml", "overrides": ("train.steps=100",), "storage": cluster.storage}
    return Job(RUN, **{"cluster": cluster, **stated, **changes})


def project(folder: Path) -> Package:
    """Two files, as packed."""
    (folder / "recipes").mkdir(parents=True)
    (folder / "recipes" / "quickstart.yaml").write_text("seed: 17\n")
    return Package(folder, {"recipes/quickstart.yaml": folder / "recipes" / "quickstart.yaml"})


def files_of(kind: str, package: Package) -> dict[str, str]:
    """What is sent, without the bytes of the archive: they depend on the zlib at hand."""
    sent = backend_of(job_on(kind).cluster).files(job_on(kind), package)
    bare = {name: re.sub(r'(project\.zip: ")[^"]+', r"\1...", text) for name, text in sent.items()}
    return {name: re.sub(r"_ray_pkg_[0-9a-f]{32}", "_ray_pkg_...", text) for name, text in bare.items()}


def strict(schema: dict) -> dict:
    """As the cluster checks: no key but the known, int-or-string, nothing required that has a default."""
    inner = {key: value for key, value in schema.items() if key != "properties"}
    node = {key: strict(value) if isinstance(value, dict) else value for key, value in inner.items()}
    if "properties" in schema:
        node["properties"] = {name: strict(own) for name, own in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            node.setdefault("additionalProperties", False)
        if "required" in node:
            node["required"] = [name for name in node["required"] if "default" not in schema["properties"].get(name, {})]
    if schema.get("x-kubernetes-int-or-string"):
        node = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    return node


if __name__ == "__main__":
    import tempfile

    for kind in KINDS:
        with tempfile.TemporaryDirectory() as scratch:
            for name, text in files_of(kind, project(Path(scratch))).items():
                (GOLDEN / kind).mkdir(parents=True, exist_ok=True)
                (GOLDEN / kind / name).write_text(text)
