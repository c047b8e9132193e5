from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, processors

from trunkline.data.rows import Ragged
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import ConfigError

MakeTokenizer = Callable[..., Tokenizer]
TEXT = "the cat sat on the mat and walked"


def lists(ragged: Ragged) -> list[list[int]]:
    return [ragged.values[a:b].tolist() for a, b in zip(ragged.starts, ragged.starts[1:], strict=False)]


def tokens(tokenizer: Tokenizer, row: list[int]) -> list[str]:
    return [tokenizer.token(number) for number in row]


def test_a_row_begins_with_cls_and_ends_with_sep(tokenizer: Tokenizer) -> None:
    rows = lists(tokenizer.encode(["the cat", "", "猫坐"]).tokens)
    assert all(row[0] == tokenizer.cls_id and row[-1] == tokenizer.sep_id for row in rows)
    assert tokens(tokenizer, rows[2]) == ["[CLS]", "猫", "坐", "[SEP]"]
    assert len(rows[1]) == 2


def test_a_row_of_one_text_has_no_second(tokenizer: Tokenizer) -> None:
    encoded = tokenizer.encode(["the cat", "a"])
    np.testing.assert_array_equal(encoded.seconds, encoded.tokens.lengths)


def test_the_second_text_of_a_pair_begins_after_the_separator(tokenizer: Tokenizer) -> None:
    encoded = tokenizer.encode(["the cat", "a"], ["a dog", "the mat"])
    for row, second in zip(lists(encoded.tokens), encoded.seconds, strict=True):
        assert row[second - 1] == tokenizer.sep_id
        assert tokenizer.sep_id not in row[second:-1]
    assert tokens(tokenizer, lists(encoded.tokens)[1]) == ["[CLS]", "a", "[SEP]", "the", "mat", "[SEP]"]


@pytest.mark.parametrize("truncate", ["right", "left"])
@pytest.mark.parametrize("max_length", [6, 7, 9])
def test_no_row_is_longer_than_max_length_and_cut_ones_are_told(
    make_tokenizer: MakeTokenizer, truncate: str, max_length: int
) -> None:
    whole, limited = make_tokenizer(max_length=100), make_tokenizer(max_length=max_length, truncate=truncate)
    first, second = ["the", TEXT, "a cat", TEXT, ""], [TEXT, "a", TEXT, TEXT, "the"]
    for pair in (None, second):
        full, cut = whole.encode(first, pair), limited.encode(first, pair)
        np.testing.assert_array_equal(cut.tokens.lengths, np.minimum(full.tokens.lengths, max_length))
        np.testing.assert_array_equal(cut.cut, full.tokens.lengths > max_length)


def test_truncation_keeps_the_end_that_was_asked_for(make_tokenizer: MakeTokenizer) -> None:
    full = lists(make_tokenizer(max_length=100).encode([TEXT]).tokens)[0]
    right = lists(make_tokenizer(max_length=8).encode([TEXT]).tokens)[0]
    left = lists(make_tokenizer(max_length=8, truncate="left").encode([TEXT]).tokens)[0]
    assert right == [*full[:7], full[-1]]
    assert left == [full[0], *full[-7:]]


