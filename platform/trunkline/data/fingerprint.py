"""Hashes that tell whether what was read or built before is what would be read or built now."""

from __future__ import annotations

import hashlib
import inspect
import json
from typing import Any

import pyarrow.fs

from trunkline.errors import ConfigError

BLOCK_BYTES = 1 << 20


def digest(value: Any) -> str:
    """SHA-256 of a value of plain Python types in canonical JSON, hexadecimal."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise ConfigError(f"{type(value).__name__} is no plain value, found {value!r}. Use text, numbers, lists and mappings.")


def configuration(part: object) -> dict[str, Any]:
    """The keyword-only arguments a part was made with, read back from the attributes of the same names."""
    names = [
        p.name for p in inspect.signature(type(part).__init__).parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    missing = [name for name in names if not hasattr(part, name)]
    if missing:
        raise ConfigError(
            f"{type(part).__qualname__} must keep its argument '{missing[0]}' as self.{missing[0]}: its key is made of it."
        )
    return {name: getattr(part, name) for name in names}


_HASHES: dict[tuple[str, str, int, int], str] = {}


def content_hash(path: str, filesystem: pyarrow.fs.FileSystem, *, remember: bool = True) -> str:
    """SHA-256 of a file's bytes, hexadecimal. remember: this process reads it again only if its size or time of change differ."""
    info = filesystem.get_file_info(path)
    key = (filesystem.type_name, path, info.size or 0, info.mtime_ns or 0)
    if remember and key in _HASHES:
        return _HASHES[key]
    hasher = hashlib.sha256()
    with filesystem.open_input_stream(path, compression=None) as stream:
        while block := stream.read(BLOCK_BYTES):
            hasher.update(block)
    if remember:
        _HASHES[key] = hasher.hexdigest()
    return hasher.hexdigest()
