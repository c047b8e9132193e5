"""Before any worker starts: check everything, train the tokenizer, tokenise every split, and write it all down."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from trunkline import durable
from trunkline.batch import Batch
from trunkline.build.assemble import PRIMED, make_model
from trunkline.build.finetune import make_freezing
from trunkline.build.mixing import (
    check_losses,
    check_probes,
    check_sampler,
    column_of,
    make_sampler,
    make_stream,
    make_weighting,
)
from trunkline.build.optimization import check_optimizer, check_passes
from trunkline.build.rehearsal import choose
from trunkline.build.sharing import check_kinds, check_tokens, targets_beside
from trunkline.build.start import Parent, write_start
from trunkline.build.task import OWN, extras, make_encoding, make_loss, make_metrics, open_source, placed, reading
from trunkline.build.teacher import taught
from trunkline.build.vocabulary import adopt_all, run_tokenizer
from trunkline.build.words import check_tokenizer, told, words_of
from trunkline.config.recipe import AGGREGATE, Recipe
from trunkline.data.encoding.base import Encoding
from trunkline.data.intake import said
from trunkline.data.packing import Table, pack
from trunkline.data.partial import TEACHER
from trunkline.data.sources.base import Source, TaskText
from trunkline.data.sources.decontaminate import NOTE, Decontaminated, HeldOut
from trunkline.data.store import SplitJob, StoredSplit, build_all
from trunkline.data.tokenizer import Tokenizer
from trunkline.document.reader import shown
from trunkline.errors import ConfigError, DataError, Problems, TrunklineError, UsageError, nearest
from trunkline.losses.base import Loss
from trunkline.models.base import Primed
from trunkline.models.embeddings import Settings
from trunkline.models.multitask import MultiTask
from trunkline.registry import OPTIMIZERS, PASSES, SAMPLERS, TOKENIZERS, TRUNKS, WEIGHTINGS, Registry
from trunkline.tasks.card import Card, check_parts
from trunkline.tasks.catalog import Catalog, catalog_for
from trunkline.tasks.plugin import load_plugin
from trunkline.tasks.sharing import owners, tasks_of

Say = Callable[[str], None]


def project_folder(recipe: Path) -> Path:
    """The folder a project's outputs and store lie in: the nearest above the recipe with a `tasks` folder, or its own."""
    here = recipe.resolve().parent
    return next((folder for folder in (here, *here.parents) if (folder / "tasks").is_dir()), here)


def load_cards(recipe: Recipe, catalog: Catalog) -> dict[str, Card]:
    """The recipe's cards, in its order, plugins loaded, every part's name and arguments checked. Raises all mistakes at once."""
    problems = Problems()
    cards: dict[str, Card] = {}
    for number, use in enumerate(recipe.tasks):
        try:
            stated = catalog.get(use.task, where=recipe.where("tasks", number))
            load_plugin(stated)
            check_parts(stated)
            for card in map(catalog.resolved, tasks_of(stated)):
                check_parts(card)
                if card.name in cards:
                    raise ConfigError(
                        f"task '{card.name}' stands twice in the recipe. Remove one.", where=recipe.where("tasks", number)
                    )
                if card.head_of is not None:
                    catalog.get(card.head_of, where=card.where("head_of"))
                cards[card.name] = card
        except TrunklineError as error:
            problems.add(error)
    problems.raise_if_any()
    return cards


def check_recipe(recipe: Recipe) -> None:
    """Arguments of the recipe's own parts against their signatures. Raises all mistakes at once."""
    problems = Problems()
    sections: list[tuple[str, Registry, str, Mapping[str, object]]] = [
        ("trunk", TRUNKS, recipe.trunk.kind, recipe.trunk.arguments),
        ("tokenizer", TOKENIZERS, recipe.tokenizer.kind, recipe.tokenizer.arguments),
        ("sampling", SAMPLERS, recipe.sampling.kind, recipe.sampling.arguments),
        ("weighting", WEIGHTINGS, recipe.weighting.kind, recipe.weighting.arguments),
        ("passes", PASSES, recipe.passes.kind, recipe.passes.arguments),
        ("optim", OPTIMIZERS, recipe.optim.kind, recipe.optim.arguments),
    ]
    for section, registry, kind, given in sections:
        try:
            registry.check(kind, given, where=recipe.where(section))
        except TrunklineError as error:
            problems.add(error)
    try:
        Settings.of(recipe.trunk.arguments.get("embeddings"))
    except ConfigError as error:
        problems.add(ConfigError(error.message, where=recipe.where("trunk", "embeddings")))
    problems.raise_if_any()


