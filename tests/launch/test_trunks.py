"""Trunks of our own through whole runs: started from a file of vectors, resumed, opened, taken up by another run; bad input."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import trunkline
from small_project import WORDS, write_project
from trunkline import checkpoint
from trunkline.cli.app import main
from trunkline.models.transformer import Transformer

VECTORS = {word: [float(number), 1.0, -0.5 * number] for number, word in enumerate(WORDS[:-2])}
FROZEN = "{kind: gru, hidden_size: 8, dropout: 0.1, embeddings: {dim: 3, vectors: V, trained: false, word_dropout: 0.1}}"
BILM = "{kind: bilm, hidden_size: 8, dropout: 0.0}"
BOTH = """
name: both
data: {format: jsonl, rows: ../topic/rows.jsonl, split: {by: text, validation: 25, test: 0}}
inputs: [text]
head: {kind: bilm}
"""


def project(folder: Path, trunk: str, *, tasks: str = "[topic, tags]", steps: int = 6) -> Path:
    """The small project with another trunk, whole words as tokens, and a task for a bidirectional language model."""
    recipe = write_project(folder)
    (folder / "v.txt").write_text("".join(f"{word} {' '.join(map(str, row))}\n" for word, row in VECTORS.items()))
    lines = []
    for line in recipe.read_text().splitlines():
        key = line.partition(":")[0]
        new = {"trunk": trunk.replace("V", str(folder / "v.txt")), "tokenizer": "{kind: words}", "tasks": tasks}
        lines.append(
            f"{key}: {new[key]}" if key in new else line.replace("steps: 20", f"steps: {steps}").replace("every: 5", "every: 3")
        )
    recipe.write_text("\n".join(lines) + "\n")
    (folder / "tasks" / "both").mkdir()
    (folder / "tasks" / "both" / "card.yaml").write_text(BOTH.lstrip())
    card = folder / "tasks" / "topic" / "card.yaml"
    card.write_text(card.read_text().replace("pooling: mean", "pooling: attention, layer_mix: true"))
    return recipe


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run on a frozen table from a file, and what it said. Only to be read."""
    said: list[str] = []
    recipe = project(tmp_path_factory.mktemp("frozen"), FROZEN)
    return trunkline.train(recipe, in_process=True, say=said.append).run, said


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A biLM trained on text alone. Only to be read."""
    recipe = project(tmp_path_factory.mktemp("language"), BILM, tasks="[both]", steps=60)
    return trunkline.train(recipe, in_process=True).run


def test_how_much_of_the_vocabulary_was_found_is_said_and_kept_with_run_and_model(frozen: tuple[Path, list[str]]) -> None:
    run, said = frozen
    (line,) = [line for line in said if line.startswith("embeddings:")]
    assert "90.0% of 20 tokens" in line and "18 found, 0 found lower-cased, 2 missing (normal)" in line
    told = json.loads((run / "prepared.json").read_text())["trunk"]
    assert json.loads((run / "model" / "manifest.json").read_text())["trunk_start"] == told
    assert (told["found"], told["missing"], told["words_in_file"]) == (18, 2, 18)


def test_a_frozen_table_is_the_file_s_from_the_start_to_the_model(frozen: tuple[Path, list[str]]) -> None:
    run, _ = frozen
    state = safetensors.torch.load_file(run / "model" / "trunk" / "trunk.safetensors")
    tokenizer = trunkline.load(run / "model").tokenizer
    for word, vector in VECTORS.items():
        token = tokenizer.inner.token_to_id(word)
        assert state["embed.table.weight"][token].tolist() == vector
    restored, _ = checkpoint.newest(run / "checkpoints")
    assert restored is not None
    kept = [name for name in restored.tensors if "embed.table" in name]
    assert kept == ["param/trunk.embed.table.weight"], "what is not trained has no moments"


def test_a_run_that_lost_its_end_and_the_file_of_vectors_resumes_bit_equal(frozen: tuple[Path, list[str]]) -> None:
    run, _ = frozen
    root = run.parents[1]
    copy = root.parent / "copy"
    shutil.copytree(root, copy)
    recipe = copy / "recipes" / "small.yaml"
    again = copy / "outputs" / run.name
    for name in ("result.json", "model", "checkpoints/step-00000006"):
        shutil.rmtree(again / name) if (again / name).is_dir() else (again / name).unlink()
    (root / "v.txt").rename(root / "gone.txt")
    try:
        resumed = trunkline.train(recipe, resume=run.name, in_process=True).run
    finally:
        (root / "gone.txt").rename(root / "v.txt")
    one, other = (safetensors.torch.load_file(each / "model" / "trunk" / "trunk.safetensors") for each in (run, resumed))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_model_of_our_own_trunk_answers_as_it_did_when_saved(frozen: tuple[Path, list[str]]) -> None:
    run, _ = frozen
    model = trunkline.load(run / "model")
    texts = ["red river", "old house stone light bread", "wind"]
    assert [answer["label"] in ("water", "land") for answer in model.predict("topic", texts)] == [True] * 3
    assert model.embed(texts, pooling="last").shape == (3, 8)
    mix = model.network.head("topic").mix
    assert mix is not None and len(mix.weights) == 2
    assert torch.equal(mix.weights, safetensors.torch.load_file(run / "model/heads/topic/head.safetensors")["mix.weights"])
    alone = [model.embed([text]) for text in texts]
    assert np.allclose(model.embed(texts), np.concatenate(alone), atol=1e-6)


def test_a_bidirectional_language_model_learns_and_another_run_takes_it_up(language: Path) -> None:
    (found,) = json.loads((language / "result.json").read_text())["tasks"]
    assert found["metric"] == "perplexity" and found["value"] < found["baseline"]
    trunk = language / "model" / "trunk"
    recipe = project(language.parents[1] / "next", f"{{kind: bilm, pretrained: {trunk}}}", steps=1)
    text = recipe.read_text().replace("{kind: words}", f"{{kind: pretrained, source: {trunk}}}").replace("lr: 5e-3", "lr: 1e-12")
    recipe.write_text(text)
    run = trunkline.train(recipe, in_process=True).run
    one, other = (safetensors.torch.load_file(each / "model/trunk/trunk.safetensors") for each in (language, run))
    assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)


def _lines(change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    """What changes the file of vectors, line by line."""

    def spoil(file: Path) -> None:
        file.write_text("\n".join(change(file.read_text().splitlines())) + "\n")

    return spoil


WRONG_VECTORS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a broken line": (_lines(lambda lines: [*lines[:4], "old 1.0", *lines[5:]]), r"v\.txt:5: a word and 3 numbers are expected"),
    "a word twice": (_lines(lambda lines: [*lines, lines[2]]), r"v\.txt:19: 'green' stands here and in line 3"),
    "another encoding": (
        lambda file: file.write_bytes(file.read_bytes() + b"Flu\xdf 1 2 3\n"),
        r"v\.txt:19: byte 0xdf at place 4",
    ),
    "no word in common": (
        _lines(lambda lines: [f"x{line}" for line in lines]),
        r"v\.txt: none of the run's 20 tokens is among its 18 words",
    ),
}


def refused(recipe: Path, *overrides: str) -> int:
    """The exit code; a run that was refused has left no folder behind."""
    code = main(["train", str(recipe), "--in-process", *(word for override in overrides for word in ("-s", override))])
    assert not list((recipe.parents[1] / "outputs").iterdir())
    return code


def assert_told(capsys: pytest.CaptureFixture[str], said: str) -> None:
    err = capsys.readouterr().err
    assert re.search(said, err) and "Traceback" not in err, err


@pytest.mark.parametrize("case", WRONG_VECTORS)
def test_wrong_vectors_end_with_4_and_their_place(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, said = WRONG_VECTORS[case]
    recipe = project(tmp_path, FROZEN)
    spoil(tmp_path / "v.txt")
    assert refused(recipe) == 4
    assert_told(capsys, said)


@pytest.mark.parametrize(
    ("trunk", "overrides", "said"),
    [
        (FROZEN.replace("dim: 3", "dim: 50"), [], r"v\.txt has vectors of 3 entries, the table of 50\. Set .*dim: 3"),
        (FROZEN.replace("V", "nowhere.txt"), [], r"no file 'nowhere\.txt'"),
        ("{kind: lstm, hidden_size: 8}", ["tasks=[both]"], r"small\.yaml:2:.*bidirectional: false"),
        ("{kind: static}", ["tasks=[both]"], r"small\.yaml:2:.*Words without order know no direction"),
        ("{kind: lstm, hiden_size: 8}", [], r"takes no 'hiden_size'\. Did you mean 'hidden_size'"),
        ("{kind: lstm, embeddings: {dmi: 3}}", [], r"trunk\.embeddings takes no 'dmi'"),
    ],
)
def test_a_trunk_that_does_not_fit_ends_with_3_and_says_so(
    trunk: str, overrides: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(project(tmp_path, trunk), *overrides) == 3
    assert_told(capsys, said)


def test_a_window_longer_than_the_encoder_s_positions_is_told_with_both_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = project(tmp_path, "{kind: transformer, hidden_size: 16, layers: 1, heads: 2, pretrained: encoder}")
    made = Transformer(25, 0, 64, hidden_size=16, layers=1, heads=2)
    made.save(tmp_path / "encoder")
    recipe.write_text(recipe.read_text().replace("encoder", str(tmp_path / "encoder")))
    overrides = ["train.max_length=600", "train.tokens_per_step=700", "train.tokens_per_pass=700"]
    assert refused(recipe, *overrides) == 3
    assert_told(capsys, "max_length 600 passes the trunk's 512 positions")


def test_a_tokenizer_that_is_not_the_trunk_s_is_told_with_how_many_ids_differ(
    language: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trunk = language / "model" / "trunk"
    recipe = project(language.parents[1] / "other", f"{{kind: bilm, pretrained: {trunk}}}")
    recipe.write_text(recipe.read_text().replace("{kind: words}", "{kind: byte_bpe, vocab_size: 300}"))
    assert refused(recipe) == 3
    assert_told(capsys, r"another tokenizer: \d+ of 25 ids stand for other tokens, the first is \d+, ")
