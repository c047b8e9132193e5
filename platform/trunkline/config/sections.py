"""The sections of a recipe, each a strict model with its defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, WithJsonSchema, model_validator

from trunkline.document.schema import Part, Short, Strict

LARGEST = 10**12

Count = Annotated[int, Field(gt=0, le=LARGEST)]
Schedule = Literal[
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt", "wsd"
]
NUMBER: dict[str, Any] = {"type": "integer", "minimum": 0}
Range = Annotated[int, WithJsonSchema({"anyOf": [NUMBER, {"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2}]})]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


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
    evaluate_rows: Count = Field(
        default=4000, description="of a validation split in evaluations on the way, always its first; in the end all are measured"
    )
    save_every: Count | None = None
    save_aside: bool = Field(
        default=False, description="write checkpoints in a thread beside training, which waits for the copy alone"
    )
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
    rollbacks: int = Field(
        default=0, ge=0, le=LARGEST, description="times the run goes on from before such steps, past their rows, before it ends"
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
    """How many processes train, and what each holds. count 0: inside the calling process; [2, 8]: as many of these as there is
    room for, from start to start.
    """

    count: Range = Field(default=1, ge=0, le=100_000, description="or [least, most]")
    at_least: int | None = Field(default=None, ge=1, le=100_000, description="the least of [least, most]; null: always count")
    cpus: int = Field(default=1, ge=1, le=100_000)
    gpus: int = Field(default=0, ge=0, le=100_000)
    grow_every_s: float = Field(default=60.0, ge=1.0, description="seconds from one look for room for more to the next")

    @model_validator(mode="before")
    @classmethod
    def _from_range(cls, value: Any) -> Any:
        """`count: [2, 8]` is count 8 and at_least 2."""
        if not isinstance(value, Mapping) or not isinstance(value.get("count"), list):
            return value
        if len(value["count"]) != 2 or "at_least" in value:
            raise ValueError(f"count is one number, or the least and the most, found {value['count']}. Write count: [2, 8].")
        least, most = value["count"]
        return {**value, "count": most, "at_least": least}

    @model_validator(mode="after")
    def _ordered(self) -> Workers:
        if self.at_least is not None and self.at_least > self.count:
            raise ValueError(f"at least {self.at_least} is above the most, {self.count}. Turn them round.")
        return self

    @property
    def elastic(self) -> bool:
        return self.at_least is not None and self.at_least < self.count

    def on(self, cores: int) -> int:
        """How many begin on one machine: all, or of [least, most] as many as it has cores for."""
        return min(self.count, max(self.at_least or 1, cores // self.cpus)) if self.elastic else self.count


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
