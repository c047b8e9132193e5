"""The Transformer trunk: a Hugging Face encoder run on the pack."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trunkline.batch import Batch
from trunkline.errors import ConfigError, IntegrityError
from trunkline.models import attention
from trunkline.models.base import Primed, Trunk, Words
from trunkline.models.embeddings import INITS, Settings
from trunkline.models.places import PACKAGE, located
from trunkline.models.prompt import Site
from trunkline.registry import TRUNKS, Count, Dropout


@TRUNKS.register("transformer")
class Transformer(Trunk):
    """tokens [N] of a pack -> hidden [N, D], rows kept apart.

    vocab_size, pad_id: of the tokenizer. From scratch: a `bert` encoder (or another `architecture` of transformers that
    shares its configuration words) of `hidden_size`, `layers`, `heads`; `intermediate_size` defaults to 4 * hidden_size.
    pretrained: a folder, `package:<import name>/<folder>` or hub name to start from instead. dropout: hidden dropout;
    attention has none, on purpose (the packed kernels do not know it). embeddings: see `embeddings.Settings`; a `dim` of its own
    has an architecture with a factorised table, albert or electra. positions: learned, sinusoidal (distilbert) or rotary
    (modernbert, nomic_bert); None: as the architecture has them. Encoders without transformers' attention registry
    (MPNet, DeBERTa-v2) run padded, and so does any with `packed: false`, to compare; padded rows are read whole only. Raises
    ConfigError for sizes that do not fit, IntegrityError for a folder with code in it. may_pack: whether this kind packs.
    """

    may_pack: ClassVar[bool] = True
    one_way: ClassVar[str] = "Take an encoder with transformers' attention registry (bert, roberta, modernbert), packed."

    def __init__(
        self,
        vocab_size: int,
        pad_id: int,
        max_length: int,
        *,
        hidden_size: Count = 256,
        layers: Count = 4,
        heads: Count = 4,
        intermediate_size: Count | None = None,
        architecture: str = "bert",
        dropout: Dropout = 0.1,
        positions: str | None = None,
        embeddings: Mapping[str, Any] | None = None,
        pretrained: str | None = None,
        packed: bool = True,
    ) -> None:
        super().__init__()
        self.settings = settings = Settings.of(embeddings)
        if pretrained is not None:
            self.encoder = _pretrained(pretrained, dropout)
            if settings.init is not None or settings.vectors is not None:
                raise ConfigError("trunk.pretrained brings its embeddings. Leave out embeddings.init and embeddings.vectors.")
        else:
            if hidden_size % heads:
                raise ConfigError(
                    f"trunk.hidden_size {hidden_size} is not a multiple of trunk.heads {heads}. Change one of them."
                )
            self.encoder = _from_scratch(
                architecture,
                vocab_size=vocab_size,
                pad_token_id=pad_id,
                hidden_size=hidden_size,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                intermediate_size=intermediate_size or 4 * hidden_size,
                dropout=dropout,
                max_length=max_length,
                positions=positions,
                dim=settings.dim,
            )
        config = self.encoder.config
        self.width, self.num_layers = config.hidden_size, 1 + config.num_hidden_layers
        check_positions(config, positions)
        if settings.dim not in (None, self.embeddings.weight.shape[1]):
            raise ConfigError(
                f"trunk.embeddings.dim: {config.model_type} has a table of the trunk's own width {self.width}, found "
                f"{settings.dim}. Take architecture: albert or electra, which have one of another width, or leave it out."
            )
        if settings.init is not None:
            INITS[settings.init](self.embeddings.weight.data)
        self.embeddings.weight.requires_grad_(settings.trained)
        self.packed: bool = packed and self.may_pack and bool(getattr(self.encoder, "_supports_attention_backend", False))
        if self.packed:
            self.encoder.set_attn_implementation(attention.register())
            self.sights = frozenset({-1, 0, 1})
        self.first_position = _first_position(self.encoder)
        self.knows_segments = getattr(config, "type_vocab_size", 0) > 1
        room = getattr(config, "max_position_embeddings", None)
        if room and room - self.first_position < max_length:
            raise ConfigError(
                f"train.max_length {max_length} passes the trunk's {room - self.first_position} positions. Lower max_length."
            )
        if config.vocab_size < vocab_size:
            raise ConfigError(
                f"the tokenizer has {vocab_size} tokens, the trunk knows {config.vocab_size}. They do not belong together."
            )

    @property
    def embeddings(self) -> nn.Embedding:
        found = self.encoder.get_input_embeddings()
        assert isinstance(found, nn.Embedding)
        return found

    def prime(self, words: Words) -> Primed:
        table, told = self.settings.prime(words, *self.embeddings.weight.shape)
        name = next(name for name, part in self.named_modules() if part is self.embeddings)
        return Primed({} if table is None else {f"{name}.weight": table}, told)

    @property
    def adaptable(self) -> dict[str, nn.Linear]:
        inside = {id(part) for layer in self.blocks for part in layer.modules()}
        linear = {name: part for name, part in self.encoder.named_modules() if isinstance(part, nn.Linear) and id(part) in inside}
        return linear if self.packed else {}

    @property
    def attentions(self) -> dict[str, Site]:
        named = {name: part for name, part in self.encoder.named_modules() if hasattr(part, "is_causal")} if self.packed else {}
        heads = self.encoder.config.num_attention_heads
        return {
            name: Site(part, heads, getattr(part, "attention_head_size", None) or part.head_dim) for name, part in named.items()
        }

    @property
    def probes(self) -> list[nn.Linear]:
        """The linear layers of the last block."""
        return [part for part in self.blocks[-1].modules() if isinstance(part, nn.Linear) and part.weight.requires_grad]

    def by_token(self, batch: Batch, states: Tensor) -> Tensor:
        flat = states.flatten(0, -2)
        return flat if self.packed else flat[_place(batch)]

    def forward(self, batch: Batch) -> Tensor:
        found: Tensor = self._run(batch).last_hidden_state
        return self._by_token(batch, found)

    def layers(self, batch: Batch) -> list[Tensor]:
        return [self._by_token(batch, states) for states in self._run(batch, output_hidden_states=True).hidden_states]

    def _by_token(self, batch: Batch, states: Tensor) -> Tensor:
        """The encoder's states as lines of the pack [N, D]."""
        return states.squeeze(0) if self.packed else states.flatten(0, 1)[_place(batch)]

    def _run(self, batch: Batch, **asked: bool) -> Any:
        """The encoder's outputs. Its own table is read by the encoder itself, unless something is done to the vectors first."""
        name, words = "input_ids", batch.tokens
        if not self.settings.plain:
            name, words = "inputs_embeds", self.settings.treated(self.embeddings(batch.tokens), batch, self.training)
        if not self.packed:
            return self._padded(batch, name, words, asked)
        inputs = {name: words, "position_ids": batch.positions + self.first_position}
        if self.knows_segments:
            inputs["token_type_ids"] = batch.segments
        plan = attention.Plan.of(batch.row_starts, batch.row_lengths, batch.sight)
        return self.encoder(**{name: tensor.unsqueeze(0) for name, tensor in inputs.items()}, plan=plan, **asked)

    def _padded(self, batch: Batch, name: str, words: Tensor, asked: Mapping[str, bool]) -> Any:
        """The fallback: rows padded to the longest. Costs the padding."""
        assert batch.sight is None, "padded rows are read whole"
        num_rows, longest = len(batch.row_lengths), int(batch.row_lengths.max())
        place = _place(batch)

        def spread(flat: Tensor, fill: int) -> Tensor:
            empty = flat.new_full((num_rows * longest, *flat.shape[1:]), fill)
            return empty.index_copy(0, place, flat).unflatten(0, (num_rows, longest))

        inputs = {
            name: spread(words, 0 if words.is_floating_point() else self.encoder.config.pad_token_id or 0),
            "attention_mask": spread(torch.ones_like(batch.tokens), 0),
        }
        if self.knows_segments:
            inputs["token_type_ids"] = spread(batch.segments, 0)
        return self.encoder(**inputs, **asked)

    def save(self, folder: Path) -> None:
        """Writes the Hugging Face layout: `AutoModel.from_pretrained(folder)` loads it without trunkline."""
        from transformers.utils import logging

        logging.disable_progress_bar()
        with torch.no_grad():
            self.embeddings.weight.copy_(self.settings.capped(self.embeddings.weight))  # read plainly it is the same
        self.encoder.save_pretrained(folder)

    def describe(self) -> dict[str, Any]:
        """The keyword arguments with which `build` opens this trunk again from a model folder."""
        return {"kind": "transformer", "pretrained": ".", "packed": self.packed}


