"""Trunks of our own and packs for them, as several tests need them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from trunkline.batch import Batch
from trunkline.data.packing import Table, pack, rows_of
from trunkline.data.units import Unit
from trunkline.models.base import Trunk, Words
from trunkline.registry import TRUNKS

LENGTHS = (3, 17, 5, 5, 4, 30, 1, 8)
V = 60
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "static": ("static", {"hidden_size": 8, "embeddings": {"dim": 5}}),
    "static, sif": ("static", {"weights": "sif", "common": True, "embeddings": {"dim": 8, "max_norm": 1.0}}),
    "rnn": ("rnn", {"layers": 2}),
    "lstm": ("lstm", {"layers": 2}),
    "lstm, one direction": ("lstm", {"bidirectional": False, "embeddings": {"dim": 3}}),
    "gru": ("gru", {"layers": 2}),
    "gru, windows": ("gru", {"window": 4}),
    "bilm": ("bilm", {"layers": 3}),
    "bilm, projected": ("bilm", {"cell_size": 10, "embeddings": {"dim": 6}}),
}


def texts() -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.integers(5, V, length).tolist() for length in LENGTHS]


def batch_of(texts: list[list[int]], *, sight: list[int] | None = None) -> Batch:
    rows = rows_of(texts)
    table = Table(rows, lambda given, _: (given.tokens.values, {}), rows.take(np.array([0])))
    units = [Unit("t", np.array([number]), np.array([0]), len(text)) for number, text in enumerate(texts)]
    return replace(pack(units, {"t": table}, seed=0), sight=None if sight is None else np.array(sight, np.int8))


def trunk(name: str, **more: Any) -> Trunk:
    kind, given = CASES[name]
    torch.manual_seed(0)
    sizes = {} if kind == "static" else {"hidden_size": 8}
    made: Trunk = TRUNKS.get(kind)(V, 0, 64, **{"dropout": 0.0, **sizes, **given, **more})
    words = Words([""] * 5 + [f"w{number}" for number in range(5, V)], [(np.concatenate(texts()), np.cumsum([0, *LENGTHS]))])
    made.load_state_dict(made.prime(words).tensors, strict=False)
    return made.double().eval()
