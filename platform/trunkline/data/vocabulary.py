"""Tokenizers by name: trained on a run's own text, or taken from a folder, a package or a hub.

The same texts give the same file, on any number of threads: the library's own WordPiece and end-of-word BPE trainers number
their sub-word letters in the order of a randomly seeded hash map, so their merges differ from run to run. Ours only ever
hands the trainer plain letters, which it sorts.
"""

from __future__ import annotations

import importlib.util
import itertools
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar, TypeVar

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from trunkline.data.tokenizer import Tokenizer, well_formed
from trunkline.errors import ConfigError, MissingExtra
from trunkline.registry import TOKENIZERS

SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
# Private-use planes 15 and 16 stand for letters inside a word while WordPiece is trained.
PRIVATE = 0xF0000
MAX_ALPHABET = 0x1FFF0
MAX_WORD_LETTERS = 100  # the WordPiece model reads a longer word as unknown

Item = TypeVar("Item", str, tuple[str, str])


class Vocabulary(ABC):
    """How a tokenizer comes about. needs_texts: whether `build` reads its texts."""

    needs_texts: ClassVar[bool] = True

    @abstractmethod
    def build(self, texts: Iterable[str], *, max_length: int = 512, truncate: str = "right") -> Tokenizer:
        """The tokenizer, with the run's limit on row length."""


