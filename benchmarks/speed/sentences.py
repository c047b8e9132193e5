"""sentence-transformers on its own workload, pairs under MultipleNegativesRankingLoss, beside the same as a task of ours."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from benchmarks.speed.ours import CLIP, HEADS, LAYERS, LONGEST, RATE, WIDTH, Trained
from benchmarks.speed.trainer import Between
from benchmarks.speed.work import VOCAB, Work, lengths
from torch import Tensor, nn
from torch.utils.data import BatchSampler, SequentialSampler

from trunkline.data.packing import Table
from trunkline.data.rows import Ragged, Rows, beside
from trunkline.data.units import Unit, Units
from trunkline.losses.contrastive import InfoNCE
from trunkline.models.heads.contrastive import Contrastive
from trunkline.models.multitask import MultiTask
from trunkline.models.transformer import Transformer
from trunkline.training.objective import Objective

SHAPES = ((12.0, 0.35, 4, 48), (56.0, 0.45, 12, 200))  # tokens of a question, and of the passage that answers it
BATCH, TEMPERATURE, TASK = 64, 0.05, "pairs"


class Pairs(Work):
    """Steps of one group of `BATCH` pairs each."""

    @property
    def _group(self) -> np.ndarray:
        return np.arange(BATCH)

    def texts(self, step: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Question and passage of each pair of a step."""
        rows = self.tables[TASK].rows
        found = []
        for row in step * BATCH + self._group:
            tokens = rows.tokens.values[rows.tokens.starts[row] : rows.tokens.starts[row + 1]]
            found.append((tokens[: rows.lengths.values[2 * row]], tokens[rows.lengths.values[2 * row] :]))
        return found

    def units(self, step: int) -> Units:
        rows = step * BATCH + self._group
        return Units.of([Unit(TASK, rows, np.zeros(BATCH, np.int64), int(self.tables[TASK].rows.tokens.lengths[rows].sum()))])


def pairs(steps: int, *, seed: int = 0) -> Pairs:
    """Random tokens in texts of `SHAPES`."""
    rng, count = np.random.default_rng(seed), steps * BATCH
    texts = [Ragged.of([rng.integers(5, VOCAB, size) for size in lengths(shape, count, rng)]) for shape in SHAPES]
    sizes = beside([Ragged.single(own.lengths.astype(np.int32)) for own in texts])
    targets = {"key": np.arange(count), "vectors": np.full(count, 2)}
    rows = Rows(beside(texts), sizes, sizes, np.ones(count, np.int32), targets)
    table = Table(rows, lambda given, _: (given.tokens.values, dict(given.targets)), rows.take(np.array([0])))
    return Pairs({TASK: table}, [[(TASK, 0)] * BATCH] * steps)


def model() -> MultiTask:
    torch.manual_seed(0)
    trunk = Transformer(VOCAB, 0, LONGEST, hidden_size=WIDTH, layers=LAYERS, heads=HEADS, dropout=0.0)
    return MultiTask(trunk, {TASK: Contrastive(WIDTH, pooling="mean")})


def ours(work: Pairs) -> Trained:
    """The task through our step; a group is one pass."""
    module = Objective(model(), {TASK: InfoNCE(group=BATCH, temperature=TEMPERATURE)})
    return Trained(work, module, tokens_per_pass=1 << 16)


class Encoder(nn.Module):
    """The same encoder on padded tokens, as a module of sentence-transformers."""

    def __init__(self, net: MultiTask) -> None:
        super().__init__()
        self.encoder: Any = copy.deepcopy(net.trunk.encoder)
        self.encoder.set_attn_implementation("sdpa")

    def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        found = self.encoder(input_ids=features["input_ids"], attention_mask=features["attention_mask"])
        return {**features, "token_embeddings": found.last_hidden_state}


def theirs() -> Any:
    """A SentenceTransformer of the same weights: the encoder, mean pooling, the head's affine map."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    net = model()
    linear = net.head(TASK).out
    return SentenceTransformer(modules=[Encoder(net), Pooling(WIDTH, "mean"), Map(linear)], device="cpu")


class Map(nn.Module):
    """An affine map of the sentence's vector."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = copy.deepcopy(linear)

    def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        return {**features, "sentence_embedding": self.linear(features["sentence_embedding"])}


class Collate:
    """Dynamic padding of questions and of passages, each to its longest; tokens were made before, for both sides."""

    valid_label_columns = ("label",)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        found = {}
        for name in ("anchor", "positive"):
            ids = nn.utils.rnn.pad_sequence([torch.tensor(row[name]) for row in rows], batch_first=True)
            sizes = torch.tensor([len(row[name]) for row in rows])
            found[f"{name}_input_ids"] = ids
            found[f"{name}_attention_mask"] = (torch.arange(ids.shape[1]) < sizes[:, None]).long()
        return found


def in_order(dataset: Any, batch_size: int, drop_last: bool, **_: Any) -> BatchSampler:
    return BatchSampler(SequentialSampler(dataset), batch_size, drop_last)


def train(work: Pairs, *, between: Callable[[], None]) -> Iterator[float]:
    """Trains over all steps, calling `between` after each. Returns each step's loss."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    net, seen = theirs(), list[float]()

    class Seen(MultipleNegativesRankingLoss):
        """Keeps the losses."""

        def forward(self, *given: Any, **named: Any) -> Tensor:
            loss: Tensor = super().forward(*given, **named)
            seen.append(float(loss.detach()))
            return loss

    rows = [pair for step in range(len(work.steps)) for pair in work.texts(step)]
    columns = {"anchor": [pair[0].tolist() for pair in rows], "positive": [pair[1].tolist() for pair in rows]}
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            weight_decay=0.0,
            max_grad_norm=CLIP,
            optim="adamw_torch_fused",
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            batch_sampler=in_order,
        )
        trainer = SentenceTransformerTrainer(
            model=net,
            args=arguments,
            train_dataset=Dataset.from_dict(columns),
            loss=Seen(net, scale=1 / TEMPERATURE),
            data_collator=Collate(),
            callbacks=[Between(between)],
        )
        trainer.train()
    return iter(seen)
