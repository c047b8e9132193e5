"""A cluster file: the YAML file that states where runs go. Strict; says nothing of what is trained."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from trunkline.document import reader
from trunkline.document.reader import shown
from trunkline.document.schema import SECRET, Findings, Strict, check_version, validate
from trunkline.errors import ConfigError, nearest

SCHEMA_VERSION: Final = 1
FOLDER: Final = "clusters"
RECIPE_FILE = "It belongs in the recipe: a cluster says where, a recipe what."
RECIPE_KEYS = (
    "trunk",
    "tokenizer",
    "tasks",
    "sampling",
    "weighting",
    "passes",
    "optim",
    "train",
    "engine",
    "track",
    "seed",
    "lr",
)
ELSEWHERE = dict.fromkeys(RECIPE_KEYS, RECIPE_FILE)
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def _absolute(value: str) -> str:
    if not value.startswith("/") or "\0" in value or ".." in value.split("/"):
        raise ValueError(f"must be an absolute path without '..', found {value!r}. Every node sees it there.")
    return value


def _label(value: str) -> str:
    if not LABEL.fullmatch(value):
        raise ValueError(f"must be a DNS label (a-z, 0-9, '-', at most 63), found {value[:80]!r}.")
    return value


def _variables(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not ENV_NAME.fullmatch(name):
            raise ValueError(f"{name[:60]!r} is no name of an environment variable.")
        if SECRET.search(name):
            raise ValueError(f"{name} is a secret, and what stands here is readable by all. Give it on the cluster itself.")
        if "\0" in text:
            raise ValueError(f"the value of {name} holds a NUL.")
    return value


Absolute = Annotated[str, AfterValidator(_absolute)]
Label = Annotated[str, AfterValidator(_label)]
Variables = Annotated[dict[str, str], AfterValidator(_variables)]
Amount = Annotated[int, Field(ge=1, le=100_000)]
Several = Annotated[int, Field(ge=0, le=100_000)]
Seconds = Annotated[int, Field(ge=1, le=31_536_000)]
Memory = Annotated[str, Field(pattern=r"^[1-9][0-9]*(Mi|Gi|Ti)$")]
Line = Annotated[str, Field(min_length=1, pattern=r"^[^\n\r\x00]*$")]
Program = Annotated[str, Field(pattern=r"^[A-Za-z0-9_./+@][A-Za-z0-9_./+@:-]*$")]
Word = Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:@/+-]*$")]


class Prices(Strict):
    """What a worker costs, for `trunkline plan`."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = Field(description="such as EUR")
    worker_hour: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = Field(
        description="of one worker, with its share of a node"
    )


class Cluster(Strict):
    """What every kind says."""

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: str
    python: Program = Field(default="python", description="the interpreter there that has trunkline")
    env: Variables = Field(default_factory=dict, description="environment variables of the job, readable by all: no secrets")
    placement: Literal["pack", "spread"] = Field(default="pack", description="workers on few nodes, or on many")
    grace_s: Seconds = Field(default=120, description="seconds a stopped run has to save")
    prices: Prices | None = Field(default=None, description="what `trunkline plan` works the cost of a run out with")

    _path: Path | None = PrivateAttr(None)

    @property
    def path(self) -> Path | None:
        return self._path

    @property
    def name(self) -> str:
        return self._path.stem if self._path is not None else self.kind


class Local(Cluster):
    """This machine, with an embedded Ray. storage: null: the project's outputs."""

    kind: Literal["local"]
    storage: Absolute | None = Field(default=None, description="where runs are written; null: the project's outputs")


class Shared(Cluster):
    """Several machines that share a folder."""

    storage: Absolute = Field(description="a folder that every node sees, in which runs are written, such as /mnt/shared/runs")


class Ray(Shared):
    """A Ray cluster that is up, through its Jobs API."""

    kind: Literal["ray"]
    address: str = Field(description="of the dashboard, such as https://ray.example.org:8265")
    token_file: str | None = Field(default=None, description="holds the token; null: RAY_AUTH_TOKEN or ~/.ray/auth_token")
    ca_file: str | None = Field(default=None, description="certificates that the cluster's is signed with; null: the system's")
    timeout_s: Seconds = Field(default=30, description="seconds after which a request is given up")

    @property
    def loopback(self) -> bool:
        host = urlsplit(self.address).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @model_validator(mode="after")
    def _address(self) -> Ray:
        parts = urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"address must be http://HOST:PORT or https://HOST:PORT of the dashboard, found {self.address[:80]!r}. "
                "ray:// and the port 6379 are for drivers, not for jobs."
            )
        if parts.username or parts.password or parts.query:
            raise ValueError("address holds more than scheme, host and port. A token goes into token_file or RAY_AUTH_TOKEN.")
        return self


