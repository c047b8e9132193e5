"""What new losses and heads must prove on several ranks: a world of one anchor task and the one under test, beside laws.py.

Every case has its plain reference: the mean over all targets, written out row by row, without the loss's own code.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import laws
from trunkline.data.dealing import build_step
from trunkline.data.packing import Table, pack, rows_of
from trunkline.data.rows import Ragged, Rows
from trunkline.data.stream import Stream
from trunkline.data.units import Unit
from trunkline.losses.base import Loss
from trunkline.losses.classification import CrossEntropy
from trunkline.models.heads.classification import Classification
from trunkline.models.multitask import MultiTask, owner
from trunkline.models.transformer import Transformer
from trunkline.registry import ENCODINGS, HEADS, LOSSES, TRUNKS
from trunkline.sampling.base import Horizon
from trunkline.sampling.explicit import Explicit
from trunkline.training.engine import Engine
from trunkline.training.objective import Objective
from trunkline.training.optim import parameter_groups, set_learning_rates
from trunkline.training.optimizers import AdamW
from trunkline.training.step import run_step
from trunkline.weighting.static import Static

TASKS, WEIGHTS = ("anchor", "subject"), (1.0, 2.0)
C, M = 3, 2
Targets = Mapping[str, Tensor]


@dataclass(frozen=True)
class Case:
    """A loss, the kind of head it goes with, and what the mean over one row's targets' values adds up to, target by target."""

    loss: str
    arguments: Mapping[str, Any]
    kind: str
    sizes: Mapping[str, Any]
    plain: Callable[[Tensor, Targets, int], Tensor]
    name: str = ""
    rows: str = ""  # what its rows are called in `tables`, if not as the kind


def _log_p(outputs: Tensor, targets: Targets, row: int) -> tuple[int, Tensor]:
    label = int(targets["labels"][row])
    return label, outputs[row, label] - outputs[row].exp().sum().log()


def _plain_log_p(outputs: Tensor, targets: Targets, row: int) -> Tensor:
    return -_log_p(outputs, targets, row)[1]


def _weighted(outputs: Tensor, targets: Targets, row: int) -> Tensor:
    label, log_p = _log_p(outputs, targets, row)
    return -(0.2, 1.0, 5.0)[label] * log_p


def _focal(outputs: Tensor, targets: Targets, row: int) -> Tensor:
    _, log_p = _log_p(outputs, targets, row)
    return -((1 - log_p.exp()) ** 2) * log_p


def _hinge(outputs: Tensor, targets: Targets, row: int) -> Tensor:
    label = int(targets["labels"][row])
    rivals = [outputs[row, c] for c in range(C) if c != label]
    return torch.relu(1 + torch.stack(rivals).max() - outputs[row, label])


def _each(value: Callable[[Tensor, bool, int], Tensor]) -> Callable[[Tensor, Targets, int], Tensor]:
    """The mean over a row's labels of value(probability, whether it has the label, the label's number)."""

    def plain(outputs: Tensor, targets: Targets, row: int) -> Tensor:
        given = targets["label_set"][row].tolist()
        return torch.stack([value(1 / (1 + (-outputs[row, c]).exp()), bool(given[c]), c) for c in range(C)]).mean()

    return plain


def _asymmetric(p: Tensor, present: bool, _: int) -> Tensor:
    q = torch.relu(p - 0.05)
    return -(1 - p) * p.log() if present else -(q**4) * (1 - q).log()


def _number(value: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Targets, int], Tensor]:
    return lambda outputs, targets, row: value(outputs[row] - targets["target"][row]).mean()


def _gaussian(outputs: Tensor, targets: Targets, row: int) -> Tensor:
    """-log of the normal density without its constant."""
    mean, variance = outputs[row, :, 0], outputs[row, :, 1].exp()
    return ((mean - targets["target"][row]) ** 2 / (2 * variance) + variance.log() / 2).mean()


def _chain(outputs: Tensor, targets: Targets, row: int) -> Tensor:
    """Minus the log of a sequence's share among all of them, counted at its first word."""
    place = targets["place"].tolist()
    if place[row] != 0:
        return torch.zeros(())
    end = next((k for k in range(row + 1, len(place)) if place[k] == 0), len(place))

    def score(path: tuple[int, ...]) -> Tensor:
        return torch.stack([outputs[row + k, path[max(k - 1, 0)], path[k]] for k in range(end - row)]).sum()

    every = torch.stack([score(path) for path in itertools.product(range(C), repeat=end - row)])
    return every.logsumexp(0) - score(tuple(targets["labels"][row:end].tolist()))


