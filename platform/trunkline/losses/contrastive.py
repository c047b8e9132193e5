"""Losses over vectors of texts that belong together, or do not; those that compare rows take them in groups.

Common to all: outputs [R, D] float, the vectors of every row's texts one after the other at unit length: anchor, positive,
negatives (a pair with a score: its two texts). targets `vectors` [n] int64: how many of them are whose, at least two. Rows lie
group by group. A cosine is then a dot product.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline.errors import ConfigError
from trunkline.losses.base import Loss, check_number, check_switch, check_whole, weights_of
from trunkline.registry import LOSSES


class _Texts(NamedTuple):
    """anchor, positive [n, D]; negative [H, D] of all rows, in order; row_of_negative [H]."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor
    row_of_negative: Tensor

    @property
    def cosine(self) -> Tensor:
        """Of anchor and positive [n]."""
        return (self.anchor * self.positive).sum(-1)

    @property
    def negative_cosine(self) -> Tensor:
        """Of each negative and its row's anchor [H]."""
        return (self.anchor[self.row_of_negative] * self.negative).sum(-1)

    def added_up(self, values: Tensor) -> Tensor:
        """The sum of each row's negatives' values. [H] -> [n]."""
        return values.new_zeros(len(self.anchor)).index_add(0, self.row_of_negative, values)


def _texts(outputs: Tensor, targets: Mapping[str, Tensor]) -> _Texts:
    vectors, counts = outputs.float(), targets["vectors"].long()
    first = counts.cumsum(0) - counts
    row = torch.repeat_interleave(counts, output_size=len(vectors))
    place = torch.arange(len(vectors), device=row.device) - first[row]
    wrong = (place > 1).nonzero().squeeze(1)
    return _Texts(vectors[first], vectors[first + 1], vectors[wrong], row[wrong])


class _Grouped(Loss):
    """group: how many rows are compared with each other. cached: the group may be larger than a pass holds."""

    def __init__(self, *, group: int, cached: bool) -> None:
        super().__init__()
        self.group = check_whole("group", group, 1)
        self.cached = check_switch("cached", cached)

    def size(self, rows: int) -> int:
        """Rows of each group that is here: the dummy is a group of one."""
        return min(self.group, rows)


