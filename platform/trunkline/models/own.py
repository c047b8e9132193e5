"""Trunks of our own: how their weights lie in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final

import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from trunkline.errors import ConfigError, IntegrityError
from trunkline.models.base import Primed, Trunk, Words
from trunkline.models.embeddings import Embeddings, Settings
from trunkline.models.places import located

SCHEMA_VERSION: Final = 1
STATE, SIZES = "trunk.safetensors", "trunk.json"


class Own(Trunk):
    """A trunk whose folder is trunk.json (its kind and sizes) and trunk.safetensors.

    kind: its registered name. `sizes` are the arguments that its weights depend on; `pretrained` names a folder whose sizes and
    weights are taken instead of the given ones, a path or `package:<import name>/<folder>`. A class calls `begin` first, makes
    `embed` with `table` and its layers, and calls `open` last.
    """

    kind: ClassVar[str]
    embed: Embeddings

    def begin(
        self, vocab_size: int, pretrained: str | None, embeddings: Mapping[str, Any] | None, **sizes: Any
    ) -> dict[str, Any]:
        """The sizes to build with: as given, or those of the folder. Raises ConfigError where the folder does not fit."""
        self.folder = None if pretrained is None else located(pretrained, "trunk.pretrained")
        self.settings = Settings.of(embeddings)
        self.sizes = {**sizes, "dim": self.settings.dim}
        if self.folder is not None:
            if self.settings.init is not None or self.settings.vectors is not None:
                raise ConfigError("trunk.pretrained brings its embeddings. Leave out embeddings.init and embeddings.vectors.")
            stored = self._stored(self.folder, vocab_size)
            if self.settings.dim not in (None, stored["dim"]):
                raise ConfigError(
                    f"trunk.embeddings.dim: the trunk in {self.folder} has {stored['dim']}, found {self.settings.dim}."
                )
            self.sizes = stored
        self.settings = replace(self.settings, dim=self.sizes["dim"])
        self.vocab_size = vocab_size
        return self.sizes

    def _stored(self, folder: Path, vocab_size: int) -> dict[str, Any]:
        if not (folder / SIZES).is_file():
            raise ConfigError(f"trunk.pretrained: no {SIZES} in '{folder}'. Name the `trunk` folder of a model.")
        try:
            about: dict[str, Any] = json.loads((folder / SIZES).read_text(encoding="utf-8"))
            kind, known, sizes = about["kind"], about["vocab_size"], dict(about["sizes"])
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(f"{SIZES} can not be read: {error}.", where=str(folder)) from error
        if kind != self.kind:
            raise ConfigError(f"trunk.pretrained: '{folder}' holds a {kind} trunk. Write kind: {kind}.")
        if known != vocab_size:
            raise ConfigError(f"the tokenizer has {vocab_size} tokens, the trunk knows {known}. They do not belong together.")
        return sizes

    def table(self, width: int) -> Embeddings:
        """The token embeddings, for states of this width."""
        return Embeddings(self.vocab_size, width, self.settings)

    def open(self) -> None:
        """Loads the folder's weights, if there is one. Raises IntegrityError where they are not those of trunk.json."""
        if self.folder is None:
            return
        try:
            self.load_state_dict(safetensors.torch.load_file(self.folder / STATE))
        except (OSError, RuntimeError, SafetensorError) as error:
            raise IntegrityError(f"{STATE} does not fit {SIZES}: {error}.", where=str(self.folder)) from error

    @property
    def embeddings(self) -> nn.Module:
        return self.embed

    def prime(self, words: Words) -> Primed:
        primed = self.embed.prime(words)
        return Primed({f"embed.{name}": tensor for name, tensor in primed.tensors.items()}, primed.told)

    def save(self, folder: Path) -> None:
        self.embed.settle()
        state = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        (folder / STATE).write_bytes(safetensors.torch.save(state))
        about = {"schema_version": SCHEMA_VERSION, "kind": self.kind, "vocab_size": self.vocab_size, "sizes": self.sizes}
        (folder / SIZES).write_text(json.dumps(about, indent=1), encoding="utf-8")

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "pretrained": "."}


def check_size(key: str, value: Any, least: int = 1) -> int:
    """Raises ConfigError unless `value` is a whole number, `least` or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"trunk.{key}: a whole number from {least} up is needed, found {value!r}.")
    return value


def check_share(key: str, value: Any) -> float:
    """Raises ConfigError unless `value` is a share from 0 to below 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ConfigError(f"trunk.{key}: a share from 0 to below 1 is needed, found {value!r}.")
    return float(value)
