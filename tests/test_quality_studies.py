"""Benches made of a ladder's rungs: seeds, tokenizers, what they measure beside the score; pages say what results say."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.quality import dimension, embed, ladder, pretraining, tokenizers, vectors
from benchmarks.quality.table import section

from small_project import write_project
from trunkline.data.vocabulary import ByteBpe, Words
from trunkline.errors import UsageError

ROOT = Path(__file__).parent.parent
PAGES: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "vectors": ("word-vectors.md", vectors.markdown),
    "embed": ("evaluate.md", embed.markdown),
    "ladder": ("quality.md", ladder.markdown),
    "pretraining": ("quality.md", pretraining.markdown),
    "dimension": ("quality.md", dimension.markdown),
    "tokenizers": ("quality.md", tokenizers.markdown),
}
RUNGS = """
recipe:
  trunk: {kind: static, embeddings: {dim: 4}}
  tokenizer: {kind: words}
  catalog: [tasks]
  tasks: [topic]
  train: {steps: 2, tokens_per_step: 96, max_length: 16}
  workers: {count: 0, cpus: 1}
rungs:
  first: {}
  again: {tokenizer_from: first, trunk: {kind: gru, hidden_size: 8}, train: {evaluate_every: 1}, seeds: [1, 2]}
  never: {seeds: [1]}
"""


@pytest.fixture(scope="module")
def climbed(tmp_path_factory: pytest.TempPathFactory) -> ladder.Ladder:
    folder = tmp_path_factory.mktemp("rungs")
    write_project(folder)
    for card in (folder / "tasks").glob("*/card.yaml"):
        card.write_text(card.read_text().replace("test: 0", "test: 25"))
    (folder / "rungs.yaml").write_text(RUNGS.lstrip())
    made = ladder.Ladder(folder / "rungs.yaml", folder / "results")
    with pytest.raises(UsageError, match=r"no rung 'agian'\. Did you mean 'again'"):
        made.climb(["agian"], lambda _: None)
    made.climb(["first", "again"], lambda _: None)
    return made


def test_a_rung_of_two_seeds_is_two_runs_that_differ_in_the_seed_alone(climbed: ladder.Ladder) -> None:
    assert climbed.groups == {"first": ["first"], "again": ["again-1", "again-2"], "never": ["never-1"]}
    one, two = climbed.recipe("again-1"), climbed.recipe("again-2")
    assert (one.pop("seed"), two.pop("seed")) == (1, 2) and one == two
    assert climbed.key("again-1") != climbed.key("again-2")


def test_the_mean_is_over_all_seeds_or_not_told(climbed: ladder.Ladder) -> None:
    found = climbed.repeats("again")
    assert found is not None and len(found["of_seeds"]["topic"]) == 2
    assert found["mean"]["topic"] == pytest.approx(np.mean(found["of_seeds"]["topic"]))
    assert climbed.repeats("never") is None


def test_a_tokenizer_taken_from_a_rung_comes_without_its_trunk(climbed: ladder.Ladder) -> None:
    first, again = climbed.stored("first"), climbed.stored("again-1")
    assert first is not None and again is not None
    same = [(climbed.outputs / found["model"] / "trunk" / "tokenizer.json").read_text() for found in (first, again)]
    assert same[0] == same[1]
    assert again["start"] == {} and [point["step"] for point in again["series"]] == [1, 2]


def test_a_run_cut_off_is_found_whatever_its_name(tmp_path: Path) -> None:
    recipe = tmp_path / "two_words-1.yaml"
    for name, finished in (("two-words-1-a", True), ("two-words-1-b", False)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({"recipe": str(recipe)}))
        (tmp_path / name / "prepared.json").touch()
        if finished:
            (tmp_path / name / "result.json").touch()
    assert ladder.cut_off(tmp_path, recipe) and not ladder.cut_off(tmp_path, tmp_path / "other.yaml")
    (tmp_path / "two-words-1-b" / "result.json").touch()
    assert not ladder.cut_off(tmp_path, recipe)


def test_a_vector_cut_short_is_judged_by_its_first_entries_alone() -> None:
    rng = np.random.default_rng(0)
    made = rng.normal(size=(40, 2, 6))
    cosines = [float(a[:2] @ b[:2] / np.linalg.norm(a[:2]) / np.linalg.norm(b[:2])) for a, b in made]
    assert dimension.cut_score(made, np.array(cosines), 2) == pytest.approx(1)
    assert dimension.cut_score(made, np.array(cosines), 6) < 0.99


def test_unseen_words_are_those_of_the_test_alone_and_whole_words_spell_none_of_them() -> None:
    train, test = ["the red house", "a green river"], ["the Red rivers", "green rivers zzz"]
    told = tokenizers.spelling(Words(vocab_size=50).build(train), train, test)
    assert told == {"tokens_per_word": 1.0, "unseen_words": 2, "unseen_covered": 0.0, "tokens_per_unseen_word": 1.0}
    told = tokenizers.spelling(ByteBpe(vocab_size=300).build(train), train, test)
    assert told["unseen_covered"] == 1.0 and told["tokens_per_unseen_word"] > 1


@pytest.mark.parametrize("name", PAGES)
def test_the_page_says_what_the_result_says(name: str) -> None:
    page, shown = PAGES[name]
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    assert section(text, name, shown(found)) == text
    assert section(text, name, shown(found) + "x") != text
