"""DeepSpeed behind few words: forward, backward, step, drop, named_state, load_moments; held, what a rank has of a parameter.

What is not trained (`requires_grad` is off) is in no group and no partition: it stays bit for bit, its moments rest beside the
engine, and it is in `named_state` all the same.

The engine owns the accumulation boundary and the scale: DeepSpeed averages gradients over ranks, so the loss is multiplied
by the world size and the gradient that is stepped with is the plain SUM of what the objective returned everywhere.
Some of the state access below is private API of deepspeed 0.19.8, pinned, and held by tests/training/test_engine.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trunkline.errors import ConfigError, IntegrityError
from trunkline.training.objective import Objective
from trunkline.training.states import bucket

MOMENTS = ("exp_avg", "exp_avg_sq")  # of an optimizer that does not say


def check_stage(optimizer: object, zero_stage: int) -> None:
    """Raises ConfigError for an optimizer (its class) that needs whole tensors where ZeRO gives it flat shards."""
    if zero_stage and not getattr(optimizer, "elementwise", True):
        kind = getattr(optimizer, "__name__", str(optimizer)).lower()
        raise ConfigError(
            f"engine.zero_stage: optimizer '{kind}' steps by whole tensors, and stage {zero_stage} leaves each rank a flat shard "
            "of them. Set engine.zero_stage to 0, or take adamw, adam, sgd, adagrad or lion."
        )


class Engine:
    """One objective, one optimizer, sharded by ZeRO `stage` 0-3.

    module: called as module(batch, factors) -> (scalar, sums). make_optimizer: groups -> torch optimizer. groups: parameter
    groups with a `name` each, one per distinct step count. clip: largest norm of the whole gradient, or None.
    The process group must exist. `state` keys parameters by their name in `root` (the model inside the module).
    """

    def __init__(
        self,
        module: Objective,
        root: nn.Module,
        groups: list[dict[str, Any]],
        make_optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer],
        *,
        zero_stage: int = 0,
        clip: float | None = 1.0,
    ) -> None:
        import deepspeed
        from deepspeed.utils import logger, set_z3_leaf_module

        if zero_stage not in (0, 1, 2, 3):
            raise ConfigError(f"engine.zero_stage must be 0, 1, 2 or 3, found {zero_stage}.")
        logger.setLevel("ERROR")
        # Serves tensor-parallel inference only, and would be compiled for 40 s at the first start on a CPU.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        self.stage, self.module = zero_stage, module
        self.sizes = {name: parameter.numel() for name, parameter in root.named_parameters()}
        self.frozen = {name: parameter for name, parameter in root.named_parameters() if not parameter.requires_grad}
        self._forward_s = 0.0
        self._resting: dict[str, dict[str, Tensor]] = {}
        self.world = torch.distributed.get_world_size()
        config = {
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,
            "gradient_clipping": clip or 0.0,  # 0 is none; left out it would be 1
            "zero_optimization": {
                "stage": zero_stage,
                "overlap_comm": False,
                "stage3_param_persistence_threshold": 0,
                "reduce_bucket_size": bucket(sum(self.sizes.values())),
            },
            "zero_allow_untested_optimizer": True,
            "steps_per_print": 1 << 60,
        }
        for part in root.modules():
            # A module that calls its own parts as often as this rank's rows need: other ranks call them otherwise.
            if getattr(part, "runs_whole", False):
                set_z3_leaf_module(part, True)
        optimizer = make_optimizer(groups)
        check_stage(type(optimizer), zero_stage)
        kept = getattr(optimizer, "moments", MOMENTS)
        self._moments = {id(p): group.get("moments", kept) for group in optimizer.param_groups for p in group["params"]}
        self.engine, *_ = deepspeed.initialize(model=module, optimizer=optimizer, config=config, dist_init_required=False)
        if self.world == 1 and zero_stage == 0:
            self.engine.enable_backward_allreduce = False  # nothing to reduce with oneself; saves a copy of every gradient
        self._names = {id(parameter): name for name, parameter in root.named_parameters()}
        self.parameters = {name: parameter for name, parameter in root.named_parameters() if parameter.requires_grad}
        self._materialise()

    @property
    def device(self) -> torch.device:
        return torch.device(self.engine.device)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups as configured, where learning rates are set."""
        return list(self._inner.param_groups)

    def forward(self, batch: Any, factors: Tensor, *, last: bool) -> tuple[Tensor, Tensor]:
        """One micro-batch; `last` says that the optimizer steps after its backward."""
        self.engine.set_gradient_accumulation_boundary(last)
        since = time.perf_counter()
        scalar, sums = self.engine(batch, factors)
        self._forward_s += time.perf_counter() - since
        return scalar, sums

    def forward_seconds(self) -> float:
        """Spent in forward passes since this was last asked."""
        seconds, self._forward_s = self._forward_s, 0.0
        return seconds

    def outputs(self, batch: Any) -> dict[str, Tensor]:
        """A look at what every head gives, without a gradient."""
        with torch.no_grad():
            found: dict[str, Tensor] = self.module.outputs(batch)
        return found

    def sums(self, batch: Any, factors: Tensor) -> Tensor:
        """A look at the tasks' loss sums [T], without a gradient."""
        with torch.no_grad():
            found: Tensor = self.module(batch, factors)[1]
        return found

    def backward(self, scalar: Tensor) -> None:
        self.engine.backward(scalar * self.world, scale_wrt_gas=False)

    def squared_norm(self) -> Tensor:
        """Of what this rank holds of the step's gradient (all of it at stage 0), after the last backward and before clipping."""
        held = self.engine.optimizer.averaged_gradients.values() if self.stage else [[p.grad for p in self.parameters.values()]]
        norms = torch._foreach_norm([gradient for group in held for gradient in group if gradient is not None])
        return torch.stack(norms).double().square().sum()

    def step(self) -> None:
        self.engine.step()

    def drop(self) -> None:
        """Forgets the gradient of a step instead of taking it; nothing else changes. As DeepSpeed does on an overflow."""
        zero = self.engine.optimizer
        if self.stage == 3:
            zero._pre_step()
            zero._partition_all_parameters()
            zero._overflow_clean_up(1.0)
        elif self.stage:
            zero.zero_grad()
            zero.micro_step_id = -1
            zero.averaged_gradients = dict.fromkeys(zero.averaged_gradients)
            zero.all_grad_tensors = dict.fromkeys(zero.all_grad_tensors)
        else:
            self.engine.zero_grad()

    def named_state(self, keep: Callable[[str], bool] = lambda _: True) -> dict[str, dict[str, Tensor]]:
        """name -> {param and the optimizer's moments: float32 like the parameter; step: scalar}, on the CPU. Collective.

        A frozen parameter's moments are those it was frozen with; one that was never trained has none, and no step.
        step stays 0 under an optimizer that counts none.
        keep: which names this rank holds on to; every rank walks through all of them, in the same order.
        """
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        steps = {id(p): self._inner.state[flat]["step"] for group, flat in self._flats() for p in group}
        state: dict[str, dict[str, Tensor]] = {}
        for name, parameter in self.parameters.items():
            if self.stage == 0:
                entry = {"param": parameter, **{key: self._inner.state[parameter][key] for key in self._moments[id(parameter)]}}
            else:
                entry = {"param": safe_get_full_fp32_param(parameter)}
                entry |= {key: safe_get_full_optimizer_state(parameter, key) for key in self._moments[id(parameter)]}
            if keep(name):
                state[name] = {key: value.detach().to("cpu", torch.float32, copy=True) for key, value in entry.items()}
                state[name]["step"] = steps[id(parameter)].detach().cpu().clone()
        for name, parameter in self.frozen.items():
            whole = self._whole(parameter)
            if keep(name):
                state[name] = {"param": whole, **self._resting.get(name, {})}
        return state

    def load_moments(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Writes optimizer moments and step counts; the PARAMETERS were loaded into the model before this engine was made.

        Names missing from `state`, or without moments there, keep zero moments and step 0 (a new head). Those of frozen
        parameters rest. Raises IntegrityError when a group mixes parameters of different step counts, which Adam's bias
        correction would get wrong.
        """
        from deepspeed.utils import safe_set_full_optimizer_state

        moved = {name: {key: entry[key] for key in entry if key not in ("param", "ema")} for name, entry in state.items()}
        self._resting = {name: moved[name] for name in self.frozen if name in moved}
        for group, flat in self._flats():
            steps = {step_of(moved.get(self._names[id(p)], {})) for p in group}
            if len(steps) != 1:
                raise IntegrityError(
                    f"one optimizer group holds parameters at steps {sorted(steps)}; each step count needs its own."
                )
            self._inner.state[flat]["step"].fill_(steps.pop())
        for name in (name for name in self.parameters if name in moved):
            parameter = self.parameters[name]
            for key in (key for key in self._moments[id(parameter)] if key in moved[name]):
                value = moved[name][key].to(self.device)
                if self.stage == 0:
                    self._inner.state[parameter][key].copy_(value)
                elif self.stage == 3:
                    self._set_part(parameter, value, key)
                else:
                    safe_set_full_optimizer_state(parameter, value, key)

    def close(self) -> None:
        """Lets go of the model, for another engine to take a fresh one with this one's `named_state`."""
        self.engine.destroy()

    def _whole(self, parameter: nn.Parameter) -> Tensor:
        """A frozen parameter [its shape], gathered where it is sharded. Collective."""
        from deepspeed.runtime.zero import GatheredParameters

        with GatheredParameters([parameter], enabled=self.stage == 3):
            return parameter.detach().to("cpu", torch.float32, copy=True)

    def held(self) -> dict[str, Tensor]:
        """name -> what this rank holds of a parameter, live: the whole; at stage 3 a flat part, padded alike on all ranks.

        To be written to as well as read: no rank keeps a gathered copy beside it.
        """
        if self.stage < 3:
            return {name: parameter.data for name, parameter in self.parameters.items()}
        self.engine.optimizer._partition_all_parameters()
        return {name: self._ds_tensor(name).data for name in self.parameters}

    def whole(self, name: str, part: Tensor) -> Tensor:
        """The parameter's shape from every rank's part of something that is divided as `held` is. Collective."""
        if self.stage < 3:
            return part
        parts = [torch.empty_like(part) for _ in range(self.world)]
        torch.distributed.all_gather(parts, part)
        parameter: Any = self.parameters[name]
        return torch.cat(parts)[: parameter.ds_numel].view(parameter.ds_shape)

    def part(self, name: str, whole: Tensor) -> Tensor:
        """What this rank holds of a tensor shaped like the parameter, as `held` is divided."""
        return whole if self.stage < 3 else self._part(whole, self._ds_tensor(name).numel())

    @property
    def _inner(self) -> torch.optim.Optimizer:
        inner: torch.optim.Optimizer = self.engine.optimizer if self.stage == 0 else self.engine.optimizer.optimizer
        return inner

    def _flats(self) -> list[tuple[list[nn.Parameter], Tensor]]:
        """Parameters and the tensor the inner optimizer holds their state under: themselves, or a flat partition."""
        zero = self.engine.optimizer
        if self.stage == 0:
            return [([p], p) for group in zero.param_groups for p in group["params"]]
        if self.stage == 3:
            return list(zip(zero.fp16_groups, zero.fp32_partitioned_groups_flat, strict=True))
        return list(zip(zero.bit16_groups, zero.single_partition_of_fp32_groups, strict=True))

    def _materialise(self) -> None:
        """Moments exist before the first step: ZeRO links them after the FIRST group's step and would miss the others."""
        for group, flat in self._flats():
            zeros = {key: torch.zeros_like(flat, requires_grad=False) for key in self._moments[id(group[0])]}
            self._inner.state[flat] = {"step": torch.zeros((), device=flat.device), **zeros}
        if self.stage in (1, 2):
            self.engine.optimizer._lazy_init_hp_params_optimizer_state()

    def _set_part(self, parameter: nn.Parameter, value: Tensor, key: str) -> None:
        """Stage 3: this rank's part of a moment."""
        from deepspeed.utils import safe_get_local_optimizer_state, safe_set_local_optimizer_state

        size = safe_get_local_optimizer_state(parameter, key).numel()
        safe_set_local_optimizer_state(parameter, self._part(value, size), key)

    def _ds_tensor(self, name: str) -> Tensor:
        """Stage 3: where DeepSpeed keeps this rank's part of a parameter."""
        parameter: Any = self.parameters[name]
        found: Tensor = parameter.ds_tensor
        return found

    def _part(self, whole: Tensor, size: int) -> Tensor:
        """Stage 3: this rank's `size` elements; the whole padded so that sizes not divisible by the world fit."""
        padded = torch.zeros(size * self.world, device=self.device)
        padded[: whole.numel()] = whole.flatten()
        rank = torch.distributed.get_rank()
        return padded[rank * size : (rank + 1) * size]


def step_of(entry: Mapping[str, Tensor]) -> float:
    """The step count of a parameter by its entry in a named state; 0 for one that was never trained."""
    return float(entry["step"]) if "step" in entry else 0.0
