"""A small world in which the parity laws are checked: five kinds of task over one tiny trunk, no files."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.batch import Batch, Verdict
from trunkline.data.dealing import Step, build_step
from trunkline.data.packing import Table, pack, rows_of
from trunkline.data.rows import Ragged, Rows
from trunkline.data.stream import Stream
from trunkline.data.units import Unit
from trunkline.losses.classification import CrossEntropy
from trunkline.losses.contrastive import InfoNCE
from trunkline.losses.regression import MSE
from trunkline.models.heads.classification import Classification
from trunkline.models.heads.contrastive import Contrastive
from trunkline.models.heads.masked_language import MaskedLanguage
from trunkline.models.heads.regression import Regression
from trunkline.models.heads.tagging import Tagging
from trunkline.models.multitask import MultiTask, owner
from trunkline.models.pooling import Mix
from trunkline.models.transformer import Transformer
from trunkline.registry import OPTIMIZERS, SAMPLERS, TRUNKS, WEIGHTINGS
from trunkline.sampling.base import Horizon
from trunkline.sampling.life import Life, Lives
from trunkline.training import step as steps
from trunkline.training.cached import informed, look_ahead
from trunkline.training.engine import Engine
from trunkline.training.interference import alignment
from trunkline.training.objective import Objective, factors
from trunkline.training.optim import parameter_groups, set_learning_rates
from trunkline.training.step import run_step

VOCAB, WIDTH, ROWS = 60, 16, 40
TASKS = ("topic", "score", "tags", "rank", "words")
WEIGHTS = (1.0, 0.5, 2.0, 1.0, 1.0)
STEPS = 6
# A setting for every sampling and weighting there is, under which six steps show what it does.
SAMPLINGS: dict[str, dict[str, Any]] = {
    "proportional": {},
    "uniform": {},
    "temperature": {},
    "explicit": {"rates": dict.fromkeys(TASKS, 1.0)},
    "annealed": {},
    "unimax": {"passes": 2},
    "expression": {"rates": {"topic": "size", "score": "size * progress", "tags": "step", "rank": "9", "words": "9 / step"}},
    "sequential": {"phases": [{"tasks": ["topic", "score"], "share": 1}, {"tasks": ["tags", "rank", "words"], "share": 2}]},
    "round_robin": {},
    "block": {"of": {"kind": "temperature", "temperature": 3}, "seed": 2},
    "curriculum": {"by": "length", "start": 0.2, "end": 1.0, "of": "uniform"},
    "mixture": {
        "mixtures": {
            "top": {"of": ["texts", "rank", "words"], "kind": "annealed"},
            "texts": {"of": ["topic", "score", "tags"], "kind": "exp3", "explore": 0.1},
        }
    },
    "gap": {"scores": dict.fromkeys(TASKS, 0.9)},
    "exp3": {"explore": 0.1},
    "ucb1": {"reward": "alignment", "turn": 1, "floor": 0.15},
}
WEIGHTING_SETTINGS: dict[str, dict[str, Any]] = {
    "static": {},
    "uncertainty": {},
    "scaled": {"chance": {"topic": 1.1}},
    "dwa": {"window": 1},
    "rlw": {"seed": 5},
    "famo": {"lr": 0.5},
    "dtp": {},
    "gls": {"exact": True},
    "imtl_l": {"lr": 0.1},
    "stch": {},
    "gradnorm": {"lr": 0.1},
    "pcgrad": {"seed": 5},
    "gradvac": {"beta": 0.5},
    "upgrad": {},
    "dualproj": {},
    "mgda": {"every": 2},
    "imtl_g": {},
    "aligned_mtl": {"scale": "rmse", "exact": True},
    "cagrad": {},
    "fairgrad": {},
    "nash_mtl": {},
}


def collate(rows: Rows, keys: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    del keys
    targets = {}
    for name, value in rows.targets.items():
        if isinstance(value, Ragged):
            shift = np.repeat(rows.tokens.starts[:-1], value.lengths) if name == "positions" else 0
            targets[name] = value.values.astype(np.int64) + shift
        else:
            targets[name] = value
    return rows.tokens.values, targets


def tables(seed: int = 0) -> dict[str, Table]:
    rng = np.random.default_rng(seed)
    texts = [rng.integers(5, VOCAB, rng.integers(3, 20)).tolist() for _ in range(ROWS)]
    topic = rows_of(texts, labels=rng.integers(0, 3, ROWS))
    score = rows_of(texts, target=rng.normal(size=ROWS).astype(np.float32))
    places = [list(range(1, len(text), 2)) for text in texts]
    tags = rows_of(texts, positions=Ragged.of(places), labels=Ragged.of(_at(texts, places, 4)))
    masked = [sorted(rng.choice(len(text), 2, replace=False).tolist()) for text in texts]
    words = rows_of(texts, positions=Ragged.of(masked), labels=Ragged.of(_at(texts, masked, VOCAB)))
    halves = Ragged.of([[2, len(text) - 2] for text in texts])
    rank = Rows(
        topic.tokens, halves, halves, np.ones(ROWS, np.int32), {"key": rng.integers(0, 30, ROWS), "vectors": np.full(ROWS, 2)}
    )
    made = dict(zip(TASKS, (topic, score, tags, rank, words), strict=True))
    return {name: Table(rows, collate, rows.take(np.array([0]))) for name, rows in made.items()}


def _at(texts: list[list[int]], places: list[list[int]], labels: int) -> list[list[int]]:
    return [[text[place] % labels for place in row] for text, row in zip(texts, places, strict=True)]


def losses() -> dict[str, nn.Module]:
    return dict(zip(TASKS, (CrossEntropy(), MSE(), CrossEntropy(), InfoNCE(group=4), CrossEntropy()), strict=True))


# A setting for every trunk there is. Words are dropped in all but one: alike on any number of ranks, or the laws fail.
TRUNK_SETTINGS: dict[str, dict[str, Any]] = {
    "static": {"hidden_size": WIDTH, "embeddings": {"dim": 5, "word_dropout": 0.3}},
    "rnn": {"hidden_size": WIDTH, "embeddings": {"word_dropout": 0.3}},
    "lstm": {"hidden_size": WIDTH, "layers": 2, "embeddings": {"max_norm": 0.05, "word_dropout": 0.3}},
    "gru": {"hidden_size": WIDTH, "bidirectional": False, "window": 6, "embeddings": {"dim": 5, "word_dropout": 0.3}},
    "bilm": {"hidden_size": WIDTH, "cell_size": 12, "embeddings": {"word_dropout": 0.3}},
    "transformer": {"hidden_size": WIDTH, "layers": 2, "heads": 2, "embeddings": {"word_dropout": 0.3}},
    "padded": {
        "hidden_size": WIDTH,
        "layers": 1,
        "heads": 2,
        "architecture": "mpnet",
        "embeddings": {"word_dropout": 0.3},
    },
}


def model(dropout: float = 0.0, seed: int = 1, kind: str = "") -> MultiTask:
    """kind: of the trunk, which then has its settings above, and two heads that pool and mix its layers as they learn to."""
    torch.manual_seed(seed)
    if kind:
        trunk = TRUNKS.get(kind)(VOCAB, 0, 64, dropout=dropout, **TRUNK_SETTINGS[kind])
    else:
        trunk = Transformer(VOCAB, 0, 64, hidden_size=WIDTH, layers=2, heads=2, dropout=dropout)
    heads: list[nn.Module] = [
        Classification(WIDTH, 3, dropout=dropout),
        Regression(WIDTH, pooling="mean", dropout=dropout),
        Tagging(WIDTH, 4, dropout=dropout),
        Contrastive(WIDTH, dropout=dropout, size=7),
        MaskedLanguage(WIDTH, VOCAB),
    ]
    if kind:
        heads[0] = Classification(WIDTH, 3, dropout=dropout, pooling="attention")
        nn.init.normal_(heads[0].pool.query)
        for head in (heads[0], heads[2]):
            head.mix = Mix(trunk.num_layers)
            nn.init.normal_(head.mix.weights)
    return MultiTask(trunk, dict(zip(TASKS, heads, strict=True)))


def stream(
    rates: dict[str, float] | None = None,
    tokens_per_step: int = 240,
    sampling: str = "explicit",
    lives: dict[str, Life] | None = None,
) -> Stream:
    made = tables()
    sizes = {name: table.rows.tokens.lengths for name, table in made.items()}
    horizon = Horizon(STEPS, tokens_per_step, {name: float(size.mean()) for name, size in sizes.items()})
    # The sizes a schedule is told differ, or those that go by size would all be uniform here.
    settings = {"rates": rates} if rates else SAMPLINGS[sampling]
    sampler = SAMPLERS.get(sampling)({name: ROWS << number for number, name in enumerate(TASKS)}, horizon, **settings)
    if lives:
        sampler = Lives(sampler, lives)
    hard = sizes if sampler.difficulty else None
    settings = {"seed": 3, "tokens_per_step": tokens_per_step, "unit_limit": tokens_per_step, "groups": {"rank": 4}}
    return Stream(sizes, sampler, **settings, difficulty=hard)


def judge(flow: Stream, observed: steps.Observed, *, local: bool = False) -> None:
    """Every step ends with an evaluation whose scores are made up of its losses, and with a look at gradients if it is wanted."""
    if observed.gram is not None and flow.sampler.needs_gram:
        flow.sampler.align(alignment(TASKS, observed.gram))
    scores = [1 / (1 + loss) for loss in observed.losses.tolist()]
    if local:
        scores = [score * (1 + torch.distributed.get_rank()) for score in scores]
    present = observed.present.tolist()
    flow.sampler.judge({task: Verdict(score, score) for task, score, there in zip(TASKS, scores, present, strict=True) if there})


@dataclass
class Run:
    """What a run of the small world ended with."""

    losses: list[list[float]] = field(default_factory=list)
    rows: list[dict[str, list[int]]] = field(default_factory=list)
    micro_batches: list[int] = field(default_factory=list)
    mixes: list[list[list[str]]] = field(default_factory=list)
    state: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    saved: dict[str, Any] = field(default_factory=dict)
    grams: list[Tensor | None] = field(default_factory=list)
    weights: list[list[float]] = field(default_factory=list)
    used: list[list[float]] = field(default_factory=list)


def train(
    steps: int,
    *,
    stage: int = 0,
    rates: dict[str, float] | None = None,
    tokens_per_pass: int = 240,
    dropout: float = 0.0,
    clip: float | None = 1.0,
    sampling: str = "explicit",
    lives: dict[str, Life] | None = None,
    weighting: str = "static",
    save_at: int = 0,
    resume: dict[str, Any] | None = None,
    fault: str = "",
    precision: str = "float32",
    kind: str = "",
    optimizer: str = "adamw",
    watch: int = 0,
    settings: dict[str, Any] | None = None,
) -> Run:
    """Runs on every rank of the current process group; `fault` plants a wrong formula that the law must reject."""
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    net = model(dropout, kind=kind)
    if resume:
        net.load_state_dict({name: entry["param"] for name, entry in resume["engine"].items()}, strict=False)
    objective = Objective(net, losses(), precision)
    groups = parameter_groups(net, owner, net.trunk.embeddings, lr=1e-2, head_lr=2e-2)
    engine = Engine(
        objective, net, groups, lambda given: OPTIMIZERS.get(optimizer)(given, weight_decay=0.1), zero_stage=stage, clip=clip
    )
    flow = stream(rates, sampling=sampling, lives=lives)
    mixer = WEIGHTINGS.get(weighting)(TASKS, WEIGHTS, **(settings or WEIGHTING_SETTINGS[weighting]))
    run, first = Run(), 1
    if resume:
        first = resume["step"] + 1
        moments = resume["engine"]
        if fault == "moments forgotten":
            moments = {}
        engine.load_moments(moments)
        told = resume["stream"]
        flow.load_state({**told, "sampler": flow.sampler.state()} if fault == "sampler forgotten" else told)
        if fault != "weighting forgotten":
            mixer.load_state(resume["weighting"])
    made = tables()
    for number in range(first, steps + 1):
        units = flow.next_step(number - (first - 1 if fault == "step forgotten" else 0))
        packs = build_step(number, units, made, seed=0, rank=rank, world=world, tokens_per_pass=tokens_per_pass)
        set_learning_rates(engine.param_groups, 1.0)
        looks = flow.sampler.needs_gram or bool(watch and number % watch == 0)
        observed = faulty(engine, packs, mixer, fault) if fault in FAULTS else run_step(engine, packs, mixer, seed=9, watch=looks)
        judge(flow, observed, local=fault == "verdicts of one rank")
        run.losses.append(observed.losses.tolist())
        run.grams.append(observed.gram)
        if observed.coefficients is not None:
            run.used.append(observed.coefficients.tolist())
        run.weights.append(mixer.coefficients().tolist())
        run.rows.append(packs.rows)
        run.micro_batches.append(len(packs.batches))
        run.mixes.append([[t for t, part in batch.tasks.items() if not part.dummy] for batch in packs.batches])
        if number == save_at:
            run.saved = {"step": number, "engine": engine.named_state(), "stream": flow.state(), "weighting": mixer.state()}
    run.state = engine.named_state()
    return run


FAULTS = ("mean of means", "fixed accumulation", "dummy counted", "generator not reseeded", "words dropped by rank")


def faulty(engine: Engine, packs: Step, mixer: Any, fault: str) -> Any:
    """run_step with one formula of the field's mistakes in it (traps 3, 4, 15, 25)."""
    if fault == "words dropped by rank":
        chance = np.random.default_rng(torch.distributed.get_rank())
        batches = [replace(batch, chance=chance.random(batch.num_tokens)) for batch in packs.batches]
        return run_step(engine, replace(packs, batches=batches), mixer, seed=9)
    if fault == "generator not reseeded":
        kept, steps.seed_dropout = steps.seed_dropout, lambda *_: None
        try:
            return run_step(engine, packs, mixer, seed=9)
        finally:
            steps.seed_dropout = kept
    world, k = engine.world, len(packs.batches)
    known = look_ahead(engine, packs, lambda _: None)
    for micro, batch in enumerate(packs.batches):
        local = {task: part.num_targets for task, part in batch.tasks.items()}
        if fault == "mean of means":
            scale = factors(mixer.coefficients() / world / k, local)
        elif fault == "fixed accumulation":
            scale = factors(mixer.coefficients(), packs.counts) / k
        else:
            scale = factors(mixer.coefficients(), {task: count + 1 for task, count in packs.counts.items()})
        scalar, _ = engine.forward(informed(batch, known[micro]), scale, last=micro == k - 1)
        engine.backward(scalar)
    engine.step()
    count = torch.tensor(list(packs.counts.values()))
    return steps.Observed(torch.zeros(len(count), dtype=torch.float64), count > 0)


