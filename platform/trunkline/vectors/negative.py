"""Skip-gram and CBOW with negative sampling."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from trunkline.registry import VECTORS
from trunkline.vectors.base import Method, Say, Vectors, finished, number, whole
from trunkline.vectors.corpus import Corpus

CHUNK = 50_000  # words of text whose examples are made at once
POWER = 0.75


class Negative(Method):
    """A context h is to tell the word o that stands there from words drawn by chance:

        loss = -log s(u_o . h) - negative * mean over drawn n of log s(-u_n . h),    s the logistic function

    Drawn in proportion to count ** 0.75, `shared` of them for the `batch` examples of one step, which makes each step two matrix
    products (Ji et al., arXiv:1604.04661, section 3); a drawn word that is the example's own counts nothing. The step is the sum
    over its examples, at a rate that falls linearly to lr / 250. Frequent words are passed over with probability
    1 - sqrt(sample / f) - sample / f, f the word's share of the text, and the window is drawn from 1 to `window` for every word.
    Source: Mikolov et al., arXiv:1301.3781 and arXiv:1310.4546, sections 2.2 and 2.3, as in word2vec.c.
    """

    def __init__(
        self,
        *,
        dim: int = 100,
        window: int = 5,
        epochs: int = 5,
        negative: int = 5,
        sample: float = 1e-3,
        lr: float = 0.025,
        batch: int = 256,
        shared: int = 64,
    ) -> None:
        self.dim, self.window, self.epochs = whole("dim", dim), whole("window", window), whole("epochs", epochs)
        self.negative, self.sample, self.lr = whole("negative", negative), number("sample", sample), number("lr", lr)
        self.batch, self.shared = whole("batch", batch), whole("shared", shared)

    def train(self, corpus: Corpus, *, seed: int, say: Say) -> Vectors:
        rng = np.random.default_rng([seed, 0])
        size = len(corpus.words)
        start = ((rng.random((size + 1, self.dim)) - 0.5) / self.dim).astype(np.float32)
        start[size] = 0  # stands where a window has fewer words than others
        reads, tells = torch.from_numpy(start), torch.zeros(size + 1, self.dim)
        share = corpus.counts / corpus.counts.sum()
        keep = np.minimum(1.0, np.sqrt(self.sample / share) + self.sample / share)
        drawn = np.cumsum(corpus.counts**POWER)
        drawn /= drawn[-1]
        for epoch in range(self.epochs):
            rng = np.random.default_rng([seed, 1, epoch])
            kept = rng.random(len(corpus.ids)) < keep[corpus.ids]
            ids, sentence = corpus.ids[kept], corpus.sentence[kept]
            for begin in range(0, len(ids), CHUNK):
                part = slice(begin, begin + CHUNK)
                rate = self.lr * max(1 - (epoch + begin / len(ids)) / self.epochs, 1 / 250)
                self._learn(reads, tells, *self.examples(ids[part], sentence[part], size, rng), drawn, rate, rng)
            say(f"epoch {epoch + 1} of {self.epochs}: {len(ids)} of {len(corpus.ids)} words read")
        return finished(corpus, reads[:size].numpy())

    @abstractmethod
    def examples(
        self, ids: np.ndarray, sentence: np.ndarray, empty: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """contexts [E, C], filled up with `empty`, and the word each of them tells [E]."""

    def _learn(
        self,
        reads: Tensor,
        tells: Tensor,
        contexts: np.ndarray,
        words: np.ndarray,
        drawn: np.ndarray,
        rate: float,
        rng: np.random.Generator,
    ) -> None:
        order = rng.permutation(len(words))
        steps = -(-len(words) // self.batch)
        others = np.searchsorted(drawn, rng.random((steps, self.shared))).astype(np.int64)
        read, told, rivals = (
            torch.from_numpy(a) for a in (contexts[order].astype(np.int64), words[order].astype(np.int64), others)
        )
        for step in range(steps):
            part = slice(step * self.batch, (step + 1) * self.batch)
            self._step(reads, tells, read[part], told[part], rivals[step], rate)

    def _step(self, reads: Tensor, tells: Tensor, read: Tensor, told: Tensor, rivals: Tensor, rate: float) -> None:
        """One step of plain descent, its gradient written out. read [B, C], told [B], rivals [M]."""
        empty = len(reads) - 1
        if read.shape[1] == 1:
            hidden = reads[read[:, 0]]
        else:
            hidden = reads[read].sum(1) / (read != empty).sum(1, keepdim=True).clamp(min=1)
        right, wrong = tells[told], tells[rivals]  # [B, D], [M, D]
        pull = rate * torch.sigmoid(-(hidden * right).sum(1, keepdim=True))  # [B, 1]
        push = torch.sigmoid(hidden @ wrong.T).mul_(-rate * self.negative / len(rivals))  # [B, M]
        push.masked_fill_(told.unsqueeze(1) == rivals, 0.0)
        back = torch.addmm(pull * right, push, wrong)
        tells.index_add_(0, told, pull * hidden)
        tells.index_add_(0, rivals, push.T @ hidden)
        # As word2vec.c has it, every word of a context takes the whole step, although the context is their mean.
        reads.index_add_(0, read.flatten(), back.repeat_interleave(read.shape[1], 0) if read.shape[1] > 1 else back)
        reads[empty] = 0


def reached(
    ids: np.ndarray, sentence: np.ndarray, window: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each distance 1 to `window`: (places of a word, places of a word in its own drawn window), before and after."""
    wide = rng.integers(1, window + 1, len(ids))
    for distance in range(1, window + 1):
        near = np.flatnonzero(sentence[distance:] == sentence[:-distance])
        far = near + distance
        after, before = wide[near] >= distance, wide[far] >= distance
        yield near[after], far[after]
        yield far[before], near[before]


@VECTORS.register("skipgram")
class SkipGram(Negative):
    """Skip-gram: each word of a window alone tells the word in its middle. Source: Mikolov et al., arXiv:1310.4546."""

    def examples(
        self, ids: np.ndarray, sentence: np.ndarray, empty: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        del empty  # every context is one word
        pairs = list(reached(ids, sentence, self.window, rng))
        middle, other = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
        return ids[other][:, None], ids[middle]


@VECTORS.register("cbow")
class CBOW(Negative):
    """CBOW: the mean of a window's words tells the word in its middle. Source: Mikolov et al., arXiv:1301.3781, section 3.1."""

    def examples(
        self, ids: np.ndarray, sentence: np.ndarray, empty: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        found = np.full((len(ids), 2 * self.window), empty, ids.dtype)
        for column, (middle, other) in enumerate(reached(ids, sentence, self.window, rng)):
            found[middle, column] = ids[other]
        some = (found != empty).any(1)
        return found[some], ids[some]
