"""The optimizers by name: torch's own where it has them.

Each is handed parameter groups (`optim.parameter_groups`) whose learning rate the loop sets before every step. A class says what
it keeps of each parameter (`moments`, shaped like it) and whether a part of a parameter can be stepped without the rest
(`elementwise`): ZeRO 1-3 gives an optimizer flat shards, so one that is not elementwise runs at stage 0 only.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.adagrad import adagrad

from trunkline.errors import ConfigError
from trunkline.registry import OPTIMIZERS

Groups = list[dict[str, Any]]
ADAM = ("exp_avg", "exp_avg_sq")


def decayed(groups: Groups, weight_decay: float) -> Groups:
    """The groups with their decay written in: the group's own, or else `weight_decay`; none on biases and norms."""
    check_number("weight_decay", weight_decay)
    for group in groups:
        own = group.get("decay")
        group["weight_decay"] = (weight_decay if own is None else own) if group["decays"] else 0.0
    return groups


@OPTIMIZERS.register("adamw")
class AdamW(torch.optim.AdamW):
    """AdamW with decoupled decay on matrices only. Source: Loshchilov & Hutter, arXiv:1711.05101.

    A head absent from a step has gradient zero there: it still decays and its moments still fade, alike on any number of
    ranks.
    """

    moments: ClassVar[tuple[str, ...]] = ADAM
    elementwise: ClassVar[bool] = True

    def __init__(
        self, groups: Groups, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.01
    ) -> None:
        super().__init__(decayed(groups, weight_decay), lr=1.0, betas=(betas[0], betas[1]), eps=eps, fused=True)


@OPTIMIZERS.register("adam")
class Adam(torch.optim.Adam):
    """Adam; its decay is an L2 term in the gradient, scaled like the rest of it. Source: Kingma & Ba, arXiv:1412.6980."""

    moments: ClassVar[tuple[str, ...]] = ADAM
    elementwise: ClassVar[bool] = True

    def __init__(
        self, groups: Groups, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0
    ) -> None:
        super().__init__(decayed(groups, weight_decay), lr=1.0, betas=(betas[0], betas[1]), eps=eps, fused=True)


@OPTIMIZERS.register("sgd")
class SGD(torch.optim.SGD):
    """Stochastic gradient descent with momentum, optionally Nesterov's; its decay is an L2 term in the gradient.

    b = momentum * b + g;  p = p - lr * b. Source: Sutskever et al., ICML 2013, as torch writes it (lr outside the momentum).
    """

    moments: ClassVar[tuple[str, ...]] = ("momentum_buffer",)
    elementwise: ClassVar[bool] = True

    def __init__(self, groups: Groups, *, momentum: float = 0.9, nesterov: bool = False, weight_decay: float = 0.0) -> None:
        super().__init__(decayed(groups, weight_decay), lr=1.0, momentum=momentum, nesterov=nesterov, fused=True)