def reference(units: list[Unit], *, clip: float | None = 1.0, net: MultiTask | None = None) -> dict[str, Tensor]:
    """Gradients by plain torch: every unit in one pack, each task its own mean written out, no engine. Clipped at the end."""
    net = net or model()
    made = tables()
    batch = pack(units, made, seed=0)
    out = net(batch)
    values = task_values(batch, out)
    sum(weight * values[task] for task, weight in zip(TASKS, WEIGHTS, strict=True) if task in values).backward()
    if clip:
        nn.utils.clip_grad_norm_(net.parameters(), clip)
    return {n: p.grad if p.grad is not None else torch.zeros_like(p) for n, p in net.named_parameters()}


def task_values(batch: Batch, out: dict[str, Tensor]) -> dict[str, Tensor]:
    """The mean loss of each task present in one pack, by plain torch."""
    found = {}
    for task, part in batch.tasks.items():
        if part.dummy:
            continue
        if task == "score":
            found[task] = F.mse_loss(out[task], part.targets["target"])
        elif task == "rank":
            found[task] = _ranking(out[task], part.targets["key"])
        else:
            found[task] = F.cross_entropy(out[task], part.targets["labels"].long())
    return found


def _ranking(vectors: Tensor, keys: Tensor) -> Tensor:
    """Row by row, without any batching: the negatives of a row are its group's other candidates with another key."""
    values = []
    vectors = vectors.unflatten(0, (-1, 2))
    for row in range(len(vectors)):
        group = range(row // 4 * 4, row // 4 * 4 + 4)
        rivals = [c for c in group if c == row or keys[c] != keys[row]]
        scores = torch.stack([vectors[row, 0] @ vectors[c, 1] for c in rivals]) / 0.05
        values.append(torch.logsumexp(scores, 0) - scores[rivals.index(row)])
    return torch.stack(values).mean()


def gradients(state: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """The (clipped) gradient of a first AdamW step: exp_avg = (1 - 0.9) * gradient. Holds under every ZeRO stage."""
    return {name: entry["exp_avg"] / (1 - 0.9) for name, entry in state.items()}


def furthest(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest difference of any element, as a share of the largest expected one."""
    assert found.keys() == expected.keys()
    return max(float((found[n] - expected[n]).abs().max()) for n in found) / max(float(g.abs().max()) for g in expected.values())


def bit_equal(a: dict[str, dict[str, Tensor]], b: dict[str, dict[str, Tensor]]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n][k], b[n][k]) for n in a for k in a[n])


def objective_gradient(units: list[Unit], count: int | None = None) -> dict[str, Tensor]:
    """The objective's own gradient over one pack. count: divide by this instead of the true counts (a planted fault)."""
    net = model()
    made = tables()
    batch = pack(units, made, seed=0)
    counts = {task: sum(int(made[task].rows.counts[unit.rows].sum()) for unit in units if unit.task == task) for task in TASKS}
    if count is not None:
        counts = {task: min(count, number) for task, number in counts.items()}
    scalar, _ = Objective(net, losses())(batch, factors(torch.tensor(WEIGHTS), counts))
    scalar.backward()
    return {name: p.grad if p.grad is not None else torch.zeros_like(p) for name, p in net.named_parameters()}


def disagree() -> None:
    """Rank 1 believes it is a step further."""
    number = 1 + torch.distributed.get_rank()
    steps.agree(build_step(number, stream().next_step(1), tables(), seed=0, rank=0, world=1, tokens_per_pass=240))


def evaluate_run(run: str, fault: str = "") -> dict[str, dict[str, float]]:
    """Every task's metrics of a finished run's model, by all ranks of the process group: 31 rows, 24 tokens a pack."""
    from pathlib import Path

    from trunkline.build.assemble import assemble
    from trunkline.evaluate import evaluate

    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    built = assemble(Path(run))
    found = {}
    for judged in built.judged:
        gather = _gather if not fault else lambda own: [own if number == rank else _empty(own) for number in range(world)]
        settings = {"rank": rank, "world": world, "gather": gather, "limit": 31}
        found[judged.name] = evaluate(built.model, judged, tokens_per_pass=24, device=torch.device("cpu"), **settings)
    return found


def _empty(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: type(metric)() for name, metric in metrics.items()}


def _gather(value: Any) -> list[Any]:
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, value)
    return found