class Volume(Strict):
    """A claim that every pod mounts."""

    claim: Label
    mount: Absolute
    read_only: bool = False


class SecretRef(Strict):
    """An environment variable from a key of a Kubernetes secret."""

    env: Annotated[str, Field(pattern=f"^{ENV_NAME.pattern}$")]
    secret: Label
    key: Word


class Head(Strict):
    """The pod that runs the driver; trains nothing."""

    cpus: Amount = 2
    memory: Memory = "8Gi"


class Group(Strict):
    """Pods alike. replicas: at the start; with `autoscaling` between min and max."""

    name: Label
    replicas: Several = 1
    min: Several | None = Field(default=None, description="null: as replicas")
    max: Several | None = Field(default=None, description="null: as replicas")
    cpus: Amount
    memory: Memory
    gpus: Several = 0
    shared_memory: Memory = Field(default="8Gi", description="of /dev/shm")
    nodes: dict[str, str] = Field(default_factory=dict, description="labels of the nodes it may run on")

    @model_validator(mode="after")
    def _ordered(self) -> Group:
        low, high = self.least, self.most
        if not low <= self.replicas <= high:
            raise ValueError(f"replicas {self.replicas} must lie between min {low} and max {high}.")
        return self

    @property
    def least(self) -> int:
        return self.replicas if self.min is None else self.min

    @property
    def most(self) -> int:
        return self.replicas if self.max is None else self.max


class FaultTolerance(Strict):
    """Where the head keeps its state, so that it survives its own end."""

    redis: Line = Field(description="such as redis://redis.ray.svc:6379")
    secret: Label | None = None
    key: Word = "password"


class KubeRay(Shared):
    """A RayJob of the KubeRay operator; every submission brings a cluster up and down."""

    kind: Literal["kuberay"]
    namespace: Label = "default"
    context: Line | None = Field(default=None, description="of kubectl; null: the current one")
    image: Line = Field(description="with trunkline in it, best by digest")
    ray_version: str = Field(default="2.60.0", pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")
    workdir: Absolute | None = Field(default=None, description="where the image or a volume has the project; null: it is sent")
    volumes: list[Volume] = Field(min_length=1, description="one of them holds storage")
    secrets: list[SecretRef] = Field(default_factory=list)
    auth_secret: Label | None = Field(default=None, description="the secret that holds Ray's token under auth_token")
    head: Head = Head()
    groups: list[Group] = Field(min_length=1)
    autoscaling: bool = False
    queue: Label | None = Field(default=None, description="a Kueue queue, which starts all pods or none")
    gang: bool = Field(default=False, description="let a batch scheduler start all pods or none")
    fault_tolerance: FaultTolerance | None = None
    submission: Literal["K8sJobMode", "HTTPMode", "SidecarMode"] = "K8sJobMode"
    service_account: Label | None = None
    user: Annotated[int, Field(ge=1, le=2**31)] = 1000
    backoff_limit: Several = Field(default=2, description="further clusters for a job that failed; each goes on where it was")
    pending_s: Seconds = Field(default=3600, description="seconds in which the job must be running")
    active_s: Seconds | None = None
    ttl_s: Several = Field(default=600, description="seconds a cluster stays after its job")
    egress: list[Line] = Field(default_factory=list, description="CIDR blocks the pods may reach beside DNS and each other")

    @model_validator(mode="after")
    def _fits(self) -> KubeRay:
        if self.queue is not None and self.autoscaling:
            raise ValueError("queue and autoscaling do not go together: Kueue admits a job of a fixed size. Leave one out.")
        if self.queue is not None and self.gang:
            raise ValueError("queue and gang do not go together: Kueue starts all pods or none by itself. Leave gang out.")
        mounts = [volume.mount.rstrip("/") for volume in self.volumes if not volume.read_only]
        if not any(self.storage == mount or self.storage.startswith(f"{mount}/") for mount in mounts):
            raise ValueError(f"storage {self.storage} lies on no volume that can be written. Mount one there.")
        names = [group.name for group in self.groups]
        if len(set(names)) < len(names):
            raise ValueError("two groups have one name. Rename one.")
        for block in self.egress:
            ipaddress.ip_network(block)
        return self


class Slurm(Shared):
    """A Slurm batch job around `ray symmetric-run`."""

    kind: Literal["slurm"]
    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    constraint: Line | None = None
    nodes: Amount = 1
    cpus: Amount = Field(description="of each node")
    gpus: Several = Field(default=0, description="of each node")
    memory: Annotated[str, Field(pattern=r"^[1-9][0-9]*[MGT]$")] | None = Field(default=None, description="of each node, as 64G")
    time: Annotated[str, Field(pattern=r"^([0-9]+-)?[0-9]{1,2}:[0-9]{2}:[0-9]{2}$")] = "1-00:00:00"
    modules: list[Word] = Field(default_factory=list, description="for `module load`")
    requeue: bool = Field(default=True, description="a preempted job goes back into the queue, and goes on where it was")
    sbatch: Line = Field(default="sbatch", description="the program")


class Machine(Strict):
    """A type of machine of the cloud."""

    type: Word
    disk_gb: Amount = 200


class Workers(Machine):
    """The machines that train."""

    min: Several = 0
    max: Amount
    cpus: Amount
    gpus: Several = 0
    spot: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> Workers:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}.")
        return self


