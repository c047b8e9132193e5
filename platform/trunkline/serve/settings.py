"""What a server is and how much one request may ask of it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Limits:
    """The most that one request may hold. size_bytes: of its body; characters: of one row; tokens: of all its rows."""

    rows: int = 256
    characters: int = 50_000
    size_bytes: int = 1 << 20
    tokens: int = 1 << 16


@dataclass(frozen=True)
class Settings:
    """What a replica is. folder: of the model. catalog: of cards whose plugins it needs. cpus: threads of one replica."""

    folder: str
    catalog: str | None = None
    limits: Limits = field(default_factory=Limits)
    replicas: int = 1
    cpus: int = 1
