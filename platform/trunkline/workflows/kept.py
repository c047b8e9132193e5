"""What a model answered to a task's rows, kept by all that decides it, so that the same bits are measured once."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trunkline import durable
from trunkline.continual.gate import Records
from trunkline.data.packing import Table
from trunkline.data.rows import Ragged
from trunkline.predict import Model

Found = tuple[np.ndarray, Records]


class Kept:
    """A folder of row ids and records. What was not measured, or can not be read, is None: then it is measured again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def key(self, model: Model, task: str, table: Table) -> str:
        """A hash of trunk, tokenizer, the task's head and adapter as files, its card, every row, and what computes them."""
        manifest = model.manifest
        about: dict[str, Any] = manifest["tasks"][task]
        mixed = [name for name, other in manifest["tasks"].items() if "lora" in other] if about.get("lora", {}).get("of") else []
        heads = [f"heads/{name}/" for name in (task, about.get("head_of"), *mixed) if name]
        files = {name: entry["sha256"] for name, entry in manifest["files"].items() if name.startswith(("trunk/", *heads))}
        facts = [manifest["trunk"], manifest["max_length"], manifest["truncate"], about, files]
        made = hashlib.sha256(json.dumps([facts, version("trunkline"), torch.__version__], sort_keys=True).encode())
        rows = table.rows
        for name, column in {"": rows.tokens, **rows.targets}.items():
            made.update(name.encode())
            for part in (column.values, column.starts) if isinstance(column, Ragged) else (column,):
                made.update(np.ascontiguousarray(part).data)
        return made.hexdigest()

    def get(self, key: str) -> Found | None:
        try:
            with np.load(self.folder / f"{key}.npz", allow_pickle=False) as file:
                found = {name: file[name] for name in file.files}
        except (OSError, ValueError, zipfile.BadZipFile):
            return None
        return found.pop("ids"), {name.removeprefix("_"): record for name, record in found.items()}

    def put(self, key: str, ids: np.ndarray, records: Records) -> None:
        """Nothing is kept of records that are Python objects, such as texts of a varying number."""
        if any(record.dtype.hasobject for record in records.values()):
            return
        held = io.BytesIO()
        columns: dict[str, Any] = {f"_{name}": record for name, record in records.items()}
        np.savez(held, ids=ids, **columns)
        self.folder.mkdir(parents=True, exist_ok=True)
        durable.put(self.folder / f"{key}.npz", held.getvalue())
