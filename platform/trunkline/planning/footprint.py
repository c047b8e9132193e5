"""What a token costs a model, counted on a tiny pack of the run's own rows: bytes kept for the backward, operations, kernels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from trunkline.batch import Batch
from trunkline.build.assemble import Assembly
from trunkline.data.packing import pack
from trunkline.data.units import Units
from trunkline.models.base import Trunk
from trunkline.training.objective import factors

TINY = 1024  # tokens of the pack
FEWEST = 3  # layers below which all of them are run: one layer is what two cost beyond one


@dataclass(frozen=True)
class Counts:
    """What a forward and backward over a pack took. saved: bytes; flops: of matrix products; kernels: operators called.

    widest: bytes of the largest tensor that was kept.
    """

    saved: float
    flops: float
    kernels: float
    widest: float

    def beyond(self, other: Counts, times: int) -> Counts:
        """This, and `times` what it has more than the other."""

        def scaled(own: float, less: float) -> float:
            return own + times * max(own - less, 0.0)

        saved, flops = scaled(self.saved, other.saved), scaled(self.flops, other.flops)
        return Counts(saved, flops, scaled(self.kernels, other.kernels), self.widest)


@dataclass(frozen=True)
class Footprint:
    """Per token: `saved` bytes of activations, `widest` bytes of the largest of them, `flops`; `kernels` of a whole pass.

    layers: how many the trunk has; counted: how many were run, the others are like the last of them.
    """

    saved: float
    widest: float
    flops: float
    kernels: float
    layers: int
    counted: int


class Counting(TorchDispatchMode):
    """Counts operators and the operations of matrix products and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels, self.flops = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        packet = func.overloadpacket
        self.kernels += not func.is_view
        if packet in flop_registry:
            self.flops += flop_registry[packet](*args, **kwargs, out_val=result)
        elif packet.__name__ in ATTENTION:
            query, key = args[ATTENTION[packet.__name__]].shape, args[ATTENTION[packet.__name__] + 1].shape
            products = 2 if packet.__name__ in FORWARD else 5  # the backward works the scores out again
            self.flops += products * 2 * query[0] * query[1] * query[2] * key[2] * query[3]
        return result


FORWARD = ("_scaled_dot_product_flash_attention_for_cpu",)
# Kernels of attention that torch counts none of -> which argument is the query [G, H, L, d]; the key comes next.
ATTENTION = {FORWARD[0]: 0, "_scaled_dot_product_flash_attention_for_cpu_backward": 1}


class Saved:
    """Storages that autograd keeps for the backward, each once; but for parameters and their copies in half precision."""

    def __init__(self, model: nn.Module) -> None:
        self._known = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
        self._shapes = {tuple(sorted(parameter.shape)) for parameter in model.parameters()}
        self.sizes: dict[int, int] = {}
        self._held: list[Tensor] = []  # or an address would be given out again

    def pack(self, tensor: Tensor) -> Tensor:
        if tensor.dtype in (torch.bfloat16, torch.float16) and tuple(sorted(tensor.shape)) in self._shapes:
            return tensor
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._known and storage.data_ptr() not in self.sizes:
            self.sizes[storage.data_ptr()] = storage.nbytes()
            self._held.append(tensor)
        return tensor


def measure(built: Assembly, *, tokens: int = TINY, precision: str = "float32") -> Footprint:
    """Runs two of the trunk's layers, then one, with all heads and losses, and tells what all of them keep.

    Where layers are few, or a head mixes all of them, all are run. The model is used up. precision: as the engine's.
    """
    model, batch = built.model, _batch(built, min(tokens, built.recipe.train.tokens_per_pass))
    built.objective.precision = precision
    stack = None if any(head.mix is not None for head in map(model.head, model.tasks)) else stack_of(model.trunk)
    layers = len(model.trunk.blocks)
    if stack is None or layers < FEWEST:
        found, counted = _run(built, batch), layers
    else:
        del stack[2:]
        two = _run(built, batch)
        del stack[1:]
        found, counted = two.beyond(_run(built, batch), layers - 2), 2
    size = batch.num_tokens
    return Footprint(found.saved / size, found.widest / size, found.flops / size, found.kernels, layers, counted)


def stack_of(trunk: Trunk) -> nn.ModuleList | None:
    """The list that holds the trunk's layers, if it is made of such a list."""
    blocks = trunk.blocks
    lists = [part for part in trunk.modules() if isinstance(part, nn.ModuleList)]
    return next(
        (part for part in lists if len(part) == len(blocks) and all(a is b for a, b in zip(part, blocks, strict=True))), None
    )


def _batch(built: Assembly, tokens: int) -> Batch:
    """The first units of the run's first step, as many as `tokens` hold."""
    units = Units.of(built.stream.next_step(1))
    inside = int((units.tokens.cumsum() <= tokens).sum())
    return pack(units[: max(inside, 1)], built.tables, seed=built.recipe.seed)


def _run(built: Assembly, batch: Batch) -> Counts:
    """One forward and backward."""
    saved, mode = Saved(built.model), Counting()
    counts = {task: part.num_targets for task, part in batch.tasks.items()}
    scale = factors(torch.ones(len(counts)), counts)
    with _training(built.model), mode, saved_tensors_hooks(saved.pack, lambda tensor: tensor):
        scalar, _ = built.objective(batch, scale)
        scalar.backward()
    built.model.zero_grad(set_to_none=True)
    return Counts(sum(saved.sizes.values()), mode.flops, mode.kernels, max(saved.sizes.values(), default=0))


@contextlib.contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    """With dropout, whose masks are kept too."""
    before = model.training
    model.train()
    try:
        yield
    finally:
        model.train(before)