class ByGroup(torch.optim.Optimizer):
    """Steps group by group: `update` is handed a group and those of its parameters that have a gradient."""

    moments: ClassVar[tuple[str, ...]]

    def __init__(self, groups: Groups) -> None:
        super().__init__(groups, {"lr": 1.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        assert closure is None
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            for parameter in parameters:
                if not self.state[parameter]:
                    self.state[parameter]["step"] = torch.zeros(())
                    self.state[parameter] |= {key: torch.zeros_like(parameter) for key in self.moments}
            if parameters:
                self.update(group, parameters)

    @abstractmethod
    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None: ...


@OPTIMIZERS.register("adagrad")
class Adagrad(ByGroup):
    """Adagrad: each element's rate falls with the root of the sum of its squared gradients. Source: Duchi et al., JMLR 2011.

    Its decay is an L2 term in the gradient. The step is torch's; its class is not, for DeepSpeed makes one of those anew and
    loses the groups' own settings.
    """

    moments: ClassVar[tuple[str, ...]] = ("sum",)
    elementwise: ClassVar[bool] = True

    def __init__(self, groups: Groups, *, eps: float = 1e-10, weight_decay: float = 0.0) -> None:
        check_number("eps", eps)
        super().__init__(decayed(groups, weight_decay))
        self.eps = eps

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        adagrad(
            parameters,
            [p.grad for p in parameters if p.grad is not None],
            [self.state[p]["sum"] for p in parameters],
            [self.state[p]["step"] for p in parameters],
            has_sparse_grad=False,
            foreach=True,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            lr_decay=0.0,
            eps=self.eps,
            maximize=False,
        )


@OPTIMIZERS.register("lion")
class Lion(ByGroup):
    """Lion: the sign of an interpolated momentum, decoupled decay.

        p = p - lr * (sign(b1 * m + (1 - b1) * g) + weight_decay * p);   m = b2 * m + (1 - b2) * g

    Source: Chen et al., arXiv:2302.06675, program 1. Takes a rate 3 to 10 times lower than AdamW's, a decay as much higher.
    torch has none, and DeepSpeed's needs a compiler on the machine.
    """

    moments: ClassVar[tuple[str, ...]] = ("exp_avg",)
    elementwise: ClassVar[bool] = True

    def __init__(self, groups: Groups, *, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.1) -> None:
        check_betas(betas)
        super().__init__(decayed(groups, weight_decay))
        self.betas = (float(betas[0]), float(betas[1]))

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        first, second = self.betas
        gradients = [p.grad for p in parameters if p.grad is not None]
        averages = [self.state[p]["exp_avg"] for p in parameters]
        update = torch._foreach_mul(averages, first)
        torch._foreach_add_(update, gradients, alpha=1 - first)
        torch._foreach_sign_(update)
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, update, alpha=-group["lr"])
        torch._foreach_mul_(averages, second)
        torch._foreach_add_(averages, gradients, alpha=1 - second)


@OPTIMIZERS.register("lamb")
class Lamb(ByGroup):
    """LAMB: Adam's step, scaled for each tensor to the length of the tensor. For very large steps.

        u = m / (sqrt(v) + eps) + weight_decay * p   (m, v bias-corrected);   p = p - lr * |p| / |u| * u

    Source: You et al., arXiv:1904.00962, algorithm 2, phi the identity. As in the authors' own runs, norms and biases take Adam's
    step unscaled. Needs whole tensors for their lengths: stage 0.
    """

    moments: ClassVar[tuple[str, ...]] = ADAM
    elementwise: ClassVar[bool] = False

    def __init__(
        self, groups: Groups, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-6, weight_decay: float = 0.01
    ) -> None:
        check_betas(betas)
        check_number("eps", eps)
        super().__init__(decayed(groups, weight_decay))
        self.betas, self.eps = (float(betas[0]), float(betas[1])), eps

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        first, second = self.betas
        for parameter in parameters:
            state, gradient = self.state[parameter], parameter.grad
            assert gradient is not None
            state["step"] += 1
            taken = float(state["step"])
            state["exp_avg"].lerp_(gradient, 1 - first)
            state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
            root = (state["exp_avg_sq"] / (1 - second**taken)).sqrt_().add_(self.eps)
            step = (state["exp_avg"] / (1 - first**taken)).div_(root).add_(parameter, alpha=group["weight_decay"])
            if group["decays"]:
                length, wide = parameter.norm(), step.norm()
                step *= torch.where((length > 0) & (wide > 0), length / wide, 1.0)
            parameter.add_(step, alpha=-group["lr"])


@OPTIMIZERS.register("muon")
class Muon(torch.optim.Optimizer):
    """Muon on the trunk's matrices, AdamW on everything else (embeddings, norms, biases, heads).

    A matrix steps by its momentum made orthogonal, scaled so that AdamW's learning rates and decay fit. Source: Jordan, "Muon:
    an optimizer for hidden layers in neural networks" (2024); the scale is that of Liu et al., arXiv:2502.16982, section 2.2.
    Both are torch's own. Needs whole matrices: stage 0. The orthogonalisation runs in bfloat16.
    """

    moments: ClassVar[tuple[str, ...]] = ADAM
    elementwise: ClassVar[bool] = False

    def __init__(
        self,
        groups: Groups,
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
    ) -> None:
        matrices, rest = divided(decayed(groups, weight_decay))
        for group in matrices:
            group["moments"] = ("momentum_buffer",)
        super().__init__([*matrices, *rest], {"lr": 1.0})
        self.inner: list[torch.optim.Optimizer] = []
        if matrices:
            self.inner.append(torch.optim.Muon(matrices, lr=1.0, momentum=momentum, adjust_lr_fn="match_rms_adamw"))
        if rest:
            self.inner.append(torch.optim.AdamW(rest, lr=1.0, betas=(betas[0], betas[1]), eps=eps, fused=True))
        for optimizer in self.inner:
            optimizer.state = self.state  # one state, and the groups are the same objects: a rate set here is read there

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        assert closure is None
        for optimizer in self.inner:
            optimizer.step()


def divided(groups: Groups) -> tuple[Groups, Groups]:
    """The groups of the trunk's matrices, and all others; a trunk group that has both is divided, under names of their own."""
    matrices: Groups = []
    rest: Groups = []
    for group in groups:
        whole = [p for p in group["params"] if p.ndim == 2] if group["room"] == "trunk" else []
        other = [p for p in group["params"] if all(p is not kept for kept in whole)]
        if whole:
            matrices.append({**group, "params": whole})
        if other:
            rest.append({**group, "params": other, "name": f"{group['name']}:other" if whole else group["name"]})
    return matrices, rest


def check_betas(betas: tuple[float, float]) -> None:
    """Raises ConfigError unless there are two numbers from 0 to below 1."""
    plain = isinstance(betas, list | tuple) and len(betas) == 2 and all(isinstance(beta, int | float) for beta in betas)
    if not plain or not all(0 <= beta < 1 for beta in betas):
        raise ConfigError(f"betas: two numbers from 0 to below 1 are needed, found {betas!r}.")


def check_number(name: str, value: float) -> None:
    """Raises ConfigError unless it is a finite number from 0 up."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ConfigError(f"{name}: a number from 0 up is needed, found {value!r}.")
