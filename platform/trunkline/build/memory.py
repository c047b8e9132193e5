"""What a run learned of the memory it has: fewer tokens in a pass, and more passes, after an allocator refused.

A step's rows, losses and gradients stay what they are (the same mathematics in more micro-batches), so that a run which had to
shrink goes on from its newest checkpoint as if it had begun so. All ranks read the same file before they start.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from trunkline import durable
from trunkline.config.recipe import Recipe, load_recipe

FILE = "memory.json"


def fitted(run: Path) -> Recipe:
    """The run's recipe, with the tokens of a pass that fit into memory as far as is known."""
    path = run / FILE
    known = [f"train.tokens_per_pass={json.loads(path.read_text())['tokens_per_pass']}"] if path.is_file() else []
    return load_recipe(run / "recipe.yaml", known)


def shrink(run: Path) -> int | None:
    """Halves the tokens of a pass, for the next attempt; None if a pass holds one row alone already."""
    train = fitted(run).train
    half = max(train.tokens_per_pass // 2, train.max_length)
    if half == train.tokens_per_pass:
        return None
    durable.replace(run / FILE, json.dumps({"schema_version": 1, "tokens_per_pass": half}))
    return half


def refused(error: BaseException) -> bool:
    """Whether an allocator, of a device or of the machine, refused."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator" in str(error)
