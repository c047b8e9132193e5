"""A head as one of transformers' own: a classifier over the first token, or over every token."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trunkline.errors import ConfigError
from trunkline.export.encoder import affine, pooling_of
from trunkline.models.heads.base import Head

# The stock classes put tanh(W h + b) before the logits. With W = s I and logits' weights over s it is h within (s h)^2 / 3.
SMALL = 2.0**-13
NEAR = 1e-5


def classifier(encoder: Any, head: Head, labels: Sequence[str] | None) -> Any:
    """transformers' own model of this encoder that gives the head's outputs.

    labels: their names, None where the head gives numbers. Raises ConfigError for a head that no stock class computes; what is
    returned was compared on random tokens.
    """
    _check(head)
    form, problem = head.stock or ("", None)
    own = affine(head)
    made = _made(encoder, form, own.out_features, labels, problem)
    state = made.base_model.load_state_dict(encoder.state_dict(), strict=False)
    assert not state.unexpected_keys
    last = _first_token(made) if form == "sequence" else made.classifier
    if not isinstance(last, nn.Linear):
        raise _unknown(made)
    with torch.no_grad():
        scale = SMALL if form == "sequence" else 1.0
        last.weight.copy_(own.weight / scale)
        last.bias.copy_(own.bias)
    made.eval()
    _compare(made, encoder, head, form)
    return made


def _check(head: Head) -> None:
    kind = type(head).__name__.lower()
    if head.stock is None:
        raise ConfigError(f"transformers has no stock class for a head of kind {kind}. --format onnx may take it.")
    if head.mix is not None:
        raise ConfigError("the head mixes the trunk's layers, which no stock class does. --format onnx takes it.")
    if head.stock[0] == "sequence" and pooling_of(head) != "first":
        raise ConfigError(
            f"the head pools by '{pooling_of(head)}'; a stock class reads the first token alone. --format onnx takes it."
        )
    if getattr(head, "chain", None) is not None or getattr(head, "log_var", False):
        raise ConfigError("the head has a chain of labels or log variances, which no stock class has.")


def _made(encoder: Any, form: str, size: int, labels: Sequence[str] | None, problem: str | None) -> Any:
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    config = copy.deepcopy(encoder.config)
    names = list(labels) if labels is not None else [f"value_{number}" for number in range(size)]
    config.id2label, config.label2id = dict(enumerate(names)), {name: number for number, name in enumerate(names)}
    config.num_labels = size
    if problem is not None:
        config.problem_type = problem
    auto = AutoModelForSequenceClassification if form == "sequence" else AutoModelForTokenClassification
    try:
        return auto.from_config(config, attn_implementation="sdpa")
    except ValueError as error:
        raise ConfigError(f"transformers has no stock {form} classifier for {config.model_type}.") from error


def _first_token(model: Any) -> nn.Module | None:
    """Lets the tanh between the first token and the logits pass; the layer that gives the logits."""
    pooler = getattr(model.base_model, "pooler", None)
    dense = getattr(pooler, "dense", pooler)  # bert's, albert's
    last = model.classifier
    if not isinstance(dense, nn.Linear):
        dense, last = getattr(last, "dense", None), getattr(last, "out_proj", None)  # roberta's
    if not isinstance(dense, nn.Linear):
        raise _unknown(model)
    with torch.no_grad():
        dense.weight.copy_(SMALL * torch.eye(len(dense.weight)))
        dense.bias.zero_()
    return last


def _unknown(model: Any) -> ConfigError:
    return ConfigError(
        f"{type(model).__name__} can not be made to give this head's outputs; bert, roberta, xlm-roberta and albert can. "
        "--format onnx takes it."
    )


@torch.no_grad()
def _compare(model: Any, encoder: Any, head: Head, form: str) -> None:
    chance = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, encoder.config.vocab_size, (4, 12), generator=chance)
    hidden: Tensor = encoder(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
    wanted = affine(head)(hidden[:, 0] if form == "sequence" else hidden)
    found = model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
    if (found - wanted).abs().max() > NEAR * max(1.0, float(wanted.abs().max())):
        raise _unknown(model)
