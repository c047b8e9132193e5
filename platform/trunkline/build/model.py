"""The model folder: trunk + heads + manifest, written once, opened by `trunkline.load`.

model/
    manifest.json            tasks, card fingerprints, metrics, lineage, size and SHA-256 of every other file
    trunk/                   the trunk's own layout with the tokenizer (a Transformer: AutoModel.from_pretrained loads it)
    heads/<task>/            head.safetensors, card.yaml; vocabulary/ where a task has a tokenizer for its targets;
                             adapter_model.safetensors and adapter_config.json (peft's) where it has a LoRA, fusion.safetensors
                             where it mixes others' in, prompt.safetensors where it has a prompt;
                             of a task that uses another's head the card alone
    README.md                what it is, for people
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from trunkline import durable
from trunkline.build.assemble import Assembly
from trunkline.build.finetune import loras
from trunkline.build.sharing import targets_beside
from trunkline.build.task import OWN, make_encoding, make_head, make_metrics
from trunkline.build.trunk import open_tokenizer, open_trunk
from trunkline.errors import ConfigError, IntegrityError
from trunkline.models.base import Trunk
from trunkline.models.heads.base import Head
from trunkline.models.lora import Adapters
from trunkline.models.multitask import MultiTask
from trunkline.predict import Model, ServedTask
from trunkline.tasks.card import Card, load_card
from trunkline.tasks.catalog import Catalog
from trunkline.tasks.plugin import load_plugin
from trunkline.tasks.sharing import joined

SCHEMA_VERSION = 1
ADAPTER, FUSION, PROMPT = "adapter_model.safetensors", "fusion.safetensors", "prompt.safetensors"


def write_model(
    folder: Path,
    built: Assembly,
    parameters: Mapping[str, Tensor],
    results: Sequence[Mapping[str, Any]],
    *,
    lineage: Mapping[str, Any],
) -> None:
    """Writes the folder under a temporary name and renames it: whole or invisible. parameters: by name, float32, all of them."""
    _fill(built.model, parameters)
    start, aside = built.recipe.start, set(built.recipe.start.aside if built.recipe.start else ())
    cards = {name: card for name, card in built.cards.items() if name not in aside}
    results = [row for row in results if row["task"] not in aside]
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    trunk = temporary / "trunk"
    trunk.mkdir(parents=True)
    built.model.trunk.save(trunk)
    built.tokenizer.save(trunk)
    for name, card in cards.items():
        place = temporary / "heads" / name
        place.mkdir(parents=True)
        if built.model.owners[name] == name:
            state = {key: value.contiguous() for key, value in built.model.head(name).state_dict().items()}
            (place / "head.safetensors").write_bytes(safetensors.torch.save(state))
        (place / "card.yaml").write_text(card.portable, encoding="utf-8")
        if (own := built.encodings[name].own) is not None:
            own.save(place / OWN)
        if built.model.adapters is not None and name in built.model.adapters.wanted:
            _save_adapter(place, built.model.adapters, name)
    described = {name: _described(name, card, built) for name, card in cards.items()}
    joint = joined(cards)
    if start is not None and start.others:
        described, joint, results = _with_old(built.recipe.beside(start.model), temporary, described, joint, results)
    (temporary / "README.md").write_text(_readme(built, results, lineage), encoding="utf-8")
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "trunk": built.model.trunk.describe(),
        **({"trunk_start": built.told} if built.told else {}),
        "max_length": built.tokenizer.max_length,
        "truncate": built.tokenizer.truncate,
        "tasks": described,
        "joint": joint,
        "results": list(results),
        "lineage": dict(lineage),
        "recipe": built.recipe.render(),
        "files": {str(path.relative_to(temporary)): file_entry(path) for path in sorted(temporary.rglob("*")) if path.is_file()},
    }
    (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1))
    durable.crash_point("model.before_rename")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    durable.crash_point("model.after_rename")


def load_model(folder: str | Path, catalog: Catalog | None = None) -> Model:
    """Opens a model folder; every file is verified first. Raises IntegrityError for what is damaged, missing or newer.

    catalog: cards whose plugins may hold the model's own heads or metrics; they run first. A model folder brings no code.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if catalog is not None:
        for name in {*manifest["tasks"], *manifest.get("joint", {})} & set(catalog.names()):
            load_plugin(load_card(catalog.path(name)))
    tokenizer = open_tokenizer(folder, manifest)
    trunk = open_trunk(folder, manifest, tokenizer)
    heads: dict[str, Head] = {}
    tasks: dict[str, ServedTask] = {}
    for name, about in manifest["tasks"].items():
        card = load_card(folder / "heads" / name / "card.yaml", with_data=False)
        encoding = make_encoding(card, tokenizer, folder / "heads" / name)
        owner = about.get("head_of")
        heads[name] = (
            heads[owner]
            if owner
            else _open_head(folder / "heads" / name, make_head(card, trunk.width, encoding, trunk.num_layers))
        )
        tasks[name] = ServedTask(name, card.head.kind, encoding, make_metrics(card, encoding))
    return Model(MultiTask(trunk, heads, _open_adapters(folder, trunk, manifest)).eval(), tokenizer, tasks, manifest)


