"""The leaks between shared sets that their README counts are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from trunkline.build.task import open_source, reading
from trunkline.data.sources.base import TaskText
from trunkline.data.sources.decontaminate import Decontaminated, HeldOut, row_keys
from trunkline.tasks.card import load_card

pytestmark = pytest.mark.shared
CARDS = Path(__file__).parent / "cards"


def opened(folder: Path, name: str) -> TaskText:
    text = (CARDS / f"{name}.yaml").read_text()
    if name == "mr":  # all of it, not a card's share of it
        text = text.replace("rows:", "train:").replace("  split: {by: text}\n", "")
    (folder / f"{name}.yaml").write_text(text)
    card = load_card(folder / f"{name}.yaml")
    return TaskText(open_source(card, None), tuple(card.inputs), reading(card))


@pytest.mark.parametrize(("trained", "tested", "found", "removed"), [
    # found: what the README counts (test rows for the first and last, distinct test pairs for the second); removed: training rows
    ("mr", "sst2", 1327, 1327),
    ("stsb", "mrpc", 498, 499),
    ("zh_chnsenticorp", "zh_chnsenticorp", 335, 351),
])  # fmt: skip
def test_known_leaks_are_taken_out(trained: str, tested: str, found: int, removed: int, tmp_path: Path, shared: Path) -> None:
    (tmp_path / "data").symlink_to(shared)
    train, test = opened(tmp_path, trained), opened(tmp_path, tested)
    before = [key for chunk in train.source.read("train") for key in row_keys(chunk, train)]
    keys = [key for chunk in test.source.read("test") for key in row_keys(chunk, test)]
    trained_on = set(before)
    leaked = [key for key in keys if key in trained_on]
    source = Decontaminated(train, [HeldOut(tested, test)])
    left = [(len(chunk), chunk.notes[f"in_test_of_{tested}"]) for chunk in source.read("train")]
    assert sum(taken for _, taken in left) == removed == len(before) - sum(rows for rows, _ in left)
    assert (len(set(leaked)) if tested == "mrpc" else len(leaked)) == found
    remaining = {key for chunk in source.read("train") for key in row_keys(chunk, train)}
    assert not remaining & set(keys)
