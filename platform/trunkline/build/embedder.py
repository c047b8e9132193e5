"""Whatever turns texts into vectors, opened by its path: a model, a folder of transformers, a file of word vectors."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trunkline.build.model import load_model
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import ConfigError
from trunkline.models.multitask import MultiTask
from trunkline.models.places import located
from trunkline.models.vectors import read_vectors
from trunkline.predict import Model
from trunkline.quality.suite import Embedder, looked_up
from trunkline.quality.words import Lexicon
from trunkline.registry import TRUNKS
from trunkline.tasks.catalog import Catalog

WORD = re.compile(r"\w+")
MOST_TOKENS = 512


def open_embedder(source: str, *, pooling: str = "mean", words: str | None = None, catalog: Catalog | None = None) -> Embedder:
    """source: a model folder, a folder of transformers' encoder, a file of word vectors, or `package:<import name>/<inside>` of
    one. pooling: of token states, first, last, mean or max. words: beside an .npy file, its list of words.

    Raises ConfigError for what is neither, DataError for a broken file, IntegrityError for a broken model.
    """
    path = located(source, "MODEL")
    if path.is_file():
        found = read_vectors(path, None, None if words is None else located(words, "--words"))
        return OfWords(Lexicon(list(found.words), found.values))
    if (path / "manifest.json").is_file():
        return OfTexts(load_model(path, catalog), pooling)
    if (path / "config.json").is_file() and (path / "tokenizer.json").is_file():
        return OfTexts(_encoder(path), pooling)
    raise ConfigError(
        "no model folder, no encoder of transformers (config.json, tokenizer.json) and no file of word vectors.", where=source
    )


def _encoder(folder: Path) -> Model:
    stated = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    room = min(MOST_TOKENS, stated.get("max_position_embeddings", MOST_TOKENS))
    room -= stated.get("pad_token_id", 0) + 1 if "roberta" in stated.get("model_type", "") else 0
    tokenizer = Tokenizer.load(folder, max_length=room)
    trunk = TRUNKS.get("transformer")(tokenizer.vocab_size, tokenizer.pad_id, room, pretrained=str(folder))
    return Model(MultiTask(trunk, {}).eval(), tokenizer, {}, {"tasks": {}})


class OfTexts:
    """A trunk: its states pooled over a text; a word is a text of one word."""

    def __init__(self, model: Model, pooling: str) -> None:
        self.model, self.pooling = model, pooling

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        different = list(dict.fromkeys(texts))
        place = {text: row for row, text in enumerate(different)}
        return self.model.embed(different, pooling=self.pooling)[[place[text] for text in texts]]

    def layers(self, texts: Sequence[str]) -> list[np.ndarray]:
        return self.model.layers(texts, pooling=self.pooling)

    def words(self, words: Sequence[str]) -> Lexicon:
        encoded = self.model.tokenizer.encode(list(words)).tokens
        unknown = np.concatenate([[0], np.cumsum(encoded.values == self.model.tokenizer.unk_id)])[encoded.starts]
        known = [word for word, lacking in zip(words, np.diff(unknown).tolist(), strict=True) if not lacking]
        return Lexicon(known, self.texts(known))

    def vocabulary(self, wanted: Sequence[str]) -> Lexicon:
        return self.words(wanted)


class OfWords:
    """A file of word vectors: a text is the mean of its words' vectors, 0 where none is known."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon

    @functools.cached_property
    def number(self) -> dict[str, int]:
        return dict(self.lexicon.number)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), self.lexicon.values.shape[1]), np.float32)
        for row, text in enumerate(texts):
            known = [self.number[word] for word in WORD.findall(text.lower()) if word in self.number]
            if known:
                vectors[row] = self.lexicon.values[known].mean(axis=0)
        return vectors

    def layers(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [self.texts(texts)]

    def words(self, words: Sequence[str]) -> Lexicon:
        return looked_up(self.lexicon, words)

    def vocabulary(self, wanted: Sequence[str]) -> Lexicon:
        del wanted
        return self.lexicon