def _distilled(outputs: Tensor, targets: Targets, row: int) -> Tensor:
    """Temperature 2, half of it the cross entropy."""
    _, log_p = _log_p(outputs, targets, row)
    student, wanted = ((scores[row] / 2).softmax(0) for scores in (outputs, targets["teacher"]))
    return -0.5 * log_p + 0.5 * 4 * (wanted * (wanted / student).log()).sum()


def _smoothed(outputs: Tensor, targets: Targets, row: int) -> Tensor:
    _, log_p = _log_p(outputs, targets, row)
    every = outputs[row] - outputs[row].exp().sum().log()
    return -0.9 * log_p - 0.1 / len(every) * every.sum()


def _pairs(value: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Targets, int], Tensor]:
    """The mean over a list's pairs of different grade of value(lead of the better one)."""

    def plain(outputs: Tensor, targets: Targets, row: int) -> Tensor:
        scores, grades = _list(outputs, targets, row)
        pairs = [(i, j) for i, j in itertools.permutations(range(len(grades)), 2) if grades[i] > grades[j]]
        return torch.stack([value(scores[i] - scores[j]) for i, j in pairs]).mean()

    return plain


def _list(outputs: Tensor, targets: Targets, row: int) -> tuple[list[Tensor], list[float]]:
    slots = [slot for slot in targets["slots"][row].tolist() if slot >= 0]
    return [outputs[slot] for slot in slots], targets["grades"][row].tolist()[: len(slots)]


def _first_place(outputs: Tensor, targets: Targets, row: int) -> Tensor:
    scores, grades = _list(outputs, targets, row)
    wanted, given = torch.tensor(grades).exp(), torch.stack(scores).exp()
    return -(wanted / wanted.sum() * (given / given.sum()).log()).sum()


def _draws(outputs: Tensor, targets: Targets, row: int) -> Tensor:
    scores, grades = _list(outputs, targets, row)
    values = []
    for own, grade in zip(scores, grades, strict=True):
        worse = [other.exp() for other, given in zip(scores, grades, strict=True) if given < grade]
        if worse:
            values.append((own.exp() + torch.stack(worse).sum()).log() - own)
    return torch.stack(values).mean()


def _lambda(outputs: Tensor, targets: Targets, row: int) -> Tensor:
    scores, grades = _list(outputs, targets, row)
    rank = {slot: 1 + place for place, slot in enumerate(sorted(range(len(scores)), key=lambda i: -scores[i].item()))}
    best = sum((2**grade - 1) / np.log2(2 + place) for place, grade in enumerate(sorted(grades, reverse=True)))
    values = []
    for i, j in itertools.permutations(range(len(grades)), 2):
        if grades[i] > grades[j]:
            change = (2 ** grades[i] - 2 ** grades[j]) * abs(1 / np.log2(1 + rank[i]) - 1 / np.log2(1 + rank[j])) / best
            values.append(change * (1 + (scores[j] - scores[i]).exp()).log())
    return torch.stack(values).sum()


def _span(outputs: Tensor, targets: Targets, row: int) -> Tensor:
    """Start and end of one question, every place of all its windows summed up one by one."""
    begins = [*(targets["place"] == 0).nonzero().flatten().tolist(), len(outputs)]
    own = slice(begins[row], begins[row + 1])
    every = outputs[own].exp().sum(0)
    right = [outputs[own, side].exp()[targets[name][own] == 1].sum() for side, name in enumerate(("is_start", "is_end"))]
    return -(torch.stack(right) / every).log().mean()


def _own(outputs: Tensor, targets: Targets, row: int) -> list[Tensor]:
    """A row's vectors: anchor, positive, negatives."""
    counts = targets["vectors"].tolist()
    return list(outputs[sum(counts[:row]) : sum(counts[: row + 1])])


