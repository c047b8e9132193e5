"""The trunk of a model folder, opened alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trunkline.data.tokenizer import Tokenizer
from trunkline.models.base import Trunk
from trunkline.registry import TRUNKS


def open_tokenizer(folder: Path, manifest: Mapping[str, Any]) -> Tokenizer:
    return Tokenizer.load(folder / "trunk", max_length=manifest["max_length"], truncate=manifest["truncate"])


def open_trunk(folder: Path, manifest: Mapping[str, Any], tokenizer: Tokenizer) -> Trunk:
    """With the weights it was trained to. manifest: the model's."""
    described = dict(manifest["trunk"])
    make = TRUNKS.get(described.pop("kind"))
    if "pretrained" in described:
        described["pretrained"] = str(folder / "trunk" / described["pretrained"])
    trunk: Trunk = make(tokenizer.vocab_size, tokenizer.pad_id, tokenizer.max_length, **described)
    return trunk