def _save_adapter(place: Path, adapters: Adapters, task: str) -> None:
    made = {ADAPTER: adapters.saved(task), FUSION: adapters.fusion(task), PROMPT: adapters.prompt(task)}
    for name, tensors in made.items():
        if tensors:
            (place / name).write_bytes(safetensors.torch.save(tensors))
    if made[ADAPTER]:
        (place / "adapter_config.json").write_text(json.dumps(adapters.configuration(task), indent=1), encoding="utf-8")


def _open_adapters(folder: Path, trunk: Trunk, manifest: Mapping[str, Any]) -> Adapters | None:
    wanted = loras(manifest)
    if not wanted:
        return None
    adapters = Adapters(trunk.adaptable, wanted, trunk.attentions)
    for task, lora in wanted.items():
        place, tensors = folder / "heads" / task, dict[str, Tensor]()
        try:
            for name, there in {ADAPTER: lora.rank, FUSION: lora.of, PROMPT: lora.prompt}.items():
                tensors |= safetensors.torch.load_file(place / name) if there else {}
            adapters.open(task, tensors)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise IntegrityError(f"the adapter does not fit the trunk: {error}.", where=str(place)) from error
    return adapters


def _with_old(
    parent: Path, folder: Path, described: dict[str, Any], joint: dict[str, Any], results: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], dict[str, Any], list[Mapping[str, Any]]]:
    """Copies the heads of the parent's tasks that were not in the run; what the manifest says, the parent's tasks first."""
    known = read_manifest(parent)
    for name in known["tasks"]:
        if name not in described:
            shutil.copytree(parent / "heads" / name, folder / "heads" / name)
    tasks = {**known["tasks"], **described}
    told = {row["task"]: row for row in (*known["results"], *results)}
    return tasks, {**known.get("joint", {}), **joint}, [told[name] for name in tasks if name in told]


def _open_head(folder: Path, head: Head) -> Head:
    try:
        head.load_state_dict(safetensors.torch.load_file(folder / "head.safetensors"))
    except (RuntimeError, SafetensorError) as error:
        raise IntegrityError(f"head.safetensors does not fit its card: {error}.", where=str(folder)) from error
    return head


def read_manifest(folder: Path) -> dict[str, Any]:
    """The verified manifest. Raises ConfigError if this is no model folder, IntegrityError if it is a broken one."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise ConfigError(
            "no model here: manifest.json is missing. Give the `model` folder of a finished run.", where=str(folder)
        )
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        version, files = manifest["schema_version"], manifest["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"manifest.json can not be read: {error}.", where=str(folder)) from error
    if version > SCHEMA_VERSION:
        raise IntegrityError(
            f"written by a newer trunkline (schema {version}, this one reads {SCHEMA_VERSION}). Upgrade.", where=str(folder)
        )
    found = {str(item.relative_to(folder)) for item in folder.rglob("*") if item.is_file()} - {"manifest.json"}
    if found != set(files):
        missing, extra = sorted(set(files) - found), sorted(found - set(files))
        raise IntegrityError(f"missing files: {missing or 'none'}; extra files: {extra or 'none'}.", where=str(folder))
    for name, entry in files.items():
        if (folder / name).is_symlink() or file_entry(folder / name) != entry:
            raise IntegrityError(f"{name} is not the file that was written: its size or SHA-256 differs.", where=str(folder))
    return manifest


def _described(name: str, card: Card, built: Assembly) -> dict[str, Any]:
    """What the manifest says of a task. partial: its rows are other tasks' too, and not all of them have a label for it.

    head_of: the task, of an earlier place in the list, whose head it uses.
    """
    about: dict[str, Any] = {"fingerprint": card.fingerprint(), "kind": card.head.kind}
    about |= {"partial": True} if name in targets_beside(built.cards) else {}
    if built.model.adapters is not None and name in built.model.adapters.wanted:
        about["lora"] = dataclasses.asdict(built.model.adapters.wanted[name])
    owner = built.model.owners[name]
    return about if owner == name else {**about, "head_of": owner}


def _fill(model: MultiTask, parameters: Mapping[str, Tensor]) -> None:
    """Whole tensors in place of whatever the live modules hold (under ZeRO-3 empty shards); training is over."""
    for name, parameter in model.named_parameters():
        parameter.data = parameters[name].clone() if name in parameters else parameter.data.cpu()


def file_entry(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file, as a manifest has them."""
    with path.open("rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def _readme(built: Assembly, results: Sequence[Mapping[str, Any]], lineage: Mapping[str, Any]) -> str:
    count = sum(parameter.numel() for parameter in built.model.trunk.parameters())
    rows = [
        f"| {r['task']} | {r['kind']} | {r['rows']:,} | {r['metric'] or ''} | {_figure(r['baseline'])} | {_figure(r['value'])} |"
        for r in results
    ]
    table = ["| task | kind | training rows | metric | baseline | validation |", "|---|---|---|---|---|---|", *rows]
    licences = sorted({f"{name}: {card.licence}" for name, card in built.cards.items() if card.licence})
    lines = [
        f"# A trunk with {len(results)} heads",
        "",
        f"One shared `{built.recipe.trunk.kind}` trunk of {count:,} parameters, trained by trunkline.",
        f"Run: `{lineage.get('run_id', 'unknown')}`.",
        "",
        *table,
        "",
        "Open it with `trunkline.load(folder)`; a Transformer's `trunk/` also with `transformers.AutoModel.from_pretrained`.",
        *(["", "Data licences: " + "; ".join(licences) + "."] if licences else []),
    ]
    return "\n".join(lines) + "\n"