class Trained(Vocabulary):
    """A tokenizer trained on the given texts, with [CLS] text [SEP] (text [SEP]) around them."""

    def __init__(self, vocab_size: int, alphabet: int) -> None:
        if vocab_size < len(SPECIAL) + 2:
            raise ConfigError(f"vocab_size: {vocab_size} is too small. Use {len(SPECIAL) + 2} or more.")
        if not 0 < alphabet <= MAX_ALPHABET:
            raise ConfigError(f"limit_alphabet: found {alphabet}. Use 1 to {MAX_ALPHABET}.")

    @abstractmethod
    def train(self, texts: Iterable[str]) -> tokenizers.Tokenizer: ...

    def build(self, texts: Iterable[str], *, max_length: int = 512, truncate: str = "right") -> Tokenizer:
        inner = self.train(map(well_formed, texts))
        inner.add_special_tokens(list(SPECIAL.values()))
        inner.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[(token, inner.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
        )
        return Tokenizer(inner, SPECIAL, max_length=max_length, truncate=truncate)


@TOKENIZERS.register("wordpiece")
class WordPiece(Trained):
    """BERT's: words at spaces and punctuation, every Chinese character a word; inside a word, `##` before each further piece.

    limit_alphabet: the most frequent characters that are kept; Chinese needs thousands. min_frequency: a pair of pieces seen
    less often is never merged. Source: Devlin et al., NAACL 2019; trained by merging the most frequent pair (BPE), as
    `tokenizers` does. lowercase also strips accents.
    """

    def __init__(
        self, *, vocab_size: int = 8000, lowercase: bool = True, min_frequency: int = 2, limit_alphabet: int = 6000
    ) -> None:
        super().__init__(vocab_size, limit_alphabet)
        self.vocab_size, self.lowercase = vocab_size, lowercase
        self.min_frequency, self.limit_alphabet = min_frequency, limit_alphabet

    def train(self, texts: Iterable[str]) -> tokenizers.Tokenizer:
        normalizer = normalizers.BertNormalizer(lowercase=self.lowercase)
        words = _count_words(map(normalizer.normalize_str, texts))
        pieces = [*SPECIAL.values(), *self._pieces(words)]
        inner = tokenizers.Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
        inner.normalizer = normalizer
        inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        inner.decoder = decoders.WordPiece()
        return inner

    def _pieces(self, words: Counter[str]) -> list[str]:
        """Letters, then merged pieces in the order of their merging; never more than fit `vocab_size`."""
        room = self.vocab_size - len(SPECIAL)
        starts, inside = self._letters(words, room)
        private = {letter: chr(PRIVATE + number) for number, letter in enumerate(inside)}
        public = {code: letter for letter, code in private.items()}
        bpe = tokenizers.Tokenizer(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        trainer = trainers.BpeTrainer(vocab_size=room, min_frequency=self.min_frequency, show_progress=False)
        known, inner = set(starts), set(inside)
        spelled = (
            (word[0] + "".join(private[letter] for letter in word[1:]), count)
            for word, count in sorted(words.items())
            if word[0] in known and inner.issuperset(word[1:]) and len(word) <= MAX_WORD_LETTERS
        )
        bpe.train_from_iterator((" ".join([word] * part) for word, count in spelled for part in _portions(count)), trainer)
        merged = [token for token, _ in sorted(bpe.get_vocab().items(), key=lambda item: item[1]) if len(token) > 1]
        pieces = [*starts, *(f"##{letter}" for letter in inside)]
        for token in merged[: room - len(pieces)]:
            letters = "".join(public.get(letter, letter) for letter in token)
            pieces.append(f"##{letters}" if token[0] in public else letters)
        return pieces

    def _letters(self, words: Counter[str], room: int) -> tuple[list[str], list[str]]:
        """The letters kept as a word's first and as a further one, each sorted."""
        first: Counter[str] = Counter()
        further: Counter[str] = Counter()
        for word, count in words.items():
            first[word[0]] += count
            for letter in word[1:]:
                further[letter] += count
        letters = Counter({letter: n for letter, n in (first + further).items() if ord(letter) < PRIVATE})
        kept = {letter for letter, _ in _ranked(letters)[: self.limit_alphabet]}
        units = _ranked(
            Counter({("", letter): n for letter, n in first.items()} | {("##", letter): n for letter, n in further.items()})
        )
        chosen = [unit for unit, _ in units if unit[1] in kept][:room]
        return sorted(x for mark, x in chosen if not mark), sorted(x for mark, x in chosen if mark)


@TOKENIZERS.register("bpe")
class Bpe(Trained):
    """Byte-pair encoding over characters; a space is the letter `▁` before the word it leads, punctuation stands alone.

    Source: Sennrich, Haddow & Birch, ACL 2016, with SentencePiece's mark instead of an end-of-word one. Text is NFKC.
    """

    def __init__(
        self, *, vocab_size: int = 8000, lowercase: bool = False, min_frequency: int = 2, limit_alphabet: int = 6000
    ) -> None:
        super().__init__(vocab_size, limit_alphabet)
        self.vocab_size, self.lowercase = vocab_size, lowercase
        self.min_frequency, self.limit_alphabet = min_frequency, limit_alphabet

    def train(self, texts: Iterable[str]) -> tokenizers.Tokenizer:
        steps = [normalizers.NFKC(), normalizers.Lowercase()] if self.lowercase else [normalizers.NFKC()]
        normalizer = normalizers.Sequence(steps)
        normal = [normalizer.normalize_str(text) for text in texts]
        letters: Counter[str] = Counter()
        for text in normal:
            letters.update(text)
        ranked = [letter for letter, _ in _ranked(letters)]
        room = min(self.limit_alphabet, self.vocab_size - len(SPECIAL) - 1)
        rare = str.maketrans(dict.fromkeys(ranked[room:]))
        inner = tokenizers.Tokenizer(models.BPE(unk_token="[UNK]"))
        inner.normalizer = normalizer
        inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
        inner.decoder = decoders.Metaspace()
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocab_size,
            min_frequency=self.min_frequency,
            special_tokens=list(SPECIAL.values()),
            show_progress=False,
        )
        inner.train_from_iterator((text.translate(rare) for text in normal), trainer)
        return inner


@TOKENIZERS.register("byte_bpe")
class ByteBpe(Trained):
    """Byte-pair encoding over UTF-8 bytes: nothing is ever unknown. Source: Radford et al. 2019 (GPT-2), section 2.2."""

    def __init__(self, *, vocab_size: int = 8000, min_frequency: int = 2) -> None:
        super().__init__(vocab_size, 256)
        if vocab_size < 256 + len(SPECIAL):
            raise ConfigError(f"vocab_size: {vocab_size} can not hold all bytes. Use {256 + len(SPECIAL)} or more.")
        self.vocab_size, self.min_frequency = vocab_size, min_frequency

    def train(self, texts: Iterable[str]) -> tokenizers.Tokenizer:
        inner = tokenizers.Tokenizer(models.BPE())
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        inner.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocab_size,
            min_frequency=self.min_frequency,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            special_tokens=list(SPECIAL.values()),
            show_progress=False,
        )
        inner.train_from_iterator(texts, trainer)
        return inner


