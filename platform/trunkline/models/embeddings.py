"""Token embeddings: a table of its own width, what it starts from, and what is done to its vectors in training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from trunkline.batch import Batch
from trunkline.errors import ConfigError, DataError, nearest
from trunkline.models.base import Primed, Words
from trunkline.models.places import located
from trunkline.models.vectors import Vectors, read_vectors

Fill = Callable[[Tensor], Tensor]


def _truncated(table: Tensor) -> Tensor:
    return nn.init.trunc_normal_(table, std=0.02, a=-0.04, b=0.04)


def _scaled(table: Tensor) -> Tensor:
    return nn.init.normal_(table, std=table.shape[1] ** -0.5)


def _uniform(table: Tensor) -> Tensor:
    return nn.init.uniform_(table, -0.5 / table.shape[1], 0.5 / table.shape[1])


# BERT's normal, word2vec's uniform; `scaled` gives every vector a length of about 1, whatever its width.
INITS: Final[Mapping[str, Fill]] = {
    "normal": lambda table: nn.init.normal_(table, std=0.02),
    "truncated_normal": _truncated,
    "uniform": _uniform,
    "xavier": nn.init.xavier_uniform_,
    "orthogonal": nn.init.orthogonal_,
    "scaled": _scaled,
}
MISSING: Final = ("normal", "mean", "zero")


@dataclass(frozen=True)
class Settings:
    """What a recipe says of a trunk's token embeddings (`trunk.embeddings`).

    dim: E, entries of a vector; None: the trunk's width. init: what they start from, by name. vectors: a file of word vectors to
    start from instead, words: the list of words beside an .npy; missing: what tokens start from that the file does not have,
    `normal` with the mean and deviation of those found, entry by entry, or their `mean`, or `zero`. trained: false
    freezes the table. dropout: of single entries. word_dropout: of whole tokens, whose vector is then 0. max_norm: the longest
    a vector is read as; a longer one is scaled down wherever it is read, in the gradient too, so that ranks stay equal.
    """

    dim: int | None = None
    init: str | None = None
    vectors: str | None = None
    words: str | None = None
    missing: str = "normal"
    trained: bool = True
    dropout: float = 0.0
    word_dropout: float = 0.0
    max_norm: float | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> Settings:
        """Raises ConfigError for keys and values there are not."""
        known = {one.name for one in dataclasses.fields(cls)}
        if given is not None and not isinstance(given, Mapping):
            raise ConfigError(f"trunk.embeddings: keys and values are needed, such as {{dim: 64}}, found {given!r}.")
        for key in given or ():
            if key not in known:
                raise ConfigError(f"trunk.embeddings takes no '{key}'. {nearest(key, known)}")
        made = cls(**(given or {}))
        made.check()
        return made

    def check(self) -> None:
        if self.dim is not None and (isinstance(self.dim, bool) or not isinstance(self.dim, int) or self.dim < 1):
            raise ConfigError(f"trunk.embeddings.dim: a whole number from 1 up is needed, found {self.dim!r}.")
        for key, value, names in (("init", self.init, tuple(INITS)), ("missing", self.missing, MISSING)):
            if value is not None and value not in names:
                raise ConfigError(f"trunk.embeddings.{key}: no such start, found {value!r}. {nearest(str(value), names)}")
        for key in ("dropout", "word_dropout"):
            share = getattr(self, key)
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
                raise ConfigError(f"trunk.embeddings.{key}: a share from 0 to below 1 is needed, found {share!r}.")
        longest = self.max_norm
        if longest is not None and (isinstance(longest, bool) or not isinstance(longest, int | float) or longest <= 0):
            raise ConfigError(f"trunk.embeddings.max_norm: a length above 0 is needed, found {longest!r}.")
        if not isinstance(self.trained, bool):
            raise ConfigError(f"trunk.embeddings.trained: true or false is needed, found {self.trained!r}.")
        if self.init is not None and self.vectors is not None:
            raise ConfigError("trunk.embeddings: init and vectors are two starts of one table. Leave one out.")

    @property
    def plain(self) -> bool:
        """Nothing is done to the vectors on their way."""
        return not self.dropout and not self.word_dropout and self.max_norm is None

    def capped(self, vectors: Tensor) -> Tensor:
        """Each vector [.., E] no longer than max_norm."""
        if self.max_norm is None:
            return vectors
        return vectors * (self.max_norm / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-12)).clamp(max=1)

    def treated(self, vectors: Tensor, batch: Batch, training: bool) -> Tensor:
        """What is read of the table [N, E]: capped, and in training with words and entries left out."""
        vectors = self.capped(vectors)
        if training and self.word_dropout and batch.chance is not None:
            kept = torch.from_numpy(batch.chance >= self.word_dropout).to(vectors.device, non_blocking=True)
            vectors = vectors * kept.unsqueeze(-1)
        return nn.functional.dropout(vectors, self.dropout, training)

    def prime(self, words: Words, size: int, dim: int) -> tuple[Tensor | None, dict[str, Any]]:
        """The table [V, E] that the file gives for the run's tokens, and how much of it was found there. None without a file.

        Raises DataError for a file with none of the words, ConfigError for one of another width.
        """
        if self.vectors is None:
            return None, {}
        path = located(self.vectors, "trunk.embeddings.vectors")
        wanted = {word for word in words.spelled if word}
        found = read_vectors(
            path,
            wanted | {word.lower() for word in wanted},
            None if self.words is None else located(self.words, "trunk.embeddings.words"),
        )
        if found.dim != dim:
            raise ConfigError(
                f"{path.name} has vectors of {found.dim} entries, the table of {dim}. Set trunk.embeddings.dim: {found.dim}."
            )
        table, told = _matched(found, words, size, self.missing)
        if not told["found"] + told["found_lower_cased"]:
            raise DataError(
                f"none of the run's {told['tokens']:,} tokens is among its {found.size:,} words; the tokens are such as "
                f"{', '.join(map(repr, sorted(wanted)[:5]))}. Take vectors of this language, or a tokenizer of whole words.",
                where=path.name,
            )
        return table, {"vectors": self.vectors, **told}


def _matched(found: Vectors, words: Words, size: int, missing: str) -> tuple[Tensor, dict[str, Any]]:
    """Every token's vector, as spelled or else lower-cased; the others as `missing` says, special tokens among them."""
    row = np.full(size, -1)
    lowered = 0
    for token, word in enumerate(words.spelled):
        if word in found.words:
            row[token] = found.words[word]
        elif word and word.lower() in found.words:
            row[token] = found.words[word.lower()]
            lowered += 1
    known = row >= 0
    table = np.zeros((size, found.dim), np.float32)
    table[known] = found.values[row[known]]
    if known.any() and missing != "zero":
        table[~known] = table[known].mean(0)
        if missing == "normal":
            chance = np.random.default_rng(words.seed)
            table[~known] += table[known].std(0) * chance.standard_normal((int((~known).sum()), found.dim)).astype(np.float32)
    ordinary = sum(bool(word) for word in words.spelled)
    exact = int(known.sum()) - lowered
    told = {
        "tokens": ordinary,
        "found": exact,
        "found_lower_cased": lowered,
        "missing": ordinary - exact - lowered,
        "missing_set": missing,
        "words_in_file": found.size,
        "dim": found.dim,
    }
    return torch.from_numpy(table), told


