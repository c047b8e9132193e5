"""A folder that sentence-transformers opens: encoder, pooling, and a contrastive task's projection, stock modules alone."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors.torch

from trunkline.errors import ConfigError
from trunkline.export.encoder import affine, pooling_of
from trunkline.models.heads.base import Head

MODES = {"first": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "last": "lasttoken"}
ALL = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")


def write_modules(folder: Path, width: int, max_length: int, pooling: str, head: Head | None) -> None:
    """Writes modules.json and what it names, beside the encoder that is in `folder`.

    head: a contrastive task's, whose projection and unit length come after the pooling, by its own pooling; None: unit length
    alone. Raises ConfigError for a learned pooling and for a head that mixes layers.
    """
    if head is not None:
        pooling = pooling_of(head) or ""
    if pooling not in MODES:
        raise ConfigError(f"sentence-transformers has no pooling '{pooling}'. Known: {', '.join(MODES)}.")
    if head is not None and head.mix is not None:
        raise ConfigError("the head mixes the trunk's layers, which sentence-transformers does not. --format onnx takes it.")
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    _json(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    stated = {f"pooling_mode_{mode}": mode == MODES[pooling] for mode in ALL}
    _json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **stated})
    if head is not None:
        modules.append(("2_Dense", "Dense"))
        _dense(folder / "2_Dense", head)
    modules.append((f"{len(modules)}_Normalize", "Normalize"))
    (folder / modules[-1][0]).mkdir()
    told = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(modules)
    ]
    _json(folder / "modules.json", told)
    _json(
        folder / "config_sentence_transformers.json", {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    )


def _dense(folder: Path, head: Head) -> None:
    linear = affine(head)
    folder.mkdir()
    stated = {
        "in_features": linear.in_features,
        "out_features": linear.out_features,
        "bias": True,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    _json(folder / "config.json", stated)
    state = {f"linear.{name}": tensor.contiguous() for name, tensor in linear.state_dict().items()}
    (folder / "model.safetensors").write_bytes(safetensors.torch.save(state, metadata={"format": "pt"}))


def _json(path: Path, value: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