def _softmax(size: int, *, symmetric: bool = False, width: int | None = None) -> Callable[[Tensor, Targets, int], Tensor]:
    """Minus the log of the positive's share among the texts of the row's group, counted one by one. width: cut short."""

    def plain(outputs: Tensor, targets: Targets, row: int) -> Tensor:
        outputs = F.normalize(outputs[:, :width], dim=-1)
        key, wrong = targets["key"].tolist(), iter(targets["negative_key"].tolist())
        wrong_keys = [[next(wrong) for _ in range(count - 2)] for count in targets["vectors"].tolist()]
        group = range(row // size * size, row // size * size + size)
        mine, rivals, back = _own(outputs, targets, row), [], []
        for other in group:
            anchor, positive, *negatives = _own(outputs, targets, other)
            if other == row or key[other] != key[row]:
                rivals.append(mine[0] @ positive / 0.05)
                back.append(anchor @ mine[1] / 0.05)
            rivals += [mine[0] @ text / 0.05 for text, k in zip(negatives, wrong_keys[other], strict=True) if k != key[row]]
        forth, right = torch.stack(rivals).logsumexp(0), mine[0] @ mine[1] / 0.05
        return forth - right if not symmetric else (forth + torch.stack(back).logsumexp(0)) / 2 - right

    return plain


def _far(outputs: Tensor, targets: Targets, row: int) -> Tensor:
    anchor, positive, *negatives = _own(outputs, targets, row)
    return torch.stack([1 - anchor @ positive, *(torch.relu(anchor @ text - 0.2) for text in negatives)]).mean()


def _nearer(outputs: Tensor, targets: Targets, row: int) -> Tensor:
    anchor, positive, *negatives = _own(outputs, targets, row)
    each = [torch.relu(anchor @ text - anchor @ positive + 0.5) for text in negatives]
    return torch.stack(each).mean() if each else torch.zeros(())


def _off(outputs: Tensor, targets: Targets, row: int) -> Tensor:
    first, second = _own(outputs, targets, row)
    return (first @ second - targets["score"][row]) ** 2


def _ordered(size: int) -> Callable[[Tensor, Targets, int], Tensor]:
    """The cost of the group's pairs that stand the wrong way round."""

    def plain(outputs: Tensor, targets: Targets, row: int) -> Tensor:
        group, score = range(row // size * size, row // size * size + size), targets["score"]
        cosine = {other: torch.dot(*_own(outputs, targets, other)) for other in group}
        wrong = [(20 * (cosine[j] - cosine[i])).exp() for i in group for j in group if score[i] > score[j]]
        return (1 + sum(wrong, torch.zeros(()))).log()

    return plain


LABELS, CLASSES = {"num_labels": C}, "classification"
CASES = {
    case.name or case.loss: case
    for case in (
        Case("cross_entropy", {"class_weights": [0.2, 1.0, 5.0]}, CLASSES, LABELS, _weighted),
        Case("focal", {}, CLASSES, LABELS, _focal),
        Case("hinge", {}, CLASSES, LABELS, _hinge),
        Case("distillation", {}, CLASSES, LABELS, _distilled),
        Case(
            "binary_cross_entropy",
            {"pos_weights": [1.0, 4.0, 0.5]},
            "multilabel",
            LABELS,
            _each(lambda p, present, c: -(1.0, 4.0, 0.5)[c] * p.log() if present else -(1 - p).log()),
        ),
        Case("asymmetric", {"gamma_positive": 1.0}, "multilabel", LABELS, _each(_asymmetric)),
        Case(
            "soft_margin",
            {"margin": 1.0},
            "multilabel",
            LABELS,
            _each(lambda p, present, _: (1 + torch.e * ((1 - p) / p if present else p / (1 - p))).log()),
        ),
        Case("mse", {}, "regression", {"num_values": M}, _number(torch.square), "several numbers"),
        Case("mae", {}, "regression", {"num_values": M}, _number(torch.abs)),
        Case("huber", {"delta": 0.5}, "regression", {"num_values": M},
             _number(lambda e: torch.where(e.abs() < 0.5, e**2 / 2, 0.5 * e.abs() - 0.125))),
        Case("log_cosh", {}, "regression", {"num_values": M}, _number(lambda e: e.cosh().log())),
        Case("heteroscedastic", {}, "regression", {"num_values": M}, _gaussian),
        Case("crf", {}, "tagging", LABELS, _chain),
        Case("infonce", {"group": 2}, "contrastive", {}, _softmax(2)),
        Case("infonce", {"group": 3, "symmetric": True}, "contrastive", {}, _softmax(3, symmetric=True), "symmetric"),
        Case("infonce", {"group": 8, "cached": True}, "contrastive", {}, _softmax(8), "cached"),
        Case("cosine", {"margin": 0.2}, "contrastive", {}, _far),
        Case("cosine", {}, "contrastive", {}, _off, "cosine of a score", "scored"),
        Case("triplet", {"margin": 0.5}, "contrastive", {}, _nearer),
        Case("cosent", {"group": 3}, "contrastive", {}, _ordered(3), rows="scored"),
        Case("cosent", {"group": 8, "cached": True}, "contrastive", {}, _ordered(8), "cached cosent", "scored"),
        Case("matryoshka", {"loss": {"kind": "infonce", "group": 8, "cached": True}, "dims": [16, 4], "weights": [1, 0.5]},
             "contrastive", {}, lambda *given: _softmax(8)(*given) + 0.5 * _softmax(8, width=4)(*given)),
        Case("cross_entropy", {"label_smoothing": 0.1}, "generation", {"num_outputs": 6, "max_target": 5}, _smoothed,
             "generation"),
        Case("pairwise_logistic", {}, "ranking", {}, _pairs(lambda lead: (1 + (-lead).exp()).log())),
        Case("margin", {"margin": 0.5}, "ranking", {}, _pairs(lambda lead: torch.relu(0.5 - lead))),
        Case("listnet", {}, "ranking", {}, _first_place),
        Case("listmle", {}, "ranking", {}, _draws),
        Case("lambdarank", {}, "ranking", {}, _lambda),
        Case("span", {}, "span", {}, _span),
        Case("cross_entropy", {}, "causal_language", {"vocab_size": laws.VOCAB}, _plain_log_p, "causal_language"),
        Case("cross_entropy", {}, "bilm", {"vocab_size": laws.VOCAB}, _plain_log_p, "bilm"),
        Case("cross_entropy", {}, "replaced_token", {"num_labels": C}, _plain_log_p, "replaced_token"),
    )
}  # fmt: skip


def collate(rows: Rows, keys: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    tokens, targets = laws.collate(rows, keys)
    grades = rows.targets.get("grades")
    if isinstance(grades, Ragged):
        slots = [np.arange(a, b) for a, b in itertools.pairwise(grades.starts)]
        width = int(grades.lengths.max())
        filled = [[np.append(v, np.full(width - len(s), -1)) for v in (s, grades.values[s])] for s in slots]
        return tokens, {"slots": np.stack([s for s, _ in filled]), "grades": np.stack([g for _, g in filled])}
    lengths = [value.lengths for value in rows.targets.values() if isinstance(value, Ragged)]
    places = {"place": np.concatenate([np.arange(length) for length in lengths[0]])} if lengths else {}
    return tokens, {**targets, **places, "vectors": rows.lengths.lengths}


def _twice(texts: list[list[int]]) -> Rows:
    """Rows of two trunk rows each: every token but the last guesses the next one, every one but the first the one before."""
    places = [[*range(len(t) - 1), *range(len(t) + 1, 2 * len(t))] for t in texts]
    labels = [[*t[1:], *t[:-1]] for t in texts]
    halves = Ragged.of([[len(text)] * 2 for text in texts])
    rows = rows_of([text * 2 for text in texts], positions=Ragged.of(places), labels=Ragged.of(labels))
    return Rows(rows.tokens, halves, halves, rows.counts, rows.targets)


def tables(kind: str, *, divisible: bool = False) -> dict[str, Table]:
    rng = np.random.default_rng(0)
    texts = [rng.integers(5, laws.VOCAB, rng.integers(3, 20)).tolist() for _ in range(laws.ROWS)]
    places = [list(range(0, len(text), 4)) for text in texts]  # one to five words a row
    steps = Ragged.of([list(range(len(text) - 1)) for text in texts])
    whole = Ragged.of([list(range(len(text))) for text in texts])
    labels = rng.choice(C, laws.ROWS, p=[0.7, 0.2, 0.1])
    made: dict[str, dict[str, np.ndarray | Ragged]] = {
        "classification": {
            "labels": labels,
            "teacher": np.random.default_rng(7).normal(size=(laws.ROWS, C)).astype(np.float32),
        },
        "multilabel": {"label_set": rng.integers(0, 2, (laws.ROWS, C)).astype(np.uint8)},
        "regression": {"target": rng.normal(size=(laws.ROWS, M)).astype(np.float32)},
        "generation": {"labels": Ragged.of([rng.integers(0, 6, 1 + len(own)) for own in places])},
        "tagging": {"positions": Ragged.of(places), "labels": Ragged.of([rng.integers(0, C, len(own)) for own in places])},
        "causal_language": {"positions": steps, "labels": Ragged.of([text[1:] for text in texts])},
        "replaced_token": {"positions": whole, "labels": Ragged.of([[token % C for token in text] for text in texts])},
    }
    own = {"ranking": graded, "span": windowed, "bilm": _twice, "contrastive": apart, "scored": alike}.get(kind)
    subject = own(texts) if own else rows_of(texts, **made[kind])
    sight = ENCODINGS.get(kind).sight if kind in ENCODINGS.names() else (0,)
    found = {"anchor": (rows_of(texts, labels=labels), (0,)), "subject": (subject, sight)}
    made_of = {name: Table(rows, collate, rows.take(np.array([0])), sight) for name, (rows, sight) in found.items()}
    return {**made_of, "subject": dataclasses.replace(made_of["subject"], divisible=divisible)}


def apart(texts: list[list[int]]) -> Rows:
    """Anchor, positive and up to two negatives of a token each, but the last has what is left; some texts stand twice."""
    rng = np.random.default_rng(3)
    counts = [2 + row % 3 % (len(text) - 1) for row, text in enumerate(texts)]
    lengths = Ragged.of([[1] * (count - 1) + [len(text) - count + 1] for text, count in zip(texts, counts, strict=True)])
    wrong = Ragged.of([rng.integers(0, 30, count - 2) for count in counts], np.int64)
    targets = {"key": rng.integers(0, 30, len(texts)), "negative_key": wrong}
    return Rows(Ragged.of(texts), lengths, lengths, np.ones(len(texts), np.int32), targets)


def alike(texts: list[list[int]]) -> Rows:
    """Two texts and a score, of which several rows have the same."""
    lengths = Ragged.of([[2, len(text) - 2] for text in texts])
    score = np.random.default_rng(4).choice([0.0, 0.3, 0.5, 1.0], len(texts)).astype(np.float32)
    return Rows(Ragged.of(texts), lengths, lengths, np.ones(len(texts), np.int32), {"score": score})


def graded(texts: list[list[int]]) -> Rows:
    """Each text a list of two to seven candidates: pieces of three tokens, what is left, and a last one."""
    rng = np.random.default_rng(1)
    pieces = [[3] * (len(text) // 3 - 1) + [len(text) - len(text) // 3 * 3 + 2, 1] for text in texts]
    grades = [rng.permutation([0, 1, *rng.integers(0, 3, len(own) - 2)]) for own in pieces]
    lengths = Ragged.of(pieces)
    return Rows(Ragged.of(texts), lengths, lengths, np.ones(len(texts), np.int32), {"grades": Ragged.of(grades, np.float32)})


def windowed(texts: list[list[int]]) -> Rows:
    """Rows of one to three windows; the places are the first token and most others, one or two of them gold."""
    rng = np.random.default_rng(2)
    tokens = Ragged.of(texts)
    cuts = [sorted({0, *rng.integers(1, len(text), 2).tolist()}) for text in texts]
    lengths = Ragged.of([np.diff([*own, len(text)]) for own, text in zip(cuts, texts, strict=True)])
    places = [
        [place for place in range(len(text)) if place == 0 or place not in own] for own, text in zip(cuts, texts, strict=True)
    ]
    marks = [[np.isin(np.arange(len(own)), rng.integers(0, len(own), 2)) for own in places] for _ in range(2)]
    start, end = (Ragged.of(side, np.uint8) for side in marks)
    targets = {"positions": Ragged.of(places), "is_start": start, "is_end": end}
    return Rows(tokens, lengths, lengths, np.ones(len(texts), np.int32), targets)


def world(case: Case, trunk_kind: str = "") -> tuple[MultiTask, dict[str, Loss]]:
    torch.manual_seed(1)
    if trunk_kind:
        trunk = TRUNKS.get(trunk_kind)(laws.VOCAB, 0, 64, dropout=0.0, **laws.TRUNK_SETTINGS[trunk_kind])
    else:
        trunk = Transformer(laws.VOCAB, 0, 64, hidden_size=laws.WIDTH, layers=1, heads=2, dropout=0.0)
    loss = LOSSES.get(case.loss)(**case.arguments)
    dropout = {"dropout": 0.0} if "dropout" in HEADS.arguments(case.kind) else {}
    head = HEADS.get(case.kind)(laws.WIDTH, **case.sizes, **loss.asks, **dropout)
    for name, parameter in head.named_parameters():
        if name.startswith("chain."):
            nn.init.normal_(parameter)  # a chain that starts at 0 would hide a transition read the wrong way round
    return MultiTask(trunk, {"anchor": Classification(laws.WIDTH, C, dropout=0.0), "subject": head}), {
        "anchor": CrossEntropy(),
        "subject": loss,
    }


def units(case: Case) -> list[Unit]:
    loss = LOSSES.get(case.loss)(**case.arguments)
    sizes = {name: table.rows.tokens.lengths for name, table in tables(case.rows or case.kind).items()}
    horizon = Horizon(1, 240, {name: float(size.mean()) for name, size in sizes.items()})
    sampler = Explicit(dict.fromkeys(TASKS, laws.ROWS), horizon, rates={"anchor": 0.5, "subject": 1.0})
    return Stream(sizes, sampler, seed=3, tokens_per_step=240, unit_limit=240, groups={"subject": loss.group}).next_step(1)


def gradient(name: str, *, stage: int, tokens_per_pass: int, fault: str = "", trunk: str = "") -> tuple[dict[str, Tensor], int]:
    """On every rank: the gradient of one step through the engine, and the number of micro-batches."""
    case = CASES[name]
    model, losses = world(case, trunk)
    groups = parameter_groups(model, owner, model.trunk.embeddings, lr=1e-2, head_lr=2e-2)
    engine = Engine(
        Objective(model, losses), model, groups, lambda given: AdamW(given, weight_decay=0.1), zero_stage=stage, clip=None
    )
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    made = tables(case.rows or case.kind, divisible=losses["subject"].cached)
    packs = build_step(1, units(case), made, seed=0, rank=rank, world=ranks, tokens_per_pass=tokens_per_pass)
    set_learning_rates(engine.param_groups, 1.0)
    mixer = Static(TASKS, WEIGHTS)
    if fault:
        laws.faulty(engine, packs, mixer, fault)
    else:
        run_step(engine, packs, mixer, seed=9)
    return laws.gradients(engine.named_state()), len(packs.batches)


def answers(stage: int) -> Tensor:
    """On every rank: what the subject's head writes for rows of its own, one on one rank and many on the other."""
    model, losses = writer()
    groups = parameter_groups(model, owner, model.trunk.embeddings, lr=1e-2, head_lr=2e-2)
    Engine(Objective(model, losses), model, groups, lambda given: AdamW(given, weight_decay=0.1), zero_stage=stage, clip=None)
    return written(model, torch.distributed.get_rank())


def writer() -> tuple[MultiTask, dict[str, Loss]]:
    """A world whose decoder has something to say; a fresh one ends every text at once."""
    model, losses = world(CASES["generation"])
    torch.manual_seed(0)
    decoder = model.head("subject").decoder
    for part in (*decoder.tell, *(layer.ask_out for layer in decoder.layers)):
        nn.init.normal_(part.weight)
    return model, losses


def written(model: MultiTask, rank: int) -> Tensor:
    rows = np.arange(1) if rank else np.arange(1, laws.ROWS)
    batch = pack([Unit("subject", rows, np.zeros_like(rows), 0)], tables("generation"), seed=0)
    with torch.no_grad():
        return model.eval().answer("subject", batch)


def reference(name: str, *, whole: bool = False, trunk: str = "") -> dict[str, Tensor]:
    """The same step by plain torch: all rows in one pack, each task's mean over its targets written out.

    whole: a planted fault, every row is read whole, whatever its kind says.
    """
    case = CASES[name]
    model, _ = world(case, trunk)
    batch = pack(units(case), tables(case.rows or case.kind), seed=0)
    batch = dataclasses.replace(batch, sight=None) if whole else batch
    out = model(batch)
    anchor, subject = (batch.tasks[task] for task in TASKS)
    values = [case.plain(out["subject"], subject.targets, row) for row in range(subject.num_targets)]
    total = WEIGHTS[0] * F.cross_entropy(out["anchor"], anchor.targets["labels"])
    (total + WEIGHTS[1] * torch.stack(values).sum() / subject.num_targets).backward()
    return {key: p.grad if p.grad is not None else torch.zeros_like(p) for key, p in model.named_parameters()}