def test_the_longer_text_of_a_pair_gives_way_first(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer(max_length=11)
    row = lists(tokenizer.encode(["the cat"], [TEXT]).tokens)[0]
    assert tokens(tokenizer, row)[:4] == ["[CLS]", "the", "cat", "[SEP]"] and len(row) == 11
    both = tokenizer.encode([TEXT], [TEXT])
    assert both.seconds[0] == 6 and len(both.tokens.values) == 11


@pytest.mark.parametrize("truncate", ["right", "left"])
def test_a_huge_text_gives_what_all_of_it_would(make_tokenizer: MakeTokenizer, truncate: str) -> None:
    tokenizer = make_tokenizer(max_length=16, truncate=truncate)
    words = ["cat", "dog", "walk", "talk", "mat"]
    text = " ".join(words[number % 5] for number in range(20_000))
    near_end = " ".join(text.split()[:40] if truncate == "right" else text.split()[-40:])
    spaces = "cat" + " " * 100_000 + "dog"
    assert lists(tokenizer.encode([text]).tokens) == lists(tokenizer.encode([near_end]).tokens)
    assert tokens(tokenizer, lists(tokenizer.encode([spaces]).tokens)[0]) == ["[CLS]", "cat", "dog", "[SEP]"]


def test_a_special_token_in_a_text_is_plain_characters(tokenizer: Tokenizer) -> None:
    row = lists(tokenizer.encode(["the [SEP] cat [MASK]"]).tokens)[0]
    assert row.count(tokenizer.sep_id) == 1 and tokenizer.mask_id not in row


def test_lone_surrogates_and_control_characters_do_no_harm(tokenizer: Tokenizer) -> None:
    encoded = tokenizer.encode(["the \ud800cat", "\x00\u200f\u200d", "👩\u200d👩\u200d👧", "the cat"])
    assert lists(encoded.tokens)[3] == lists(tokenizer.encode(["the cat"]).tokens)[0]
    assert tokenizer.encode_words([["\ud83d\ude00", "\udc00"]]).positions.lengths.tolist() == [2]


def test_a_word_is_found_at_its_first_sub_token(tokenizer: Tokenizer) -> None:
    words = ["the", "walkmat", "dogs", ",", "猫"]
    encoded = tokenizer.encode_words([words, [], ["cat"]])
    row = lists(encoded.tokens)[0]
    for word, position in zip(words, lists(encoded.positions)[0], strict=True):
        assert word.startswith(tokenizer.token(row[position]))
    assert encoded.positions.lengths.tolist() == [5, 0, 1] and not encoded.dropped.any()
    # Word by word is what the text would have given, since none of these words changes beside another.
    assert row == lists(tokenizer.encode(["the walkmat dogs , 猫"]).tokens)[0]


def test_a_word_without_tokens_becomes_the_unknown_one(tokenizer: Tokenizer) -> None:
    encoded = tokenizer.encode_words([["the", "\u0000", "cat"]])
    assert lists(encoded.tokens)[0][2] == tokenizer.unk_id and encoded.positions.lengths.tolist() == [3]


@pytest.mark.parametrize("truncate", ["right", "left"])
def test_words_whose_first_sub_token_is_cut_are_dropped_and_counted(make_tokenizer: MakeTokenizer, truncate: str) -> None:
    tokenizer = make_tokenizer(max_length=8, truncate=truncate)
    words = ["walkmat", "cat", "matdog", "the", "dogmat", "sat"]
    whole = make_tokenizer(max_length=100).encode_words([words])
    encoded = tokenizer.encode_words([words])
    kept = len(encoded.positions.values)
    assert 0 < kept < 6 and encoded.dropped.tolist() == [6 - kept] and encoded.cut.tolist() == [True]
    assert encoded.skipped.tolist() == ([0] if truncate == "right" else [6 - kept])
    own = words[:kept] if truncate == "right" else words[-kept:]
    row, full = lists(encoded.tokens)[0], lists(whole.tokens)[0]
    assert row[1:-1] == (full[1:7] if truncate == "right" else full[-7:-1])
    for word, position in zip(own, encoded.positions.values, strict=True):
        assert word.startswith(tokenizer.token(row[position]))


def test_byte_level_words_carry_the_space_that_leads_them() -> None:
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner.model = models.BPE({letter: number for number, letter in enumerate(letters)}, [], fuse_unk=False)
    tokenizer = Tokenizer(inner, {}, max_length=16)
    assert lists(tokenizer.encode_words([["a", "b"]]).tokens) == lists(tokenizer.encode(["a b"]).tokens)
    assert tokenizer.encode_words([["a", "b"]]).positions.values.tolist() == [0, 1]


def test_saved_and_loaded_it_gives_the_same_ids_and_key(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    again = Tokenizer.load(tmp_path, max_length=16)
    texts = [TEXT, "猫 walked!", ""]
    assert again.key == tokenizer.key and again.special == tokenizer.special
    assert lists(again.encode(texts, texts).tokens) == lists(tokenizer.encode(texts, texts).tokens)


def test_transformers_reads_the_saved_folder_and_gives_the_same_ids(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    first, second = ["the cats, walking!", "猫坐在 mat", TEXT * 4], ["a dog", "", TEXT]
    assert theirs(first, truncation=True)["input_ids"] == lists(tokenizer.encode(first).tokens)
    pair = theirs(first[:2], second[:2])
    assert pair["input_ids"] == lists(tokenizer.encode(first[:2], second[:2]).tokens)
    assert [types.index(1) for types in pair["token_type_ids"]] == tokenizer.encode(first[:2], second[:2]).seconds.tolist()
    assert (theirs.pad_token_id, theirs.mask_token_id) == (tokenizer.pad_id, tokenizer.mask_id)


def test_another_tokenizers_own_frame_is_kept(tmp_path: Path) -> None:
    # As RoBERTa has it: <s> a </s></s> b </s>, and special tokens named in tokenizer_config.json.
    inner = tokenizers.Tokenizer(
        models.WordLevel({t: n for n, t in enumerate(("<s>", "<pad>", "</s>", "<unk>", "a", "b"))}, unk_token="<unk>")
    )
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    inner.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    inner.save(str(tmp_path / "tokenizer.json"))
    names = {"cls_token": "<s>", "sep_token": {"content": "</s>"}, "pad_token": "<pad>", "unk_token": "<unk>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(names))
    tokenizer = Tokenizer.load(tmp_path, max_length=16)
    encoded = tokenizer.encode(["a a"], ["b"])
    assert encoded.tokens.values.tolist() == [0, 4, 4, 2, 2, 5, 2]
    assert encoded.seconds.tolist() == [7]  # both texts are of one type
    assert (tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id, tokenizer.mask_id) == (0, 2, 1, -1)
    assert tokenizer.normal_ids.tolist() == [4, 5]


def test_decoding_gives_the_text_back(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode(["the walking cat"]).tokens.values) == "the walking cat"


@pytest.mark.parametrize(
    ("limits", "said"),
    [({"max_length": 3}, "leaves no room"), ({"truncate": "middle"}, "no such side"), ({"max_length": -1}, "no room")],
)
def test_limits_that_make_no_sense_are_refused(make_tokenizer: MakeTokenizer, limits: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_tokenizer(**limits)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no tokenizer\.json"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="not a tokenizer"):
        Tokenizer.load(tmp_path)
