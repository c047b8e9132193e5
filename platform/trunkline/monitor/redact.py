"""Secrets out of what is written down: settings by their name, values by their looks."""

from __future__ import annotations

import math
import numbers
import os
import re
from collections.abc import Mapping
from itertools import pairwise

HIDDEN = "[redacted]"
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET_WORDS = frozenset({"secret", "secrets", "password", "passwd", "passphrase", "token", "credential", "credentials"})
_SECRET_WORDS |= {"apikey", "authorization", "bearer", "cookie"}
_HARMLESS_ENDINGS = frozenset({"id", "ids", "index", "count", "size", "length", "type", "path", "file"})
_SECRET_PAIRS = frozenset(
    {("api", "key"), ("access", "key"), ("private", "key"), ("account", "key"), ("signing", "key"), ("secret", "key")}
)
_HASH_WORDS = frozenset({"commit", "revision", "sha", "sha1", "hash", "fingerprint"})
_KEY_TEXT = (
    r"\b(?:hf|ghp|gho|ghs|github_pat|glpat|sk|pk|rk|xox[abp]|wandb_v\d)[-_](?=[\w-]*\d)[\w-]{16,}"  # service tokens
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"  # AWS
    r"|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+"  # JSON web tokens
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*"
)
_KEYS = re.compile(_KEY_TEXT, re.DOTALL)
_SECRET_TEXT = re.compile(
    _KEY_TEXT + r"|\b[Bb]earer\s+\S{8,}"
    r"|(?<=://)[^/\s@]+:[^/\s@]+(?=@)"  # user:password@host
    r"|(?<=[?&])(?:[\w-]*(?:signature|token|sig|key))=[^&\s]+",  # signed addresses
    re.DOTALL | re.IGNORECASE,
)
_WANDB_KEY = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{40}(?![0-9A-Za-z])")


def secret_name(name: str) -> bool:
    """Whether a setting of this name holds a secret: `hf_token` does; `tokens_per_step`, `tokenizer`, `pad_token_id` do not."""
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words or words[-1] in _HARMLESS_ENDINGS:
        return False
    return not _SECRET_WORDS.isdisjoint(words) or any(pair in _SECRET_PAIRS for pair in pairwise(words))


def redacted(value: object, name: str = "") -> object:
    """A copy made of plain JSON values in which whatever looks like a secret reads `[redacted]`.

    name: the setting the value belongs to. A number that is not finite becomes None: JSON has no such thing.
    """
    if isinstance(value, Mapping):
        return {str(key): redacted(item, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redacted(item, name) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if secret_name(name):
        return HIDDEN
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    return redacted_text(str(value), name)


def redacted_text(text: str, name: str = "") -> str:
    """The text in which whatever looks like a secret, or is one of the environment's, reads `[redacted]`."""
    for held in _environment_secrets():
        text = text.replace(held, HIDDEN)
    text = _SECRET_TEXT.sub(HIDDEN, text)
    named = {word.lower() for word in _WORDS.findall(name)}
    return text if named & _HASH_WORDS else _WANDB_KEY.sub(HIDDEN, text)


def _environment_secrets() -> list[str]:
    """Values of environment variables named like secrets; short ones would hit by accident."""
    return [value for name, value in os.environ.items() if len(value) >= 8 and secret_name(name) and not os.path.exists(value)]


def holds_secret(text: str) -> bool:
    """Whether something in it looks like a service's key by itself. A bare hash does not: files are full of them."""
    return _KEYS.search(text) is not None