def prepare(recipe: Recipe, run: Path, store: Path, say: Say) -> None:
    """Fills the run folder: recipe.yaml with every default, cards/, tokenizer/, prepared.json with the stored splits.

    Raises ConfigError or DataError before anything of the run is written. prepared.json comes last: with it the run can start.
    """
    assert recipe.path is not None
    if recipe.stages:
        raise UsageError("this recipe has stages, which `trunkline train` runs one after another.", where=recipe.where("stages"))
    check_recipe(recipe)
    catalog = catalog_for(recipe.path, recipe.catalog, where=recipe.where("catalog"))
    cards = load_cards(recipe, catalog)
    hosts = [name for name in cards if name not in owners(cards, "rows_of")]
    sampler = make_sampler(recipe, dict.fromkeys(hosts, 1), dict.fromkeys(hosts, 1.0))
    check_sampler(recipe, sampler, cards)
    weighting = make_weighting(recipe, cards)
    sources = open_sources(recipe, cards, catalog)
    check_best(recipe, [name for name in cards if "validation" in sources[name].splits()])
    parent = Parent.of(recipe, catalog)
    if parent is None:
        tokenizer = run_tokenizer(recipe, cards, sources, store, say)
        check_tokenizer(recipe, tokenizer)
        encodings = {name: make_encoding(card, tokenizer) for name, card in cards.items()}
    else:
        parent.growths(cards)
        tokenizer = parent.tokenizer(recipe)
        encodings = {name: make_encoding(card, tokenizer, parent.kept(name)) for name, card in cards.items()}
    adopt_all({name: own for name, own in encodings.items() if own.own is None}, cards, sources, store, say)
    # What parts refuse, they refuse here, before a worker starts or a row is tokenised.
    losses = {name: make_loss(card, encodings[name]) for name, card in cards.items()}
    check_losses(recipe, weighting, losses)
    check_kinds(cards, encodings, {name: loss.group for name, loss in losses.items()})
    for name, card in cards.items():
        make_metrics(card, encodings[name])
    model = make_model(recipe, cards, encodings, tokenizer)
    check_optimizer(recipe, model)
    check_probes(recipe, weighting, sampler, model, cards, make_freezing(recipe, model).at(recipe.train.steps))
    start = parent.state(model, cards, recipe, store, say) if parent else None
    _try_losses(model, losses, encodings, cards)
    check_passes(recipe, weighting, sampler, losses, model, _dummies(losses, encodings))
    beside = targets_beside(cards)
    sources = {name: taught(card, sources[name], catalog) for name, card in cards.items()}
    jobs = [
        SplitJob(
            name,
            sources[name],
            split,
            encodings[name],
            reading(card),
            extras(card, encodings[name], split, column_of(sampler)),
            beside.get(name, ()),
        )
        for name, card in cards.items()
        for split in sources[name].splits()
    ]
    stored = build_all(store / "splits", jobs, workers=os.cpu_count() or 1)
    for job, split in zip(jobs, stored, strict=True):
        if not split.reused:
            say(f"stored {job.name}/{job.split}: {len(split)} rows, {split.index['tokens']} tokens{_notes(split)}")
    check_tokens(cards, jobs, stored)
    guests = owners(cards, "rows_of")
    drawn = [(job, split) for job, split in zip(jobs, stored, strict=True) if job.name not in guests]
    _say_removed(drawn, say)
    _say_quarantined(jobs, stored, say)
    _say_unseen(jobs, stored, say)
    _check_leaks(drawn, say)
    rows = {job.name: split.rows for job, split in drawn if job.split == "train"}
    make_stream(recipe, {name: own.tokens.sizes for name, own in rows.items()}, {name: losses[name] for name in rows}, rows)
    primed = model.trunk.prime(words_of(tokenizer, drawn, recipe.seed))
    for line in told(primed.told):
        say(line)
    say(f"store: {sum(split.reused for split in stored)} of {len(stored)} splits reused, {sum(map(len, stored))} rows")
    if parent is not None and start is not None:
        choose(run, recipe, parent, cards, encodings, rows, say)
        write_start(run, start, parent)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    _write_run(recipe, run, cards, tokenizer, encodings, jobs, stored, primed, parameters)


def check_best(recipe: Recipe, judged: Sequence[str]) -> None:
    """Raises ConfigError where the model is to be the best for a task that is not judged."""
    wanted = recipe.train.restore_best
    if isinstance(wanted, str) and wanted not in (AGGREGATE, *judged):
        raise ConfigError(
            f"no task '{wanted}' with validation rows is in this run. {nearest(wanted, [AGGREGATE, *judged])}",
            where=recipe.where("train", "restore_best"),
        )


def open_sources(recipe: Recipe, cards: Mapping[str, Card], catalog: Catalog) -> dict[str, Source]:
    """The source of each card; with `decontaminate`, its training rows are without those that any of the cards is tested on."""
    sources = {name: open_source(card, catalog) for name, card in cards.items()}
    if not recipe.decontaminate:
        return sources
    texts = {name: TaskText(sources[name], tuple(card.inputs), reading(card)) for name, card in cards.items()}
    guests = owners(cards, "rows_of")
    tests = [HeldOut(name, text) for name, text in texts.items() if "test" in text.source.splits() and name not in guests]
    return {name: Decontaminated(text, tests) for name, text in texts.items()}