class Embeddings(nn.Module):
    """The tokens of a pack -> vectors [N, D]: a table of V vectors of E entries, and a linear map to D where E is another width.

        vector = P ( dropout( keep[word] * capped( table[token] ) ) )

    Source: the factorised table is ALBERT's, Lan et al., arXiv:1909.11942, section 3.1; word dropout: Iyyer et al., ACL 2015,
    section 3.3, with 0 in place of the word, which keeps its place in the row.
    """

    def __init__(self, vocab_size: int, width: int, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        dim = settings.dim or width
        self.table = nn.Embedding(vocab_size, dim)
        INITS[settings.init or "normal"](self.table.weight.data)
        self.table.weight.requires_grad_(settings.trained)
        self.project = nn.Linear(dim, width, bias=False) if dim != width else None

    def forward(self, batch: Batch) -> Tensor:
        vectors = self.settings.treated(self.table(batch.tokens), batch, self.training)
        return vectors if self.project is None else self.project(vectors)  # [N, D]

    def prime(self, words: Words) -> Primed:
        """Names as in this module's state."""
        table, told = self.settings.prime(words, *self.table.weight.shape)
        return Primed({} if table is None else {"table.weight": table}, told)

    @torch.no_grad()
    def settle(self) -> None:
        """Writes max_norm into the table: read without it, the vectors are the same."""
        self.table.weight.copy_(self.settings.capped(self.table.weight))