def _place(batch: Batch) -> Tensor:
    """Where each token [N] lies in rows padded to the longest [R, L], flat."""
    rows = torch.arange(len(batch.row_lengths), device=batch.tokens.device)
    row = torch.repeat_interleave(rows, torch.diff(batch.row_starts), output_size=batch.num_tokens)
    return row * int(batch.row_lengths.max()) + batch.positions


def _first_position(encoder: nn.Module) -> int:
    """RoBERTa-like encoders begin counting after the padding position."""
    for name, module in encoder.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return module.padding_idx + 1
    return 0


def offered(config: Any) -> dict[str, dict[str, Any]]:
    """The kinds of positions an encoder's configuration offers, and what to set for each."""
    if getattr(config, "rope_parameters", None) or config.model_type == "roformer":
        return {"rotary": {}}
    if hasattr(config, "sinusoidal_pos_embds"):
        return {"learned": {"sinusoidal_pos_embds": False}, "sinusoidal": {"sinusoidal_pos_embds": True}}
    return {"learned": {}}


def check_positions(config: Any, wanted: str | None) -> None:
    """Raises ConfigError where the encoder has not the kind of positions that is wanted."""
    if wanted is None:
        return
    settings = offered(config).get(wanted)
    if settings is None or any(getattr(config, key) != value for key, value in settings.items()):
        raise ConfigError(
            f"trunk.positions: {config.model_type} has {' or '.join(offered(config))} positions, found {wanted!r}. "
            "Known: learned (bert and most), sinusoidal (distilbert), rotary (modernbert, nomic_bert)."
        )


