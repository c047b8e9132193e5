"""A job as a RayJob of the KubeRay operator: a cluster of its own, its network policy, and the project if it is sent."""

from __future__ import annotations

import base64
import json
import shlex
import time
from pathlib import Path
from typing import Any

from trunkline.cluster import Cluster, Group, KubeRay
from trunkline.clusters.command import call
from trunkline.clusters.job import Job, State
from trunkline.clusters.manifest import render
from trunkline.clusters.pack import Package
from trunkline.errors import ClusterError, ConfigError

RUN_LABEL = "trunkline/run"
CODE_MOUNT = "/etc/trunkline"
CODE_LIMIT = 900 * 1024  # a ConfigMap holds 1 MiB
POLL_S = 2.0
STATES = {"PENDING": "pending", "RUNNING": "running", "SUCCEEDED": "finished", "FAILED": "failed", "STOPPED": "stopped"}
DEPLOYMENTS = {"Complete": "finished", "Failed": "failed", "Suspended": "stopped", "Running": "running"}
KUBECTL = "Install kubectl, or apply the output of --dry-run elsewhere."
LOCKED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def make(cluster: Cluster) -> Operator:
    assert isinstance(cluster, KubeRay)
    return Operator(cluster)


class Operator:
    """Speaks through kubectl."""

    def __init__(self, cluster: KubeRay) -> None:
        self.cluster = cluster
        context = ["--context", cluster.context] if cluster.context else []
        self._kubectl = ["kubectl", *context, "--namespace", cluster.namespace]

    def files(self, job: Job, package: Package) -> dict[str, str]:
        return {"rayjob.yaml": render(documents(job, self.cluster, package))}

    def submit(self, job: Job, package: Package, folder: Path) -> str:
        del folder
        self._call("apply", "--filename", "-", given=self.files(job, package)["rayjob.yaml"])
        return job.name

    def state(self, job: Job, native: str) -> State:
        del job
        found = self._status(native)
        if found is None:
            return State("unknown", f"no RayJob {native} in namespace {self.cluster.namespace}")
        stated = STATES.get(found.get("jobStatus", "")) or DEPLOYMENTS.get(found.get("jobDeploymentStatus", ""), "pending")
        return State(stated, str(found.get("message") or found.get("reason") or ""), {"failed": found.get("failed", 0)})

    def logs(self, job: Job, native: str) -> str:
        if self.cluster.submission == "K8sJobMode":
            return self._call("logs", f"job/{native}", "--tail=-1")
        if self.cluster.submission == "SidecarMode":
            return self._call("logs", "--selector", _head_of(job), "--container", "ray-job-submitter", "--tail=-1")
        raise ClusterError("a job submitted by HTTPMode has its log in the Ray dashboard alone. Take submission: K8sJobMode.")

    def stop(self, job: Job, native: str) -> None:
        """The run saves first; then its cluster is deleted, or `backoff_limit` would start the next one."""
        pods = self._call("get", "pods", "--selector", _head_of(job), "--output", "name").split()
        if pods and not self.state(job, native).ended:
            self._call("exec", pods[0], "--", "touch", job.stop_file)
            until = time.monotonic() + self.cluster.grace_s
            while time.monotonic() < until and not self.state(job, native).ended:
                time.sleep(POLL_S)
        self._call("delete", "rayjob", native, "--ignore-not-found", "--wait=false")

    def _status(self, native: str) -> dict[str, Any] | None:
        said = self._call("get", "rayjob", native, "--ignore-not-found", "--output", "json")
        return json.loads(said).get("status", {}) if said.strip() else None

    def _call(self, *words: str, given: str | None = None) -> str:
        return call([*self._kubectl, *words], given=given, hint=KUBECTL)


def documents(job: Job, cluster: KubeRay, package: Package) -> list[dict[str, Any]]:
    """The manifests of a job, in the order in which they are applied."""
    sent = [] if cluster.workdir else [_code(job, cluster, package)]
    return [*sent, _network_policy(job, cluster), ray_job(job, cluster)]


def ray_job(job: Job, cluster: KubeRay) -> dict[str, Any]:
    """The RayJob alone."""
    spec: dict[str, Any] = {
        "entrypoint": shlex.join(job.command()),
        "runtimeEnvYAML": render([{"working_dir": _working_dir(cluster), "env_vars": job.environment()}]),
        "submissionMode": cluster.submission,
        "backoffLimit": cluster.backoff_limit,
        "preRunningDeadlineSeconds": cluster.pending_s,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": cluster.ttl_s,
        "rayClusterSpec": _ray_cluster(job, cluster),
    }
    if cluster.active_s is not None:
        spec["activeDeadlineSeconds"] = cluster.active_s
    if cluster.submission == "K8sJobMode":
        spec["submitterPodTemplate"] = _pod(job, cluster, "ray-job-submitter", {"cpu": "500m", "memory": "512Mi"}, plain=True)
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": _metadata(job, cluster), "spec": spec}


def _metadata(job: Job, cluster: KubeRay, name: str = "") -> dict[str, Any]:
    labels = {"app.kubernetes.io/managed-by": "trunkline", RUN_LABEL: job.name}
    if not name and cluster.queue is not None:
        labels["kueue.x-k8s.io/queue-name"] = cluster.queue
    if not name and cluster.gang:
        labels["ray.io/gang-scheduling-enabled"] = "true"
    return {"name": name or job.name, "namespace": cluster.namespace, "labels": labels}


def _working_dir(cluster: KubeRay) -> str:
    return cluster.workdir or f"file://{CODE_MOUNT}/project.zip"