@LOSSES.register("infonce")
class InfoNCE(_Grouped):
    """Softmax over the positives and the hard negatives of the row's group.

        value = -log( exp(a . p / t) / sum over texts c of exp(a . c / t) ),   t = temperature
        c: the positives and the negatives of ALL rows of the group, without those that are right answers of the row too

    targets `key` [n]: a hash of the positive's text; another row's positive, or a negative, with the same key is no wrong answer.
    `query_key` [n], where there is one: of the anchor's; the positive of another row with the same anchor is no wrong answer.
    `negative_key` [H]: of the negatives, where rows may have some. Returns [n] in nats. symmetric: the mean of that and of the
    same with anchors and positives exchanged (which of the group's anchors belongs to the positive; negatives take no part).
    cached: `group` may exceed what a pass holds (Gao et al., arXiv:2101.06983): its rows are dealt over packs and ranks, and
    their vectors gathered, so that the negatives come from all ranks.
    Source: van den Oord et al., arXiv:1807.03748, equation 4; in-batch Henderson et al., arXiv:1705.00652, section 4.4; hard
    negatives of the whole batch Karpukhin et al., arXiv:2004.04906, section 3.2; symmetric Radford et al., arXiv:2103.00020,
    figure 3. Departure: negatives come from the group (law 1), never from the rank's whole batch, so the loss does not depend
    on how rows are dealt.
    """

    unit = "row"
    reads = frozenset({"key", "vectors"})

    def __init__(self, *, group: int = 16, temperature: float = 0.05, symmetric: bool = False, cached: bool = False) -> None:
        super().__init__(group=group, cached=cached)
        self.temperature, self.symmetric = check_number("temperature", temperature, 1e-6), check_switch("symmetric", symmetric)

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        texts, key, size = _texts(outputs, targets), targets["key"], self.size(len(targets["key"]))
        anchor, positive, own_key = (value.unflatten(0, (-1, size)) for value in (texts.anchor, texts.positive, key))
        twin = _equal(own_key)
        if "query_key" in targets:
            twin = twin | _equal(targets["query_key"].unflatten(0, (-1, size)))
        twin = twin & ~torch.eye(size, dtype=torch.bool, device=key.device)
        scores = (anchor @ positive.transpose(1, 2) / self.temperature).masked_fill(twin, float("-inf"))  # [groups, G, G]
        wanted = torch.arange(size, device=key.device).repeat(len(scores))
        harder = self._against_negatives(texts, anchor, own_key, targets) if len(texts.negative) else scores[:, :, :0]
        values = F.cross_entropy(torch.cat([scores, harder], -1).flatten(0, 1), wanted, reduction="none")
        if self.symmetric:
            values = (values + F.cross_entropy(scores.transpose(1, 2).flatten(0, 1), wanted, reduction="none")) / 2
        return values

    def _against_negatives(self, texts: _Texts, anchor: Tensor, own_key: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Scores of every anchor with the negatives of its group [groups, G, most of a group]; -inf where there is none."""
        group = texts.row_of_negative // own_key.shape[1]
        sizes = torch.bincount(group, minlength=len(anchor))
        place = torch.arange(len(group), device=group.device) - (sizes.cumsum(0) - sizes)[group]
        shape = (len(anchor), int(sizes.max()))
        laid = texts.negative.new_zeros(*shape, texts.negative.shape[1]).index_put((group, place), texts.negative)
        key = own_key.new_zeros(shape).index_put((group, place), targets["negative_key"])
        there = torch.zeros(shape, dtype=torch.bool, device=group.device).index_put((group, place), torch.ones_like(group) > 0)
        right = own_key[:, :, None] == key[:, None, :]
        scores = anchor @ laid.transpose(1, 2) / self.temperature
        return scores.masked_fill(right | ~there[:, None, :], float("-inf"))


def _equal(keys: Tensor) -> Tensor:
    """Which rows of a group have the same key: [groups, G] -> [groups, G, G]."""
    return keys[:, :, None] == keys[:, None, :]


@LOSSES.register("cosine")
class Cosine(Loss):
    """How far cosines are from what they should be.

        pairs with a score:   (cos(a, b) - score) ** 2
        others:               mean over the row's texts of  1 - cos(a, positive),  max(0, cos(a, negative) - margin)

    targets `score` [n] float, from -1 to 1, or none. Returns [n], 0..4.
    Source: the regression objective of Reimers & Gurevych, arXiv:1908.10084, section 3, as CosineSimilarityLoss of
    sentence-transformers; torch.nn.CosineEmbeddingLoss. Departure: with several negatives a row's value is the mean over its
    texts, so that a row with many does not outweigh the others.
    """

    unit = "row"
    reads = frozenset({"vectors"})

    def __init__(self, *, margin: float = 0.0) -> None:
        super().__init__()
        self.margin = check_number("margin", margin, -1, 1)

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        texts, score = _texts(outputs, targets), targets.get("score")
        if score is not None:
            return (texts.cosine - score).square()
        wrong = texts.added_up((texts.negative_cosine - self.margin).clamp(min=0))
        return (1 - texts.cosine + wrong) / (targets["vectors"] - 1)


@LOSSES.register("triplet")
class Triplet(Loss):
    """The positive nearer to the anchor than each negative by `margin`, in cosine distance d = 1 - cos, 0..2.

        value = mean over the row's negatives of  max(0, d(a, positive) - d(a, negative) + margin)

    Rows must have a `negatives` column; one without a negative of its own has value 0, and counts. Returns [n].
    Source: Schroff, Kalenichenko & Philbin, arXiv:1503.03832, section 3.1. Departures: cosine distance where the paper has the
    squared Euclidean one of unit vectors, which is twice it; the negatives are given, none are mined.
    """

    unit = "row"
    reads = frozenset({"vectors", "negative_key"})

    def __init__(self, *, margin: float = 0.3) -> None:
        super().__init__()
        self.margin = check_number("margin", margin, 0)

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        texts = _texts(outputs, targets)
        nearer = texts.negative_cosine - texts.cosine[texts.row_of_negative] + self.margin
        return texts.added_up(nearer.clamp(min=0)) / (targets["vectors"] - 2).clamp(min=1)


@LOSSES.register("cosent")
class CoSENT(_Grouped):
    """Cosines in the order of the scores: every two rows of the group that stand the wrong way round cost.

        value = log( 1 + sum over rows i, j of the group with score[i] > score[j] of exp(scale * (cos[j] - cos[i])) )

    targets `score` [n] float, of any range: only their order counts, and equal ones are not compared. Returns [n] in nats: every
    row bears the value of its group, so that the mean over rows is the mean over groups, which the source takes for one batch.
    Source: Su, "CoSENT", kexue.fm/archives/8847 (2022); as CoSENTLoss of sentence-transformers. scale: 20 in both.
    Departure: the rows compared are those of the group (law 1), never the rank's whole batch. cached: as for `infonce`.
    """

    unit = "group"
    reads = frozenset({"score", "vectors"})

    def __init__(self, *, group: int = 16, scale: float = 20.0, cached: bool = False) -> None:
        super().__init__(group=group, cached=cached)
        self.scale = check_number("scale", scale, 0)

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        size = self.size(len(targets["score"]))
        cosine, score = (value.unflatten(0, (-1, size)) for value in (_texts(outputs, targets).cosine, targets["score"]))
        wrong = self.scale * (cosine[:, None, :] - cosine[:, :, None])  # [groups, i, j]
        wrong = wrong.masked_fill(score[:, :, None] <= score[:, None, :], float("-inf")).flatten(1)
        return F.pad(wrong, (1, 0)).logsumexp(1).repeat_interleave(size)  # the 0 in front is the 1


@LOSSES.register("matryoshka")
class Matryoshka(Loss):
    """Another loss on the vectors cut short, so that their first entries are vectors in their own right.

        value = sum over d of  weights[d] * loss( the first d entries of every vector, at unit length again )

    loss: a name, or a mapping with `kind` and that loss's arguments. dims: how many entries, each a length up to the vectors' own
    (the head's `size`). weights: one for each, by default 1. Returns [n], in the unit of the loss.
    Source: Kusupati et al., arXiv:2205.13147, equation 1, whose weights are all 1.
    """

    unit = "row"
    reads = frozenset({"vectors"})

    def __init__(self, *, loss: str | Mapping[str, Any], dims: Sequence[int], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        given = {"kind": loss} if isinstance(loss, str) else dict(loss) if isinstance(loss, Mapping) else {}
        kind = given.pop("kind", None)
        if not isinstance(kind, str) or kind == "matryoshka":
            raise ConfigError(f"loss: the name of another loss is needed, such as infonce, found {loss!r}.")
        LOSSES.check(kind, given)
        self.kind, self.loss = kind, LOSSES.get(kind)(**given)
        if not isinstance(dims, list | tuple) or not dims:
            raise ConfigError(f"dims: a list of whole numbers is needed, such as [384, 192, 96], found {dims!r}.")
        self.dims = [check_whole("dims", size, 1) for size in dims]
        self.weights = weights_of("weights", weights) or [1.0] * len(self.dims)
        if len(self.weights) != len(self.dims):
            raise ConfigError(f"weights: one for each of the {len(self.dims)} dims is needed, found {len(self.weights)}.")
        self.group, self.cached, self.signed = self.loss.group, self.loss.cached, self.loss.signed

    @property
    def applied(self) -> Collection[str]:
        return (self.kind,)

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        if max(self.dims) > outputs.shape[1]:
            raise ConfigError(f"dims: the vectors have {outputs.shape[1]} entries, found {max(self.dims)}. Lower it.")
        cut = (F.normalize(outputs[:, :size].float(), dim=-1) for size in self.dims)
        parts = (weight * self.loss(vectors, targets) for weight, vectors in zip(self.weights, cut, strict=True))
        return torch.stack(list(parts)).sum(0)