def _from_scratch(
    architecture: str, *, dropout: float, max_length: int, positions: str | None, dim: int | None, **sizes: Any
) -> Any:
    from transformers import AutoConfig, AutoModel

    try:
        config = AutoConfig.for_model(architecture)
    except ValueError as error:
        raise ConfigError(
            f"trunk.architecture: transformers knows no '{architecture}'. Try bert, roberta, electra or modernbert."
        ) from error
    offset = sizes["pad_token_id"] + 1 if "roberta" in architecture else 0
    sizes["max_position_embeddings"] = max(512, max_length) + offset
    sizes |= offered(config).get(positions or "", {})
    if dim is not None and hasattr(config, "embedding_size"):
        sizes["embedding_size"] = dim
    for key, value in {**sizes, **_dropout(config, dropout)}.items():
        setattr(config, key, value)
    return _without_pooler(AutoModel.from_config(config))


def _pretrained(source: str, dropout: float) -> Any:
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    # transformers would report the pooler that a trunk leaves out, at every load.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder = _folder(source)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    for key, value in _dropout(config, dropout).items():
        setattr(config, key, value)
    settings = {"dtype": torch.float32, "trust_remote_code": False, "use_safetensors": True}
    return _without_pooler(AutoModel.from_pretrained(folder, config=config, **settings))


def _folder(source: str) -> str:
    """A local folder (checked: no code in it), a folder inside an installed package, or a hub name as it is."""
    if source.startswith(PACKAGE):
        source = str(located(source, "trunk.pretrained"))
    path = Path(source)
    if path.is_dir():
        config = path / "config.json"
        if not config.is_file():
            raise IntegrityError("no config.json here: not a model folder of transformers.", where=str(path))
        if any(path.glob("*.py")) or "auto_map" in json.loads(config.read_text()):
            raise IntegrityError("this model folder brings code (auto_map or *.py), which is never run.", where=str(path))
        if not any(path.glob("*.safetensors")):
            raise IntegrityError(
                "no *.safetensors here. Pickled weights (pytorch_model.bin) are never read: a pickle can run code. If you trust "
                "them, convert them once: AutoModel.from_pretrained(folder).save_pretrained(other), and the tokenizer likewise.",
                where=str(path),
            )
    elif path.is_absolute() or source.startswith("."):
        raise ConfigError(f"trunk.pretrained: no folder '{source}'.")
    return source


def _dropout(config: Any, dropout: float) -> dict[str, float]:
    """Every hidden dropout an encoder's configuration has set to `dropout`, attention's to 0."""
    names = {key for key in config.to_dict() if "dropout" in key and isinstance(getattr(config, key), (int, float))}
    return {name: 0.0 if "att" in name else dropout for name in names if name != "classifier_dropout"}


def _without_pooler(encoder: Any) -> Any:
    """The pooler would be parameters without a gradient, which sharded optimizers do not forgive."""
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return encoder