def _ray_cluster(job: Job, cluster: KubeRay) -> dict[str, Any]:
    head = cluster.head
    spec: dict[str, Any] = {
        "rayVersion": cluster.ray_version,
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0", "num-gpus": "0"},  # the driver's alone: no worker trains beside it
            "template": _pod(job, cluster, "ray-head", {"cpu": str(head.cpus), "memory": head.memory}),
        },
        "workerGroupSpecs": [_worker_group(job, cluster, group) for group in cluster.groups],
    }
    if cluster.autoscaling:
        spec |= {"enableInTreeAutoscaling": True, "autoscalerOptions": {"version": "v2", "securityContext": LOCKED}}
    if cluster.auth_secret is not None:
        spec["authOptions"] = {"mode": "token", "secretName": cluster.auth_secret}
    if cluster.fault_tolerance is not None:
        spec["gcsFaultToleranceOptions"] = _fault_tolerance(cluster)
    return spec


def _fault_tolerance(cluster: KubeRay) -> dict[str, Any]:
    stated = cluster.fault_tolerance
    assert stated is not None
    options: dict[str, Any] = {"redisAddress": stated.redis}
    if stated.secret is not None:
        options["redisPassword"] = {"valueFrom": {"secretKeyRef": {"name": stated.secret, "key": stated.key}}}
    return options


def _worker_group(job: Job, cluster: KubeRay, group: Group) -> dict[str, Any]:
    limits = {"cpu": str(group.cpus), "memory": group.memory}
    if group.gpus:
        limits["nvidia.com/gpu"] = str(group.gpus)
    return {
        "groupName": group.name,
        "replicas": group.replicas,
        "minReplicas": group.least if cluster.autoscaling else group.replicas,
        "maxReplicas": group.most if cluster.autoscaling else group.replicas,
        "rayStartParams": {"num-cpus": str(group.cpus), "num-gpus": str(group.gpus)},
        "template": _pod(job, cluster, "ray-worker", limits, group),
    }


def _pod(
    job: Job, cluster: KubeRay, container: str, limits: dict[str, str], group: Group | None = None, *, plain: bool = False
) -> dict[str, Any]:
    """plain: without volumes and secrets, for the pod that only submits."""
    volumes, mounts = ([], []) if plain else _volumes(job, cluster, group)
    env: list[dict[str, Any]] = [{"name": "RAY_USAGE_STATS_ENABLED", "value": "0"}]
    secrets = [] if plain else cluster.secrets
    env += [{"name": own.env, "valueFrom": {"secretKeyRef": {"name": own.secret, "key": own.key}}} for own in secrets]
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": cluster.grace_s,
        "automountServiceAccountToken": cluster.autoscaling and container == "ray-head",
        "securityContext": {"runAsNonRoot": True, "runAsUser": cluster.user, "fsGroup": cluster.user},
        "containers": [
            {
                "name": container,
                "image": cluster.image,
                "env": env,
                "resources": {"limits": limits, "requests": limits},
                "securityContext": LOCKED,
                **({"volumeMounts": mounts} if mounts else {}),
            }
        ],
    }
    if volumes:
        spec["volumes"] = volumes
    if cluster.service_account is not None:
        spec["serviceAccountName"] = cluster.service_account
    if group is not None and group.nodes:
        spec["nodeSelector"] = dict(group.nodes)
    if group is not None and group.gpus:
        spec["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    return {"metadata": {"labels": {RUN_LABEL: job.name}}, "spec": spec}


def _volumes(job: Job, cluster: KubeRay, group: Group | None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    shared = group.shared_memory if group is not None else "2Gi"
    volumes: list[dict[str, Any]] = [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shared}}]
    mounts: list[dict[str, Any]] = [{"name": "shm", "mountPath": "/dev/shm"}]
    for number, volume in enumerate(cluster.volumes):
        claim = {"claimName": volume.claim, "readOnly": volume.read_only}
        volumes.append({"name": f"volume-{number}", "persistentVolumeClaim": claim})
        mounts.append({"name": f"volume-{number}", "mountPath": volume.mount, "readOnly": volume.read_only})
    if cluster.workdir is None:
        volumes.append({"name": "code", "configMap": {"name": f"{job.name}-code"}})
        mounts.append({"name": "code", "mountPath": CODE_MOUNT, "readOnly": True})
    return volumes, mounts


def _code(job: Job, cluster: KubeRay, package: Package) -> dict[str, Any]:
    archive = package.archive()
    if len(archive) > CODE_LIMIT:
        raise ConfigError(
            f"the packed project has {len(archive) / 1024:.0f} KiB, and a ConfigMap takes {CODE_LIMIT // 1024}. Name what is not "
            "needed in .trunklineignore, or build it into the image and say where: workdir.",
            where=str(cluster.path or "cluster"),
        )
    content = {"project.zip": base64.b64encode(archive).decode()}
    metadata = _metadata(job, cluster, f"{job.name}-code")
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": content, "immutable": True}


def _network_policy(job: Job, cluster: KubeRay) -> dict[str, Any]:
    """Pods of the job reach each other, DNS and `egress`; the operator reaches the dashboard; nobody else anything."""
    own = {"podSelector": {"matchLabels": {RUN_LABEL: job.name}}}
    operator = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}}}
    names = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    outside = [{"to": [{"ipBlock": {"cidr": block}} for block in cluster.egress]}] if cluster.egress else []
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(job, cluster, f"{job.name}-network"),
        "spec": {
            **own,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [own]}, {"from": [operator], "ports": [{"protocol": "TCP", "port": 8265}]}],
            "egress": [{"to": [own]}, {"to": [{"namespaceSelector": {}}], "ports": names}, *outside],
        },
    }


def _head_of(job: Job) -> str:
    return f"{RUN_LABEL}={job.name},ray.io/node-type=head"
