"""Static word vectors: what a step changes by hand, what a corpus with a plan teaches, and a file that gensim opens."""

from __future__ import annotations

import json
from pathlib import Path

import gensim.models
import numpy as np
import pytest
import torch

from trunkline.cli.app import main
from trunkline.errors import ConfigError, DataError
from trunkline.registry import VECTORS
from trunkline.vectors.corpus import Corpus, read_corpus
from trunkline.vectors.glove import pairs
from trunkline.vectors.negative import CBOW, SkipGram, reached

METHODS = ["skipgram", "cbow", "glove"]
SETTINGS = {"dim": 12, "window": 2, "epochs": 12}
# Within a theme all words meet alike: what tells the themes apart for GloVe is that some pairs never meet.
GLOVE = {"x_max": 10, "batch": 64, "lr": 0.2, "unseen": 2.0}
QUICK = {"skipgram": {"lr": 0.1, "batch": 64}, "cbow": {"lr": 0.1, "batch": 64}, "glove": GLOVE}


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words of two themes that never meet, and a word of all sentences."""
    rng = np.random.default_rng(0)
    lines = [
        " ".join([*(f"{theme}{number}" for number in rng.integers(0, 6, 7)), "the"])
        for theme in rng.choice(["sea", "hill"], 1500)
    ]
    path = tmp_path_factory.mktemp("text") / "planned.txt"
    path.write_text("\n".join(lines))
    return path


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.mark.parametrize("method", METHODS)
def test_words_of_one_theme_lie_nearer_than_words_of_two_and_the_seed_decides_all(planned: Path, method: str) -> None:
    corpus = read_corpus([planned])
    trainer = VECTORS.get(method)(**SETTINGS, **QUICK[method])
    found, again, other = (trainer.train(corpus, seed=seed, say=lambda _: None) for seed in (1, 1, 2))
    assert np.array_equal(found.values, again.values) and not np.array_equal(found.values, other.values)
    place = {word: number for number, word in enumerate(found.words)}
    near = unit(found.values) @ unit(found.values).T
    themes = [[place[f"{theme}{number}"] for number in range(6)] for theme in ("sea", "hill")]
    within = np.mean([near[np.ix_(theme, theme)][~np.eye(6, dtype=bool)].mean() for theme in themes])
    across = near[np.ix_(*themes)].mean()
    assert within > across + 0.3


def test_a_file_of_vectors_opens_in_gensim_with_the_same_numbers(planned: Path, tmp_path: Path) -> None:
    vectors = SkipGram(dim=5, epochs=1).train(read_corpus([planned]), seed=0, say=lambda _: None)
    vectors.save(tmp_path / "deep" / "vectors.txt")
    opened = gensim.models.KeyedVectors.load_word2vec_format(str(tmp_path / "deep" / "vectors.txt"))
    assert opened.index_to_key == vectors.words
    assert np.allclose(opened.vectors, vectors.values, rtol=1e-5)


def naive_step(reads: torch.Tensor, tells: torch.Tensor, read: list[int], told: int, rivals: list[int]) -> None:
    """The loss of one example by autograd, lr 0.1, 5 negatives a word."""
    reads, tells = reads.requires_grad_(), tells.requires_grad_()
    hidden = reads[read].mean(0)
    loss = -torch.nn.functional.logsigmoid(tells[told] @ hidden)
    for rival in rivals:
        if rival != told:
            loss = loss - 5 / len(rivals) * torch.nn.functional.logsigmoid(-tells[rival] @ hidden)
    loss.backward()
    with torch.no_grad():
        reads -= 0.1 * reads.grad * len(read)  # every word of the context takes the whole step
        tells -= 0.1 * tells.grad


@pytest.mark.parametrize(("method", "read"), [(SkipGram, [1]), (CBOW, [1, 4, 3])])
def test_a_step_is_the_gradient_of_the_loss(method: type[SkipGram | CBOW], read: list[int]) -> None:
    torch.manual_seed(0)
    tables = [torch.randn(7, 4), torch.randn(7, 4)]
    for table in tables:
        table[6] = 0  # stands where a context is short
    expected = [table.clone() for table in tables]
    naive_step(expected[0], expected[1], read, 2, [0, 2, 5])
    padded = torch.tensor([read + [6] * (0 if method is SkipGram else 1)])
    method()._step(tables[0], tables[1], padded, torch.tensor([2]), torch.tensor([0, 2, 5]), 0.1)
    assert torch.allclose(tables[0], expected[0].detach(), atol=1e-6)
    assert torch.allclose(tables[1], expected[1].detach(), atol=1e-6)


def test_a_step_that_also_pushes_its_own_word_away_is_another(planned: Path) -> None:
    torch.manual_seed(0)
    tables = [torch.randn(7, 4), torch.randn(7, 4)]
    other = [table.clone() for table in tables]
    SkipGram()._step(tables[0], tables[1], torch.tensor([[1]]), torch.tensor([2]), torch.tensor([0, 2]), 0.1)
    naive_step(other[0], other[1], [1], 2, [0, 2, 2])
    assert not torch.allclose(tables[1], other[1].detach(), atol=1e-4)


def test_windows_end_at_the_sentence_and_glove_counts_by_distance() -> None:
    corpus = Corpus(
        ["a", "b", "c"], np.array([2, 2, 1]), np.array([0, 1, 2, 1, 0], np.int32), np.array([0, 0, 0, 1, 1], np.int32)
    )
    rows, columns, counts = pairs(corpus, 2)
    found = {(int(r), int(c)): float(x) for r, c, x in zip(rows, columns, counts, strict=True)}
    assert found == {(0, 1): 2.0, (1, 0): 2.0, (1, 2): 1.0, (2, 1): 1.0, (0, 2): 0.5, (2, 0): 0.5}
    seen = {
        (int(m), int(o))
        for middle, other in reached(corpus.ids, corpus.sentence, 4, np.random.default_rng(0))
        for m, o in zip(middle, other, strict=True)
    }
    assert {(0, 1), (1, 0), (3, 4), (4, 3)} <= seen and all((m < 3) == (o < 3) for m, o in seen)


def test_words_come_by_frequency_and_rare_ones_are_as_if_they_were_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("B rare a b\n\nb a once")
    corpus = read_corpus([tmp_path / "a.txt"], lower=True, min_count=2)
    assert corpus.words == ["b", "a"] and corpus.counts.tolist() == [3, 2]
    assert corpus.ids.tolist() == [0, 1, 0, 0, 1] and corpus.sentence.tolist() == [0, 0, 0, 2, 2]


def test_text_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    latin, short = tmp_path / "latin.txt", tmp_path / "short.txt"
    latin.write_bytes("fein\nschön".encode("latin-1"))
    short.write_text("one two two")
    with pytest.raises(DataError, match=r"latin.txt:2:4: no UTF-8 text: invalid start byte. Convert"):
        read_corpus([latin])
    with pytest.raises(DataError, match="2 different words, of which 1 stand there 2 times or more"):
        read_corpus([short], min_count=2)
    with pytest.raises(DataError, match="no such file"):
        read_corpus([tmp_path / "none.txt"])
    with pytest.raises(ConfigError, match="lr: a number above 0 is needed, found 0"):
        SkipGram(lr=0)


def test_the_command_writes_a_file_and_a_wrong_argument_ends_with_3(
    planned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "v.txt"
    given = ["vectors", "train", str(planned), "--method", "glove", "--dim", "4", "--out", str(out)]
    assert main([*given, "-s", "epochs=1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"path": str(out), "method": "glove", "words": 13, "dim": 4}
    assert out.read_text().splitlines()[0] == "13 4"
    assert main([*given, "-s", "negative=3"]) == 3
    assert "method 'glove' takes no 'negative'" in capsys.readouterr().err
    assert main([*given[:4], "word3vec", *given[5:]]) == 3
    assert main([*given, "-s", "epochs"]) == 2
    assert main(["vectors", "train", str(tmp_path / "none.txt"), "--out", str(out)]) == 4
