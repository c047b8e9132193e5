"""What a smaller width keeps of vectors' variance: by hand, under rotation, and through the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trunkline.cli.app import main
from trunkline.errors import ConfigError
from trunkline.models.vectors import read_vectors
from trunkline.vectors.pca import halvings, kept_variance

# Around their mean (1, 1, 1) they lie 2, 1 and 0 along the axes: variances 8, 2, 0.
CROSS = np.array([[3, 1, 1], [-1, 1, 1], [1, 2, 1], [1, 0, 1]], np.float32)


def test_the_share_is_that_of_the_largest_variances() -> None:
    assert kept_variance(CROSS, [1, 2, 3]) == pytest.approx({1: 0.8, 2: 1.0, 3: 1.0})


def test_a_rotation_changes_nothing_and_no_cut_keeps_more() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 8)) * np.arange(1, 9)
    turned = values @ np.linalg.qr(rng.normal(size=(8, 8)))[0]
    widths = list(range(1, 9))
    kept = kept_variance(values, widths)
    assert kept_variance(turned, widths) == pytest.approx(kept)
    cut = np.cumsum(turned.var(axis=0)) / turned.var(axis=0).sum()
    assert all(cut[width - 1] <= kept[width] + 1e-9 for width in widths)
    assert kept[8] == pytest.approx(1) and sorted(kept.values()) == list(kept.values())


def test_shares_of_uncentred_vectors_are_rejected() -> None:
    spread = np.linalg.eigvalsh(CROSS.T @ CROSS)[::-1]
    assert spread[0] / spread.sum() != pytest.approx(kept_variance(CROSS, [1])[1])


def test_vectors_that_are_all_one_lose_nothing() -> None:
    assert kept_variance(np.ones((3, 4), np.float32), [1, 4]) == {1: 1.0, 4: 1.0}


def test_widths_are_halved_down_to_two_or_three() -> None:
    assert halvings(50) == [3, 6, 12, 25, 50] and halvings(2) == [2]


@pytest.mark.parametrize("width", [0, 4, True, 2.0])
def test_a_width_that_there_is_not_is_refused(width: int) -> None:
    with pytest.raises(ConfigError, match="from 1 to the vectors' own 3 are needed, found"):
        kept_variance(CROSS, [width])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    lines = [f"w{number} {' '.join(map(str, row))}" for number, row in enumerate(CROSS)]
    path = tmp_path / "v.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_every_word_of_a_file_is_read_if_none_is_named(file: Path, tmp_path: Path) -> None:
    assert np.array_equal(read_vectors(file, None).values, CROSS)
    packed = b"".join(f"w{n} ".encode() + row.astype("<f4").tobytes() for n, row in enumerate(CROSS))
    (tmp_path / "v.bin").write_bytes(b"4 3\n" + packed)
    np.save(tmp_path / "v.npy", CROSS)
    (tmp_path / "w.txt").write_text("a\nb\nc\nd\n")
    assert np.array_equal(read_vectors(tmp_path / "v.bin", None).values, CROSS)
    assert np.array_equal(read_vectors(tmp_path / "v.npy", None, tmp_path / "w.txt").values, CROSS)


def test_the_command_tells_it_and_refuses_a_width_beyond_the_vectors(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vectors", "pca", str(file), "--width", "1", "--width", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"vectors": 4, "dim": 3, "kept": {"1": pytest.approx(0.8), "2": pytest.approx(1.0)}}
    assert main(["vectors", "pca", str(file)]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [["width", "variance", "kept"], ["3", "100.0%"]]
    assert main(["vectors", "pca", str(file), "--width", "9"]) == 3
    assert "from 1 to the vectors' own 3 are needed, found 9" in capsys.readouterr().err