class Cloud(Shared):
    """Machines that Ray's cluster launcher brings up."""

    region: Word
    zone: Word
    head: Machine
    workers: Workers
    image: Line = Field(description="of the machines: an AMI, or a source image's address")
    user: Word = "ubuntu"
    setup: list[str] = Field(default_factory=list, description="shell commands on each machine: mount storage, install")
    idle_minutes: Amount = 10
    provider: ClassVar[str]


class Aws(Cloud):
    """Amazon EC2."""

    kind: Literal["aws"]
    subnets: list[Word] = Field(min_length=1)
    security_groups: list[Word] = Field(min_length=1)
    profile: Line | None = Field(default=None, description="the ARN of the instance profile that may read storage")
    key_pair: Word
    provider = "aws"


class Gcp(Cloud):
    """Google Compute Engine."""

    kind: Literal["gcp"]
    project: Word
    network: Word = "default"
    service_account: Line
    provider = "gcp"


KINDS: dict[str, type[Cluster]] = {
    "local": Local,
    "ray": Ray,
    "kuberay": KubeRay,
    "slurm": Slurm,
    "aws": Aws,
    "gcp": Gcp,
}


def load_cluster(path: Path | str) -> Cluster:
    """The cluster file at `path`. Raises ConfigError that names every mistake of the file."""
    document = reader.read(path)
    findings = Findings(document)
    check_version(findings, SCHEMA_VERSION)
    kind = document.data.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        found = f"unknown kind '{kind}'" if isinstance(kind, str) else "is missing: what kind of cluster it is"
        findings.add(("kind",), f"{found}. {nearest(str(kind), KINDS)}")
        findings.raise_if_any()
    cluster = validate(KINDS[str(kind)], findings, ELSEWHERE)
    findings.raise_if_any()
    assert cluster is not None
    cluster._path = Path(path)
    return cluster


def find_cluster(name: str, project: Path) -> Cluster:
    """The cluster of that name in the project's `clusters/`, or the file of that path. `local` needs no file."""
    if name.endswith((".yaml", ".yml")):
        return load_cluster(name)
    folder = project / FOLDER
    if (folder / f"{name}.yaml").is_file() and "/" not in name:
        return load_cluster(folder / f"{name}.yaml")
    if name == "local":
        return Local(kind="local")
    known = [path.stem for path in folder.glob("*.yaml")]
    raise ConfigError(f"no cluster '{name[:60]}'. {nearest(name, ['local', *known])}", where=shown(folder))


def json_schema() -> dict[str, Any]:
    """The JSON schema of a cluster file, for editors."""
    forms = [model.model_json_schema(ref_template=f"#/$defs/{name}/$defs/{{model}}") for name, model in KINDS.items()]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "trunkline cluster",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in KINDS],
        "$defs": dict(zip(KINDS, forms, strict=True)),
    }
