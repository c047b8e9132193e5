"""What a tokenizer makes of texts: rows of token ids and where in the text they come from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trunkline.data.rows import Ragged


@dataclass(frozen=True)
class Encoded:
    """Rows of token ids, special tokens included.

    tokens: int32. seconds [n] int32: where the second text begins; the row's length if there is none, or if the tokenizer
    (RoBERTa's) gives both texts one type. cut [n] bool: the row was longer than allowed. pair: whether rows have two texts.
    """

    tokens: Ragged
    seconds: np.ndarray
    cut: np.ndarray
    pair: bool = False


@dataclass(frozen=True, kw_only=True)
class EncodedWords(Encoded):
    """Rows of words. positions: first sub-token of each kept word, int32. skipped [n]: words cut off before the first kept
    one; dropped [n]: words cut off in all.
    """

    positions: Ragged
    skipped: np.ndarray
    dropped: np.ndarray


@dataclass(frozen=True)
class Spelled:
    """Token ids of texts and the characters each token stands for: starts to before ends, int32, in step with `ids`.

    cut [n] bool: the text had more tokens than were asked for.
    """

    ids: Ragged
    starts: np.ndarray
    ends: np.ndarray
    cut: np.ndarray
