"""A job on machines that Ray's cluster launcher brings up: head on demand, workers on spot, storage mounted by `setup`."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

from trunkline.cluster import Aws, Cloud, Cluster, Gcp
from trunkline.clusters.command import call
from trunkline.clusters.job import Job, State
from trunkline.clusters.manifest import render
from trunkline.clusters.pack import Package
from trunkline.errors import ClusterError

RAY = "Install it: pip install 'trunkline[cluster]', and the cloud's own package (boto3, google-api-python-client)."
UP_S, EXEC_S = 1800.0, 300.0
STATES = {"PENDING": "pending", "RUNNING": "running", "SUCCEEDED": "finished", "FAILED": "failed", "STOPPED": "stopped"}
TOKEN = "~/.ray/auth_token"
PLACE = "~/trunkline"
# On every node: telemetry off, and the token, which `file_mounts` brings, is nobody else's.
START = f"chmod 600 {TOKEN} && ray stop && RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 ray start"


def make(cluster: Cluster) -> Launcher:
    assert isinstance(cluster, Cloud)
    return Launcher(cluster)


class Launcher:
    """Speaks through `ray up`, `ray exec` and, on the head, `ray job`."""

    def __init__(self, cluster: Cloud) -> None:
        self.cluster = cluster

    def files(self, job: Job, package: Package) -> dict[str, str]:
        del package
        return {"launcher.yaml": render([config(job, self.cluster)]), "submit.sh": f"{shlex.join(submission(job))}\n"}

    def submit(self, job: Job, package: Package, folder: Path) -> str:
        package.copy_to(folder / "project")
        file = folder / "launcher.yaml"
        file.write_text(render([config(job, self.cluster, project=folder / "project")]), encoding="utf-8")
        call(["ray", "up", "--yes", "--no-config-cache", str(file)], timeout_s=UP_S, hint=RAY)
        self._exec(file, submission(job))
        return str(file)

    def state(self, job: Job, native: str) -> State:
        said = self._exec(Path(native), ["ray", "job", "status", job.name])
        found = re.findall(r"\b(PENDING|RUNNING|SUCCEEDED|FAILED|STOPPED)\b", said)
        return State(STATES[found[-1]]) if found else State("unknown", said.strip()[-200:])

    def logs(self, job: Job, native: str) -> str:
        return self._exec(Path(native), ["ray", "job", "logs", job.name])

    def stop(self, job: Job, native: str) -> None:
        self._exec(Path(native), ["ray", "job", "stop", "--no-wait", job.name])

    def _exec(self, file: Path, words: list[str]) -> str:
        if not file.is_file():
            raise ClusterError(f"{file} is gone, which said how the cluster was brought up.")
        return call(["ray", "exec", str(file), f"RAY_AUTH_MODE=token {shlex.join(words)}"], timeout_s=EXEC_S, hint=RAY)


def submission(job: Job) -> list[str]:
    """What runs on the head to submit the job."""
    runtime = json.dumps(
        {"working_dir": f"/home/{_user(job)}/trunkline/{job.name}", "env_vars": job.environment()}, sort_keys=True
    )
    words = ["ray", "job", "submit", "--no-wait", "--submission-id", job.name, "--runtime-env-json", runtime]
    return [*words, "--", *job.command()]


def _user(job: Job) -> str:
    assert isinstance(job.cluster, Cloud)
    return job.cluster.user


def config(job: Job, cluster: Cloud, *, project: Path = Path("project")) -> dict[str, Any]:
    """What Ray's launcher reads. project: the folder here that goes to the head."""
    head, workers = cluster.head, cluster.workers
    node_config, provider = NODES[cluster.provider], PROVIDERS[cluster.provider]
    return {
        "cluster_name": f"trunkline-{cluster.name}"[:40],
        "max_workers": workers.max,
        "idle_timeout_minutes": cluster.idle_minutes,
        "provider": {**provider(cluster), "use_internal_ips": True, "cache_stopped_nodes": False},
        "auth": {"ssh_user": cluster.user},
        "available_node_types": {
            "head": {
                "resources": {"CPU": 0},
                "min_workers": 0,
                "max_workers": 0,
                "node_config": node_config(cluster, head.type, head.disk_gb, spot=False),
            },
            "workers": {
                "resources": {"CPU": workers.cpus, **({"GPU": workers.gpus} if workers.gpus else {})},
                "min_workers": workers.min,
                "max_workers": workers.max,
                "node_config": node_config(cluster, workers.type, workers.disk_gb, spot=workers.spot),
            },
        },
        "head_node_type": "head",
        "file_mounts": {f"{PLACE}/{job.name}": str(project), TOKEN: TOKEN},
        "setup_commands": list(cluster.setup),
        "head_start_ray_commands": [
            f"{START} --head --port=6379 --dashboard-host=127.0.0.1 --autoscaling-config=~/ray_bootstrap_config.yaml"
        ],
        "worker_start_ray_commands": [f"{START} --address=$RAY_HEAD_IP:6379"],
    }


def _aws_provider(cluster: Cloud) -> dict[str, Any]:
    return {"type": "aws", "region": cluster.region, "availability_zone": cluster.zone}


def _gcp_provider(cluster: Cloud) -> dict[str, Any]:
    assert isinstance(cluster, Gcp)
    zone = {"region": cluster.region, "availability_zone": cluster.zone}
    return {"type": "gcp", **zone, "project_id": cluster.project}


def _aws_node(cluster: Cloud, machine: str, disk_gb: int, *, spot: bool) -> dict[str, Any]:
    assert isinstance(cluster, Aws)
    disk = {"VolumeSize": disk_gb, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
    node: dict[str, Any] = {
        "InstanceType": machine,
        "ImageId": cluster.image,
        "KeyName": cluster.key_pair,
        "SubnetIds": cluster.subnets,
        "SecurityGroupIds": cluster.security_groups,
        "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": disk}],
        "MetadataOptions": {"HttpTokens": "required"},
    }
    if cluster.profile is not None:
        node["IamInstanceProfile"] = {"Arn": cluster.profile}
    if spot:
        node["InstanceMarketOptions"] = {"MarketType": "spot"}
    return node


def _gcp_node(cluster: Cloud, machine: str, disk_gb: int, *, spot: bool) -> dict[str, Any]:
    assert isinstance(cluster, Gcp)
    disk = {"boot": True, "autoDelete": True, "type": "PERSISTENT"}
    disk |= {"initializeParams": {"diskSizeGb": disk_gb, "sourceImage": cluster.image}}
    node: dict[str, Any] = {
        "machineType": machine,
        "disks": [disk],
        "networkInterfaces": [{"network": f"projects/{cluster.project}/global/networks/{cluster.network}"}],
        "serviceAccounts": [{"email": cluster.service_account, "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}],
    }
    if spot:
        node["scheduling"] = {"provisioningModel": "SPOT", "instanceTerminationAction": "DELETE"}
    return node


PROVIDERS = {"aws": _aws_provider, "gcp": _gcp_provider}
NODES = {"aws": _aws_node, "gcp": _gcp_node}
