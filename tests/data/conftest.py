"""A tiny tokenizer and a folder of tiny files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trunkline.data.sources.base import SourceContext
from trunkline.data.tokenizer import Tokenizer
from trunkline.data.vocabulary import WordPiece

TEXTS = [
    "the cat sat on the mat",
    "the dogs sat on the cats",
    "a dog and a cat walk and talk",
    "walking dogs, talking cats!",
    "猫坐在垫子上",
    "狗不在垫子上",
] * 3 + [
    "q w e r t y u i o p a s d f g h j k l z x c v b n m qwertyuiopasdfghjklzxcvbnmqwertyuiopasdfghjklzxcvbnm"
]  # every letter, first or not, is known


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return WordPiece(vocab_size=120).build(TEXTS, max_length=16)


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., Tokenizer]:
    """A tokenizer over the same texts with other limits."""
    return lambda **limits: WordPiece(vocab_size=120).build(TEXTS, **limits)


@pytest.fixture
def context(tmp_path: Path) -> SourceContext:
    return SourceContext(tmp_path)
