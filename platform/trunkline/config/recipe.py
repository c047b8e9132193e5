"""A recipe: the YAML file that states a run. Strict, with defaults; knows part names but imports no part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr

from trunkline.config.overrides import override
from trunkline.config.sections import Engine, Finetune, Freeze, Optim, Stage, Start, TaskUse, Track, Train, Workers
from trunkline.document import reader, writer
from trunkline.document.reader import Document, Route
from trunkline.document.schema import Findings, Part, Strict, check_version, validate
from trunkline.registry import OPTIMIZERS, PASSES, SAMPLERS, TOKENIZERS, TRUNKS, WEIGHTINGS

SCHEMA_VERSION: Final = 1
AGGREGATE: Final = "aggregate"  # what a best is best for, beside the tasks by their names
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


def _with_kind(section: str) -> BeforeValidator:
    def fill(value: Any) -> Any:
        return {"kind": DEFAULT_KINDS[section], **value} if isinstance(value, dict) else value

    return BeforeValidator(fill)


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
    for one in overrides:
        override(document, one, PARTS)
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
