"""Text to token ids, whole columns at a time: special tokens, pairs, truncation, words and their first sub-tokens."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from trunkline.data.encoded import Encoded, EncodedWords, Spelled
from trunkline.data.fingerprint import digest
from trunkline.data.rows import Ragged, beside
from trunkline.errors import ConfigError

SPECIAL_NAMES = ("pad", "unk", "cls", "sep", "mask")
USUAL = {
    "pad": ("[PAD]", "<pad>"),
    "unk": ("[UNK]", "<unk>"),
    "cls": ("[CLS]", "<s>"),
    "sep": ("[SEP]", "</s>"),
    "mask": ("[MASK]", "<mask>"),
}
# A longer text is first tried on this many characters per token allowed, so that a text of 10 MB costs little.
CHARACTERS_PER_TOKEN = 16


class Tokenizer:
    """A `tokenizers.Tokenizer` with a length limit, for whole columns.

    special: names (pad, unk, cls, sep, mask) -> token text. max_length: tokens of a row at most, special ones included;
    truncate: the side of a text that is cut, "right" its end, "left" its beginning. Special tokens written in a text are
    read as plain characters: nobody forges a separator. An id is -1 when the tokenizer has no such token.
    """

    def __init__(
        self, inner: tokenizers.Tokenizer, special: Mapping[str, str], *, max_length: int = 512, truncate: str = "right"
    ) -> None:
        if truncate not in ("right", "left"):
            raise ConfigError(f"truncate: no such side, found {truncate!r}. Known: left, right.")
        inner.no_truncation()
        inner.no_padding()
        self.inner, self.special, self.max_length, self.truncate = inner, dict(special), max_length, truncate
        self.key = digest([json.loads(inner.to_str()), sorted(self.special.items())])
        ids = [inner.token_to_id(self.special[name]) if name in self.special else None for name in SPECIAL_NAMES]
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (-1 if number is None else number for number in ids)
        known = sorted(inner.get_vocab(with_added_tokens=True).values())
        added = [number for number, token in inner.get_added_tokens_decoder().items() if token.special]
        self.vocab_size = known[-1] + 1
        self.special_ids = np.array(sorted({*added, *(number for number in ids if number is not None)}), np.int64)
        self.normal_ids = np.setdiff1d(np.array(known, np.int64), self.special_ids)
        self._frames = {1: self._probe(1), 2: self._probe(2)}
        self._typed = 1 in inner.encode("a", "a").type_ids
        # After probing: from here on a text's own "[SEP]" is four letters and brackets.
        inner.encode_special_tokens = True
        if max_length <= self.num_special(True):
            raise ConfigError(
                f"max_length: {max_length} leaves no room beside {self.num_special(True)} special tokens. Use 8 or more."
            )

    def _probe(self, num_texts: int) -> list[np.ndarray]:
        """The special tokens before, between and after the texts of a row."""
        encoding = self.inner.encode("a", "a" if num_texts == 2 else None)
        frame: list[list[int]] = [[] for _ in range(num_texts + 1)]
        seen = 0
        for token, text in zip(encoding.ids, encoding.sequence_ids, strict=True):
            if text is None:
                frame[seen].append(token)
            else:
                seen = text + 1
        return [np.array(part, np.int32) for part in frame]

    def num_special(self, pair: bool) -> int:
        """Special tokens of every row."""
        return sum(len(part) for part in self._frames[2 if pair else 1])

    @property
    def edges(self) -> tuple[int, int]:
        """Special tokens before and after a text that stands alone."""
        return len(self._frames[1][0]), len(self._frames[1][1])

    def encode(self, first: Sequence[str], second: Sequence[str] | None = None) -> Encoded:
        """Rows of one text, or of two; a pair that is too long loses tokens from its longer text first."""
        budget = self.max_length - self.num_special(second is not None)
        bodies = [self._ids(first, budget)] if second is None else [self._ids(first, budget), self._ids(second, budget)]
        lengths = [body.lengths for body in bodies]
        kept = [np.minimum(lengths[0], budget)] if len(bodies) == 1 else _share(lengths[0], lengths[1], budget)
        bodies = [body.keep(keep, end=self.truncate == "left") for body, keep in zip(bodies, kept, strict=True)]
        return self._rows(bodies, np.sum(lengths, axis=0) > np.sum(kept, axis=0))

    def frame(self, bodies: Sequence[np.ndarray]) -> Encoded:
        """One row of the given token ids with its special tokens."""
        return self._rows([Ragged.of([body]) for body in bodies], np.zeros(1, bool))

    def pairs(self, first: Ragged, second: Ragged) -> tuple[Encoded, np.ndarray]:
        """Rows of two texts given as token ids, and where the second one's own tokens begin in each."""
        begin = len(self._frames[2][0]) + first.lengths + len(self._frames[2][1])
        return self._rows([first, second], np.zeros(len(first), bool)), begin

    def ids(self, texts: Sequence[str], limit: int) -> tuple[Ragged, np.ndarray]:
        """At most `limit` ids of each text, without special tokens, and whether it had more; `truncate` says which are kept."""
        every = self._ids(texts, limit)
        return every.keep(np.minimum(every.lengths, limit), end=self.truncate == "left"), every.lengths > limit

    def spell(self, texts: Sequence[str], limit: int) -> Spelled:
        """The first `limit` tokens of each well-formed text with their characters, without special tokens."""
        most = CHARACTERS_PER_TOKEN * limit + 256
        found = self.inner.encode_batch([text[:most] for text in texts], add_special_tokens=False)
        for row, text in enumerate(texts):
            if len(text) > most and len(found[row].ids) <= limit:
                found[row] = self.inner.encode(text, add_special_tokens=False)
        every = _flat([encoding.ids for encoding in found])
        pairs = itertools.chain.from_iterable(encoding.offsets for encoding in found)
        places = np.fromiter(itertools.chain.from_iterable(pairs), np.int32, 2 * len(every.values))
        kept = np.minimum(every.lengths, limit)
        ids, starts, ends = (Ragged(part, every.starts).keep(kept) for part in (every.values, places[::2], places[1::2]))
        return Spelled(ids, starts.values, ends.values, every.lengths > limit)

    def _rows(self, bodies: Sequence[Ragged], cut: np.ndarray) -> Encoded:
        frame = [Ragged.same(part, len(cut)) for part in self._frames[len(bodies)]]
        tokens = beside([part for pair in itertools.zip_longest(frame, bodies) for part in pair if part is not None])
        if len(bodies) == 1 or not self._typed:
            return Encoded(tokens, tokens.lengths.astype(np.int32), cut, pair=len(bodies) == 2)
        starts = len(self._frames[2][0]) + bodies[0].lengths + len(self._frames[2][1])
        return Encoded(tokens, starts.astype(np.int32), cut, pair=True)

    def encode_words(self, rows: Sequence[Sequence[str]]) -> EncodedWords:
        """Rows of words, each tokenised by itself; a word without a token becomes the unknown one.

        A word is kept if its first sub-token is: with `truncate` left the first words go.
        """
        budget = self.max_length - self.num_special(False)
        words = list(itertools.chain.from_iterable(rows))
        num_words = np.fromiter((len(row) for row in rows), np.int64, len(rows))
        word_starts = np.concatenate([[0], np.cumsum(num_words)])
        first_words = np.zeros(len(words), bool)
        first_words[word_starts[:-1][num_words > 0]] = True
        pieces = self._words(words, first_words)
        body = Ragged(pieces.values, pieces.starts[word_starts])
        kept = np.minimum(body.lengths, budget)
        before = body.lengths - kept if self.truncate == "left" else np.zeros_like(kept)
        local = pieces.starts[:-1] - np.repeat(body.starts[:-1] + before, num_words)
        inside = (local >= 0) & (local < np.repeat(kept, num_words))
        rows_of_words = np.repeat(np.arange(len(rows)), num_words)
        counts = np.bincount(rows_of_words[inside], minlength=len(rows))
        skipped = np.bincount(rows_of_words[local < 0], minlength=len(rows))
        whole = self._rows([body.keep(kept, end=self.truncate == "left")], body.lengths > budget)
        positions = (local[inside] + len(self._frames[1][0])).astype(np.int32)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return EncodedWords(
            whole.tokens,
            whole.seconds,
            whole.cut,
            positions=Ragged(positions, starts),
            skipped=skipped,
            dropped=num_words - counts,
        )

    def _words(self, words: Sequence[str], first_words: np.ndarray) -> Ragged:
        """Sub-tokens of each word. Each distinct word is tokenised once."""
        if self._needs_space:
            words = [word if first else f" {word}" for word, first in zip(words, first_words.tolist(), strict=True)]
        index: dict[str, int] = {}
        numbers = np.fromiter((index.setdefault(word, len(index)) for word in words), np.int64, len(words))
        pieces = [ids or [self.unk_id] for ids in self._raw(list(index))]
        return Ragged.of(pieces).take(numbers)

    @functools.cached_property
    def _needs_space(self) -> bool:
        """Byte-level tokenizers mark a word's start by the space before it, and may not add one themselves."""
        return _without_prefix_space(json.loads(self.inner.to_str())["pre_tokenizer"])

    def _ids(self, texts: Sequence[str], budget: int) -> Ragged:
        """Ids of each text; of a very long one at least the `budget + 1` that decide what is kept."""
        limit = CHARACTERS_PER_TOKEN * budget + 256
        long = [row for row, text in enumerate(texts) if len(text) > limit]
        if not long:
            return _flat(self._raw(texts))
        shortened = list(texts)
        for row in long:
            shortened[row] = texts[row][-limit:] if self.truncate == "left" else texts[row][:limit]
        ids = self._raw(shortened)
        for row in long:
            if len(ids[row]) <= budget:
                ids[row] = self._raw([texts[row]])[0]
        return _flat(ids)

    def plain(self, texts: Sequence[str]) -> Ragged:
        """Ids of each text, whole and without special tokens."""
        return _flat(self._raw(texts))

    def _raw(self, texts: Sequence[str]) -> list[list[int]]:
        try:
            encodings = self.inner.encode_batch_fast(texts, add_special_tokens=False)
        except TypeError:
            encodings = self.inner.encode_batch_fast([well_formed(text) for text in texts], add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Iterable[int], *, skip_special: bool = True) -> str:
        """Text of token ids."""
        return self.inner.decode([int(number) for number in ids], skip_special_tokens=skip_special)

    def token(self, number: int) -> str:
        """One token as the vocabulary spells it."""
        return self.inner.id_to_token(int(number)) or ""

    def save(self, folder: Path | str) -> None:
        """Writes the Hugging Face layout: `AutoTokenizer.from_pretrained(folder)` gives the same ids."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        config: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": self.max_length,
            "truncation_side": self.truncate,
            "clean_up_tokenization_spaces": False,
            "model_input_names": ["input_ids", *(["token_type_ids"] if self._typed else []), "attention_mask"],
            **{f"{name}_token": text for name, text in self.special.items()},
        }
        (target / "tokenizer.json").write_text(self.inner.to_str(pretty=True), encoding="utf-8")
        (target / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str, *, max_length: int = 512, truncate: str = "right") -> Tokenizer:
        """Opens a folder in the Hugging Face layout. Raises ConfigError if it holds no `tokenizer.json`."""
        source = Path(folder)
        path = source / "tokenizer.json"
        if not path.is_file():
            raise ConfigError("no tokenizer.json here. Name a folder in the Hugging Face layout.", where=str(folder))
        try:
            inner = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:
            # The library raises plain Exception for a file it cannot parse.
            raise ConfigError(f"not a tokenizer: {error}.", where=str(path)) from error
        special: dict[str, str] = {}
        for name in ("special_tokens_map.json", "tokenizer_config.json"):
            if (source / name).is_file():
                special |= _special(json.loads((source / name).read_text(encoding="utf-8")))
        vocabulary = inner.get_vocab(with_added_tokens=True)
        for name, texts in USUAL.items():
            found = [text for text in texts if text in vocabulary]
            if name not in special and found:
                special[name] = found[0]
        return cls(inner, special, max_length=max_length, truncate=truncate)


def well_formed(text: str) -> str:
    """The text with lone surrogates (legal in JSON escapes, but no Unicode text) replaced, as a decoder would have."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _special(config: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens a Hugging Face JSON file names, as text or as an added-token mapping."""
    found = {name: config.get(f"{name}_token") for name in SPECIAL_NAMES}
    texts = {name: token["content"] if isinstance(token, dict) else token for name, token in found.items()}
    return {name: text for name, text in texts.items() if text}


def _without_prefix_space(part: Any) -> bool:
    if not isinstance(part, dict):
        return False
    if part.get("type") == "ByteLevel":
        return part.get("add_prefix_space") is False
    return any(_without_prefix_space(inner) for inner in part.get("pretokenizers", []))


def _flat(ids: list[list[int]]) -> Ragged:
    starts = np.concatenate([[0], np.cumsum([len(row) for row in ids])]).astype(np.int64)
    return Ragged(np.fromiter(itertools.chain.from_iterable(ids), np.int32, int(starts[-1])), starts)


def _share(first: np.ndarray, second: np.ndarray, budget: int) -> list[np.ndarray]:
    """Tokens each text of a pair keeps: the longer one gives way until both are equal, then both do."""
    half = budget // 2
    return [
        np.minimum(first, np.maximum(budget - second, budget - half)),
        np.minimum(second, np.maximum(budget - first, half)),
    ]
