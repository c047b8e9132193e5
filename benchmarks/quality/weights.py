"""Weights that a package brings as a pickle, as a folder of safetensors: trunkline itself reads no pickle."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from trunkline.errors import UsageError


def unpickle(package: str, inside: str, folder: Path) -> None:
    """Writes `folder` from the folder `inside` an installed package, unless it stands. Only tensors are unpickled."""
    if (folder / "model.safetensors").is_file():
        return
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        name = package.replace("_", "-")
        raise UsageError(f"the package that brings '{package}' is not installed; its recipe's first lines name it.", where=name)
    from transformers import AutoModel, AutoTokenizer

    source = Path(spec.submodule_search_locations[0]) / inside
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    AutoModel.from_pretrained(source).save_pretrained(folder)
