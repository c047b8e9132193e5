"""A recipe: the YAML file that states a run. Strict, with defaults; knows part names but imports no part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator

from trunkline.document import reader, writer
from trunkline.document.reader import Document, Route
from trunkline.document.schema import SECRET, Findings, Part, Short, Strict, check_version, shown_value, validate
from trunkline.errors import UsageError
from trunkline.registry import OPTIMIZERS, PASSES, SAMPLERS, TOKENIZERS, TRUNKS, WEIGHTINGS

SCHEMA_VERSION: Final = 1
AGGREGATE: Final = "aggregate"  # what a best is best for, beside the tasks by their names
LARGEST = 10**12
SEEDS = 2**63
CLUSTER_FILE = "A recipe never says where it runs, so that it runs anywhere; `workers` says how many processes train."
CARD_FILE = "It belongs in the task's card (tasks/<name>/card.yaml)."
CLUSTER_KEYS = (
    "cluster",
    "clusters",
    "address",
    "namespace",
    "image",
    "nodes",
    "instance_type",
    "queue",
    "partition",
    "provider",
)
CARD_KEYS = ("head", "loss", "metrics", "inputs", "target", "data", "labels")
ELSEWHERE = {**dict.fromkeys(CLUSTER_KEYS, CLUSTER_FILE), **dict.fromkeys(CARD_KEYS, CARD_FILE)}
PARTS = {
    "trunk": TRUNKS,
    "tokenizer": TOKENIZERS,
    "sampling": SAMPLERS,
    "weighting": WEIGHTINGS,
    "passes": PASSES,
    "optim": OPTIMIZERS,
}
DEFAULT_KINDS = {
    "tokenizer": "wordpiece",
    "sampling": "proportional",
    "weighting": "static",
    "passes": "plain",
    "optim": "adamw",
}

Count = Annotated[int, Field(gt=0, le=LARGEST)]
Schedule = Literal[
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt", "wsd"
]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _with_kind(section: str) -> BeforeValidator:
    def fill(value: Any) -> Any:
        return {"kind": DEFAULT_KINDS[section], **value} if isinstance(value, dict) else value

    return BeforeValidator(fill)


class TaskUse(Short, Strict):
    """One task of the run. weight: instead of its card's; the others say when it is drawn (see docs/mixing.md)."""

    task: str = Field(min_length=1, description="a name from the catalog")
    weight: Positive | None = None
    start: Share | None = Field(default=None, description="the part of the run after which it is drawn, such as 0.2")
    stop: Share | None = Field(default=None, description="the part of the run after which it is drawn no more")
    warmup: Share | None = Field(default=None, description="the part of the run in which its rate rises from its start")
    patience: Count | None = Field(default=None, description="evaluations without a new best after which it is drawn no more")
    returns: Share | None = Field(default=None, description="with patience: the loss of skill that brings it back; null: 0.02")
    min_share: Share | None = Field(default=None, description="of a step's rows, at least")
    max_share: Share | None = Field(default=None, description="of a step's rows, at most")

    def life(self) -> dict[str, Any]:
        """What is said of when it is drawn."""
        return {key: value for key, value in self.model_dump().items() if key not in ("task", "weight") and value is not None}


class Optim(Part):
    """The optimizer and its schedule; further keys (weight_decay, betas, momentum) are the optimizer's own arguments."""

    kind: str = Field(default="adamw", min_length=1)
    lr: Positive = 5e-4
    head_lr: Positive | None = Field(default=None, description="learning rate of the heads; null: as lr")
    embedding_lr: Positive | None = Field(default=None, description="learning rate of the embeddings; null: as lr")
    head_decay: Decay | None = Field(default=None, description="weight decay of the heads; null: as the trunk's")
    embedding_decay: Decay | None = Field(default=None, description="weight decay of the embeddings; null: as the trunk's")
    schedule: Schedule = "linear"
    warmup: Share = Field(default=0.06, description="share of the steps")
    cooldown: Share | None = Field(default=None, description="share of the steps in which wsd falls to 0 at the end; null: 0.2")
    layer_decay: float = Field(default=1.0, gt=0, le=1, description="factor of lr from a layer of the trunk to the one below")


