"""Whatever is put into a recipe, a card, a stream, a pack or a manifest, it is taken or refused with a coded error.

A few examples each in the suite; `make properties` runs 2,000 of each, PROPERTY_EXAMPLES as many as it says.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bad_inputs.cards import CARD
from bad_inputs.project import RECIPE
from bad_inputs.saved import commit
from trunkline import checkpoint
from trunkline.config.recipe import load_recipe
from trunkline.data.dealing import deal
from trunkline.data.stream import Stream
from trunkline.errors import IntegrityError, TrunklineError
from trunkline.registry import SAMPLERS
from trunkline.sampling.base import Horizon
from trunkline.tasks.card import load_card

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "15"))
many = settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
SIGNS = st.sampled_from("{}[]:,-#&*!|>'\"%@`?~.\\ \n\tabkindtrue0123456789eé\x00\ud800${}")
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def mutated(text: str) -> st.SearchStrategy[str]:
    """The text with a stretch of it replaced by anything."""
    return st.builds(
        lambda start, length, new: text[:start] + new + text[start + length :],
        st.integers(0, len(text)),
        st.integers(0, 40),
        st.text(SIGNS, max_size=20) | st.text(max_size=10),
    )


@many
@given(mutated(RECIPE))
def test_a_recipe_is_taken_or_refused_with_3(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "property.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        assert load_recipe(path).render()
    except TrunklineError as error:
        assert error.exit_code == 3 and str(error)


@many
@given(mutated(CARD))
def test_a_card_is_taken_or_refused_with_3(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "card.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        assert load_card(path).fingerprint()
    except TrunklineError as error:
        assert error.exit_code == 3 and str(error)


@many
@given(
    st.sampled_from(["proportional", "uniform", "temperature", "round_robin", "unimax"]),
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
    st.integers(30, 120),
    st.integers(1, 12),
    st.integers(0, 2**40),
)
def test_a_stream_draws_every_row_once_before_any_twice_and_goes_on_from_its_state(
    kind: str, counts: list[int], tokens: int, stop: int, seed: int
) -> None:
    def made() -> Stream:
        return Stream(sizes, SAMPLERS.get(kind)(rows, horizon), seed=seed, tokens_per_step=tokens, unit_limit=tokens)

    sizes = {f"t{number}": np.random.default_rng(number).integers(2, 7, count) for number, count in enumerate(counts)}
    rows = {name: len(size) for name, size in sizes.items()}
    horizon = Horizon(24, tokens, {name: float(size.mean()) for name, size in sizes.items()})
    stream, drawn = made(), {name: [] for name in sizes}
    states = {}
    for step in range(1, 25):
        units = stream.next_step(step)
        assert units and sum(unit.tokens for unit in units) <= tokens
        for unit in units:
            drawn[unit.task] += unit.rows.tolist()
        states[step] = json.loads(json.dumps(stream.state()))
    for name, order in drawn.items():
        whole = len(order) // rows[name] * rows[name]
        for start in range(0, whole, rows[name]):
            assert sorted(order[start : start + rows[name]]) == list(range(rows[name]))
    other = made()
    other.load_state(states[stop])
    again = made()
    for step in range(1, stop + 2):
        expected = again.next_step(step)
    found = other.next_step(stop + 1)
    assert [(unit.task, unit.rows.tolist()) for unit in found] == [(unit.task, unit.rows.tolist()) for unit in expected]


@many
@given(st.lists(st.integers(1, 60), min_size=1, max_size=80), st.integers(1, 6), st.integers(60, 300))
def test_packs_lose_no_row_and_the_ranks_have_equally_many(sizes: list[int], world: int, capacity: int) -> None:
    dealt = deal(sizes, world, capacity)
    assert sorted(unit for rank in dealt for micro in rank for unit in micro) == list(range(len(sizes)))
    assert len({len(rank) for rank in dealt}) == 1
    assert all(sum(sizes[unit] for unit in micro) <= capacity for rank in dealt for micro in rank)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("saved")
    tensors = {"param/a": torch.arange(6.0).view(2, 3)}
    return checkpoint.save(root, 7, tensors, {"best": {}}, {"recipe.yaml": "a: 1\n"}, rank=0, gather=lambda value: [value])


MANIFEST_KEYS = st.sampled_from(["schema_version", "step", "files", "more"])


@many
@given(MANIFEST_KEYS, VALUES, st.booleans())
def test_a_manifest_is_taken_or_refused_with_5(saved: Path, key: str, value: Any, sealed: bool) -> None:
    """sealed: COMMIT fits the manifest, as an attacker's would."""
    before = {name: (saved / name).read_bytes() for name in ("manifest.json", "COMMIT")}
    try:
        if sealed and key != "files":
            commit(saved, **{key: value})
        else:
            manifest = json.loads(before["manifest.json"]) | {key: value}
            raw = json.dumps(manifest).encode()
            (saved / "manifest.json").write_bytes(raw)
            (saved / "COMMIT").write_text(checkpoint.hashlib.sha256(raw).hexdigest() if sealed else "0" * 64)
        assert checkpoint.load(saved).step == 7
    except IntegrityError as error:
        assert str(error)
    finally:
        for name, content in before.items():
            (saved / name).write_bytes(content)


@many
@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
def test_a_shard_is_taken_whole_or_refused_with_5(saved: Path, place: int, content: bytes) -> None:
    shard = next(saved.glob("*.safetensors"))
    before = {path: path.read_bytes() for path in (shard, saved / "manifest.json", saved / "COMMIT")}
    raw = before[shard]
    place %= len(raw)
    try:
        shard.write_bytes(raw[:place] + content + raw[place + len(content) :])
        commit(saved)
        assert set(checkpoint.load(saved).tensors) and shard.stat().st_size
    except IntegrityError as error:
        assert str(error)
    finally:
        for path, held in before.items():
            path.write_bytes(held)