@TOKENIZERS.register("words")
class Words(Trained):
    """Whole words at spaces and punctuation, every Chinese character a word; the most frequent ones are kept."""

    def __init__(self, *, vocab_size: int = 30000, lowercase: bool = True, min_frequency: int = 1) -> None:
        super().__init__(vocab_size, MAX_ALPHABET)
        self.vocab_size, self.lowercase, self.min_frequency = vocab_size, lowercase, min_frequency

    def train(self, texts: Iterable[str]) -> tokenizers.Tokenizer:
        normalizer = normalizers.BertNormalizer(lowercase=self.lowercase)
        ranked = _ranked(_count_words(map(normalizer.normalize_str, texts)))
        kept = [word for word, count in ranked if count >= self.min_frequency and word not in SPECIAL.values()]
        pieces = [*SPECIAL.values(), *kept[: self.vocab_size - len(SPECIAL)]]
        inner = tokenizers.Tokenizer(models.WordLevel({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
        inner.normalizer = normalizer
        inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return inner


@TOKENIZERS.register("pretrained")
class Pretrained(Vocabulary):
    """A tokenizer that exists. source: a folder, `package:<import name>/<sub folder>`, or a name on the Hugging Face hub."""

    needs_texts: ClassVar[bool] = False

    def __init__(self, *, source: str) -> None:
        self.source = source

    def build(self, texts: Iterable[str] = (), *, max_length: int = 512, truncate: str = "right") -> Tokenizer:
        del texts
        return Tokenizer.load(model_folder(self.source), max_length=max_length, truncate=truncate)


def model_folder(source: str) -> Path:
    """The local folder a pretrained `source` names; a hub name is downloaded (tokenizer files only)."""
    if source.startswith("package:"):
        name, _, below = source.removeprefix("package:").partition("/")
        found = importlib.util.find_spec(name)
        if found is None or not found.submodule_search_locations:
            raise MissingExtra(name.replace("_", "-"))
        return Path(found.submodule_search_locations[0]) / below
    if Path(source).is_dir():
        return Path(source)
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise ConfigError("no such folder.", where=source)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source, allow_patterns=["tokenizer*.json", "special_tokens_map.json"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise ConfigError(f"no folder of this name and the hub does not give it: {error}", where=source) from error


class _Isolated(dict[int, str]):
    """Translation table that puts spaces around what BERT calls punctuation: ASCII symbols and Unicode's P categories."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        ascii_symbol = code < 128 and letter.isprintable() and not letter.isalnum() and letter != " "
        self[code] = f" {letter} " if ascii_symbol or unicodedata.category(letter).startswith("P") else letter
        return self[code]


def _count_words(texts: Iterable[str]) -> Counter[str]:
    """Words of normalised texts, cut as BertPreTokenizer cuts them."""
    table = _Isolated()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(text.translate(table).split())
    return words


def _ranked(counts: Counter[Item]) -> list[tuple[Item, int]]:
    """Most frequent first, equal ones in their own order."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _portions(count: int) -> Iterator[int]:
    """`count` in parts small enough to be one line of text."""
    return itertools.chain(itertools.repeat(4096, count // 4096), [count % 4096])