class Train(Strict):
    """How long and how much at a time."""

    steps: Count = Field(description="how many optimizer steps, such as 1000")
    tokens_per_step: Count = Field(description="tokens of one optimizer step over all workers, such as 8192")
    tokens_per_pass: Count = Field(
        default_factory=lambda known: known.get("tokens_per_step", 1),
        description="tokens a worker holds at once; null: all",
    )
    max_length: int = Field(default=128, ge=8, le=LARGEST, description="tokens of a row; longer ones are cut")
    truncate: Literal["right", "left"] = "right"
    evaluate_every: Count | None = None
    save_every: Count | None = None
    keep_last: Count = 2
    keep_best: Literal["aggregate", "tasks"] = Field(
        default="aggregate", description="beside the newest, keep the checkpoint best over all tasks; tasks: and each task's best"
    )
    patience: Count | None = Field(
        default=None, description="evaluations without a new best over all tasks, after which the run ends; null: none"
    )
    restore_best: bool | str = Field(
        default=False,
        description="the model is not the last step's but that of the evaluation best over all tasks (true, aggregate), "
        "or best for the task of this name",
    )
    max_bad_steps: Count = Field(
        default=10, description="steps in a row whose loss or gradient is not finite, each left out, after which the run ends"
    )
    spike_sigma: float | None = Field(
        default=None,
        gt=0,
        description="standard deviations above its last 128 losses, such as 6, from which a task's step is left out; null: none",
    )
    hang_s: Positive = Field(
        default=1800.0, description="seconds without a finished step, evaluation or checkpoint, after which the run ends"
    )
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="decay of a moving average of the weights, such as 0.999, which is evaluated and written; null: none",
    )
    clip: Positive | None = Field(default=1.0, description="largest gradient norm; null: no clipping")
    probes: list[str] | None = Field(
        default=None,
        description="names of the trunk's linear layers on which gradients are compared, such as ['*.layer.3.*']; null: the "
        "trunk's own, as a rule the last block",
    )
    watch_gradients: Count | None = Field(
        default=None,
        description="steps from one comparison of the tasks' gradients to the next, for the log; null: only where weighting or "
        "sampling compare them",
    )
    log_every: Count = 10
    log_rows: bool = Field(default=False, description="row ids of every step into rows.jsonl")

    @model_validator(mode="before")
    @classmethod
    def _null_pass(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("tokens_per_pass", 0) is None:
            return {key: item for key, item in value.items() if key != "tokens_per_pass"}
        return value


class Freeze(Short, Strict):
    """A part of the model that is not trained, for ever or up to a share of the steps."""

    modules: str = Field(min_length=1, description="embeddings, layers.0-3, trunk, heads.NAME, or a pattern such as '*.bias'")
    until: float | None = Field(default=None, gt=0, le=1, description="share of the steps; null: for ever")


class Finetune(Short, Strict):
    """What of the trunk is trained: full, its biases alone (bitfit), a low-rank change per task (lora), nothing (heads).

    fuse: a low-rank change, and a mix of it with those that the tasks of the model it starts from have.
    """

    kind: Literal["full", "heads", "bitfit", "lora", "fuse"] = "full"
    rank: Annotated[int, Field(ge=0, le=4096)] = Field(default=8, description="0: no low-rank change, with a prompt")
    alpha: Positive = 16.0
    prompt: int = Field(
        default=0, ge=0, le=4096, description="with lora or fuse: vectors that a task's tokens read in each layer"
    )
    fresh_layers: int = Field(default=0, ge=0, le=LARGEST, description="with full: top layers of the trunk that are drawn anew")
    mixout: float = Field(default=0.0, ge=0, lt=1, description="with full: share of weights put back to their start in each pass")


class Start(Short, Strict):
    """A trained model the run goes on from: its trunk and tokenizer, and the heads of the tasks they share."""

    model: str = Field(min_length=1, description="a model folder, relative to the recipe")
    moments: bool = Field(default=True, description="the optimizer's moments too, where the model's run still has them")
    rehearse: Count | None = Field(default=None, description="rows of each of the model's own tasks; null: all")
    by: Literal["chance", "loss"] = Field(default="chance", description="loss: sooner rows that the model answers badly")
    anchor: float | None = Field(
        default=None, gt=0, le=1, description="share of the way back to where it started, each step, at the peak rate (L2-SP)"
    )
    fisher: Count | None = Field(default=None, description="rows of each old task that say what the pull is to hold (EWC)")
    aside: list[str] = Field(default_factory=list, description="tasks of this run that are not for the model it makes")
    others: bool = Field(default=True, description="the model's tasks that are not in this run stay in the model it makes")


class Stage(Short, Strict):
    """One of several runs: what it has in place of the recipe's own, section by section. each: a run for each of its tasks."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1, max_length=20, pattern=r"^[a-z][a-z0-9-]*$", description="such as language")
    each: bool = False

    def changes(self) -> dict[str, Any]:
        """Sections of a recipe."""
        return dict(self.model_extra or {})


class Engine(Strict):
    """Sharding and precision."""

    zero_stage: Literal[0, 1, 2, 3] = 0
    precision: Literal["auto", "float32", "bf16"] = "auto"


class Workers(Strict):
    """How many processes train, and what each holds. count 0: inside the calling process."""

    count: int = Field(default=1, ge=0, le=100_000)
    cpus: int = Field(default=1, ge=1, le=100_000)
    gpus: int = Field(default=0, ge=0, le=100_000)


class Wandb(Strict):
    """The Weights & Biases run."""

    project: str = Field(min_length=1)
    mode: Literal["offline", "online", "disabled"] = "offline"
    entity: str | None = None
    group: str | None = None
    tags: list[str] = Field(default_factory=list)


class Track(Strict):
    """Trackers beside metrics.jsonl, which is always written."""

    wandb: Wandb | None = None


class Recipe(Strict):
    """A whole recipe. `path` and `document` say where it came from."""

    model_config = ConfigDict(title="trunkline recipe")

    schema_version: Literal[1] = SCHEMA_VERSION
    seed: int = Field(default=0, ge=0, lt=SEEDS)
    trunk: Part = Field(description="the shared encoder, such as {kind: transformer, hidden_size: 192, layers: 4, heads: 6}")
    tokenizer: Annotated[Part, _with_kind("tokenizer")] = Part(kind=DEFAULT_KINDS["tokenizer"])
    catalog: list[str] | None = Field(default=None, description="folders of cards; null: tasks/ in the nearest folder above")
    tasks: list[TaskUse] = Field(min_length=1, description="names from the catalog, or {task: name, weight: number}")
    decontaminate: bool = Field(default=False, description="leave out training rows that stand in the test of any task here")
    sampling: Annotated[Part, _with_kind("sampling")] = Part(kind=DEFAULT_KINDS["sampling"])
    weighting: Annotated[Part, _with_kind("weighting")] = Part(kind=DEFAULT_KINDS["weighting"])
    single_task: bool = Field(default=False, description="after the run, train each task alone, once, and tell the difference")
    passes: Annotated[Part, _with_kind("passes")] = Field(
        default=Part(kind=DEFAULT_KINDS["passes"]),
        description="over a micro-batch: plain, or adversarial (fgm, pgd, freelb, smart)",
    )
    optim: Optim = Optim()
    start: Start | None = Field(default=None, description="the folder of a trained model to go on from")
    finetune: Finetune = Field(
        default=Finetune(), description="full, heads, bitfit, lora, fuse or {kind: lora, rank: 8, alpha: 16}"
    )
    freeze: list[Freeze] = Field(default_factory=list, description="such as [{modules: embeddings, until: 0.3}]")
    stages: list[Stage] = Field(
        default_factory=list, description="runs one after another, each on the model of the one before, such as [{name: joint}]"
    )
    train: Train = Field(description="at least {steps, tokens_per_step}")
    engine: Engine = Engine()
    workers: Workers = Workers()
    track: Track = Track()

    _path: Path | None = PrivateAttr(None)
    _document: Document = PrivateAttr(default_factory=lambda: Document("recipe", "", {}))

    @property
    def path(self) -> Path | None:
        return self._path

    @property
    def document(self) -> Document:
        return self._document

    def where(self, *route: str | int) -> str:
        """`file:line:col: route`, for messages about this recipe."""
        return Findings(self._document).where(route)

    def beside(self, folder: str) -> Path:
        """A folder the recipe names, relative to itself."""
        return (self._path.parent if self._path is not None else Path()) / folder

    def render(self) -> str:
        """The recipe as YAML with every default written out; the folders it names become absolute."""
        data = self.model_dump()
        if self.start is not None:
            data["start"]["model"] = str(self.beside(self.start.model).resolve())
        if self.catalog is not None and self._path is not None:
            here = self._path.parent
            data["catalog"] = [folder if "://" in folder else str((here / folder).resolve()) for folder in self.catalog]
        return writer.render(data)


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe at `path` with `key.key=value` overrides applied.

    Raises ConfigError that names every mistake of the file, UsageError on an override that can not be applied.
    """
    document = reader.read(path)
    for override in overrides:
        _override(document, override)
    findings = Findings(document)
    check_version(findings, SCHEMA_VERSION)
    recipe = validate(Recipe, findings, ELSEWHERE)
    for section, registry in PARTS.items():
        findings.check_name(registry, (section,))
    if recipe is not None:
        _check_pairs(recipe, findings)
    findings.raise_if_any()
    assert recipe is not None
    recipe._path, recipe._document = Path(path), document
    return recipe


def json_schema() -> dict[str, Any]:
    """The JSON schema of a recipe, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema()}


def _check_pairs(recipe: Recipe, findings: Findings) -> None:
    train = recipe.train
    if train.tokens_per_pass > train.tokens_per_step:
        findings.add(
            ("train", "tokens_per_pass"),
            f"a worker holds {train.tokens_per_pass} tokens at a time but train.tokens_per_step gives {train.tokens_per_step} "
            "to a whole step. Lower tokens_per_pass or raise tokens_per_step.",
        )
    elif train.max_length > train.tokens_per_pass:
        findings.add(
            ("train", "max_length"),
            f"a row may have {train.max_length} tokens but train.tokens_per_pass holds {train.tokens_per_pass}. "
            "Lower max_length or raise tokens_per_pass.",
        )
    waits: list[Route] = []
    waits += [("train", name) for name in ("patience", "restore_best") if getattr(train, name)][:1]
    waits += [("tasks", index, "patience") for index, use in enumerate(recipe.tasks) if use.patience]
    for route in waits if train.evaluate_every is None else ():
        findings.add(route, "asks for evaluations during training. Give train.evaluate_every, such as 100.")
    for name in ("fresh_layers", "mixout"):
        if getattr(recipe.finetune, name) and recipe.finetune.kind != "full":
            findings.add(("finetune", name), f"'{recipe.finetune.kind}' would not train them. Take kind full, or leave it out.")
    _check_prompt(recipe.finetune, findings)
    if recipe.start is not None and recipe.start.by == "loss" and recipe.start.rehearse is None:
        findings.add(("start", "by"), "says which rows are rehearsed. Give start.rehearse, how many of each task, such as 500.")
    optim = recipe.optim
    if optim.cooldown is not None and optim.schedule != "wsd":
        findings.add(("optim", "cooldown"), f"schedule '{optim.schedule}' has none. Leave it out, or take schedule wsd.")
    elif optim.warmup + (optim.cooldown or 0) > 1:
        findings.add(
            ("optim", "cooldown"),
            f"warmup {optim.warmup:g} and cooldown {optim.cooldown:g} are more than all steps. Lower one of them.",
        )
    seen: dict[str, int] = {}
    for index, use in enumerate(recipe.tasks):
        if use.task in seen:
            findings.add(("tasks", index), f"task '{use.task}' is already tasks.{seen[use.task]}. Name a task once.")
        seen.setdefault(use.task, index)


def _check_prompt(finetune: Finetune, findings: Findings) -> None:
    if finetune.prompt and finetune.kind not in ("lora", "fuse"):
        findings.add(("finetune", "prompt"), f"'{finetune.kind}' would not train one. Take kind lora, with rank 0 for it alone.")
    if not finetune.rank and (finetune.kind == "fuse" or not finetune.prompt):
        findings.add(
            ("finetune", "rank"), "0 is nothing to train. Give a rank, such as 8, or kind lora and a prompt, or kind heads."
        )


def _override(document: Document, override: str) -> None:
    name, equals, text = override.partition("=")
    told = "a value" if SECRET.search(name.rpartition(".")[2].strip()) else text
    label = f"-s {shown_value(f'{name}{equals}{told}')[1:-1]}"
    if not equals:
        raise UsageError("an override needs '='. Write key.key=value, such as train.steps=100.", where=label)
    steps = [step.strip() for step in name.split(".")]
    if not all(steps):
        raise UsageError("the part before '=' must be a key such as train.steps.", where=label)
    if "[" in name:
        raise UsageError("list entries take points. Write tasks.0.weight=2, not tasks[0].weight=2.", where=label)
    route = _existing_route(document, steps, label)
    document.put(route, reader.parse_value(text, label), label)


def _existing_route(document: Document, steps: list[str], label: str) -> Route:
    """The override's route; parents that are missing or written short are made mappings on the way."""
    route: Route = ()
    for position, step in enumerate(steps):
        parent = document.get(route)
        if isinstance(parent, list):
            if not step.isdecimal() or int(step) >= len(parent):
                known = f"{reader.route_text(route)} has entries 0 to {len(parent) - 1}"
                raise UsageError(f"{known}, not '{step}'. Name one of them.", where=label)
            route = (*route, int(step))
        else:
            route = (*route, step)
        if position < len(steps) - 1:
            _make_mapping(document, route, label)
    return route


def _make_mapping(document: Document, route: Route, label: str) -> None:
    value = document.get(route)
    if value is None:
        document.put(route, {}, label)
    elif isinstance(value, str) and (route[0] in PARTS or route[0] == "tasks"):
        document.put(route, {"task" if route[0] == "tasks" else "kind": value}, label)
    elif not isinstance(value, dict | list):
        raise UsageError(f"{reader.route_text(route)} is {shown_value(value, route)} and has no keys below it.", where=label)
