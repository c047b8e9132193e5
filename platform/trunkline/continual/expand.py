"""A trained model's state in a larger model: old values bit for bit, new parameters as they were drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from trunkline.errors import IntegrityError
from trunkline.models.multitask import owner

Entries = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class Growth:
    """What became of a task's labels. old, new: all of them, in the order of the head's rows."""

    old: Sequence[str]
    new: Sequence[str]

    @property
    def places(self) -> list[int]:
        """Where each old label stands among the new ones."""
        return [list(self.new).index(label) for label in self.old]


def expanded(
    model: nn.Module, trained: Mapping[str, Tensor], moments: Mapping[str, Mapping[str, Tensor]], grown: Mapping[str, Growth]
) -> Entries:
    """The state a larger model starts from: name -> {param} and, where it was trained before and kept its shape, its moments.

    trained: the old model's parameters by name. grown: tasks whose label set grew: their heads' old rows stand bit for bit at the
    labels' new places, the head starts its own step count. Raises IntegrityError where a parameter both have has another shape,
    or the trunk of one has what that of the other lacks: another trunk or tokenizer.
    """
    found: Entries = {}
    wrong: list[str] = []
    for name, parameter in model.named_parameters():
        drawn, old, task = parameter.detach(), trained.get(name), owner(name)
        if old is None:
            wrong += [f"{name} is not in the model"] if task is None else []
            found[name] = {"param": drawn.clone()}
        elif old.shape == drawn.shape and task not in grown:
            found[name] = {"param": old.clone(), **{key: value for key, value in moments.get(name, {}).items() if key != "param"}}
        elif task is not None and task in grown and (new := _grown(drawn, old, grown[task])) is not None:
            found[name] = {"param": new}
        else:
            wrong.append(f"{name} is {list(old.shape)} in the model, {list(drawn.shape)} here")
    wrong += [f"{name} is in the model alone" for name in trained if owner(name) is None and name not in found]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise IntegrityError(
            f"the model has another trunk, tokenizer or head than this recipe: {'; '.join(wrong[:5])}{more}. "
            "Take the trunk and the heads' arguments the model was trained with."
        )
    return found


def _grown(drawn: Tensor, old: Tensor, growth: Growth) -> Tensor | None:
    """`drawn` with the old values in the old labels' places, along each dimension over the labels; None if shapes differ else."""
    if drawn.dim() != old.dim():
        return None
    pairs = list(zip(old.shape, drawn.shape, strict=True))
    over = [dim for dim, sizes in enumerate(pairs) if sizes == (len(growth.old), len(growth.new))]
    if any(a != b for dim, (a, b) in enumerate(pairs) if dim not in over):
        return None
    if not over or drawn.shape == old.shape:
        return old.clone()
    places = drawn.new_tensor(growth.places).long()
    made, piece = drawn.clone(), old
    for dim in over[1:]:
        # [C, C]: the old table is spread along its other dimension first.
        spread = made.index_select(over[0], places).clone()
        piece = spread.index_copy(dim, places, piece)
    return made.index_copy(over[0], places, piece)