def _try_losses(
    model: MultiTask, losses: Mapping[str, Loss], encodings: Mapping[str, Encoding], cards: Mapping[str, Card]
) -> None:
    """Every head and loss once on its dummy row. Raises ConfigError where they do not fit each other."""
    batch = _dummies(losses, encodings)
    states = batch.states(torch.zeros(batch.num_tokens, model.trunk.width))
    for name, loss in losses.items():
        part = batch.tasks[name]
        outputs = model.head(name)(states[name], batch.index(name))
        with placed(cards[name], "loss"):
            loss(outputs, {**part.targets, TEACHER: outputs.detach()})  # a dummy has no teacher


def _dummies(losses: Mapping[str, Loss], encodings: Mapping[str, Encoding]) -> Batch:
    """A pack of every task's dummy row."""
    return pack([], {name: Table.of(encodings[name].dummy(), encodings[name]) for name in losses}, seed=0)


def _say_removed(drawn: list[tuple[SplitJob, StoredSplit]], say: Say) -> None:
    """What `decontaminate` took out of each task's training rows, test by test."""
    for job, split in drawn:
        for note, count in sorted(split.notes.items()):
            if note.startswith(NOTE):
                test = note.removeprefix(NOTE)
                say(f"decontaminated {job.name}: {count} training rows left out, they stand in the test of {test}")


def _say_quarantined(jobs: list[SplitJob], stored: list[StoredSplit], say: Say) -> None:
    for job, split in zip(jobs, stored, strict=True):
        if split.quarantined["rows"]:
            say(
                f"warning: {job.name}/{job.split}: {said(split.quarantined)}. All are in {shown(split.path.with_suffix('.json'))}"
            )


def _say_unseen(jobs: list[SplitJob], stored: list[StoredSplit], say: Say) -> None:
    for job, split in zip(jobs, stored, strict=True):
        rows = split.rows if split.counts.all() else split.rows.take(np.flatnonzero(split.counts))
        unseen = job.encoding.unseen(rows) if job.split == "train" else ()
        if unseen:
            names = ", ".join(map(repr, unseen[:10])) + (f" and {len(unseen) - 10} more" if len(unseen) > 10 else "")
            say(f"warning: {job.name}: no training row has the label {names}. Is it spelled as in the data?")


def _check_leaks(drawn: list[tuple[SplitJob, StoredSplit]], say: Say) -> None:
    """Rows under evaluation that are training rows too: said with their number; refused if there is nothing else."""
    problems = Problems()
    trained = {job.name: set(_row_hashes(split)) for job, split in drawn if job.split == "train"}
    for job, split in drawn:
        if job.split == "train":
            continue
        leaked = sum(row in trained[job.name] for row in _row_hashes(split))
        if leaked == len(split):
            problems.add(
                DataError(f"every {job.split} row is a training row too. Name other rows in data.{job.split}.", where=job.name)
            )
        elif leaked:
            say(f"warning: {job.name}: {leaked} of {len(split)} {job.split} rows read the same as a training row")
    problems.raise_if_any()


def _row_hashes(split: StoredSplit) -> list[int]:
    tokens = split.rows.tokens
    content, starts = tokens.values.tobytes(), (tokens.starts * tokens.values.itemsize).tolist()
    return [hash(content[start:stop]) for start, stop in itertools.pairwise(starts)]


def _notes(split: StoredSplit) -> str:
    return "".join(f", {name.replace('_', ' ')}: {count}" for name, count in sorted(split.notes.items()) if count)


def _write_run(
    recipe: Recipe,
    run: Path,
    cards: Mapping[str, Card],
    tokenizer: Tokenizer,
    encodings: Mapping[str, Encoding],
    jobs: list[SplitJob],
    stored: list[StoredSplit],
    primed: Primed,
    parameters: int,
) -> None:
    (run / "recipe.yaml").write_text(recipe.render(), encoding="utf-8")
    for card in {one.whole.name: one.whole for task in cards.values() for one in (task.host, task)}.values():
        folder = run / "cards" / card.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "card.yaml").write_text(card.text, encoding="utf-8")
        if card.plugin is not None:
            shutil.copyfile(card.plugin, folder / "plugin.py")
    for name, encoding in encodings.items():
        if encoding.own is not None:
            encoding.own.save(run / "cards" / name / OWN)
    tokenizer.save(run / "tokenizer")
    splits: dict[str, dict[str, str]] = {}
    for job, split in zip(jobs, stored, strict=True):
        splits.setdefault(job.name, {})[job.split] = str(split.path.resolve())
    if primed.tensors:
        safetensors.torch.save_file(primed.tensors, run / PRIMED)
    start = {"trunk": primed.told} if primed.told else {}
    prepared = {"schema_version": 1, "tokenizer": tokenizer.key, "splits": splits, "parameters": parameters, **start}
    durable.replace(run / "prepared.json", json.dumps(prepared, indent=1))
