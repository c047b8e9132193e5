from __future__ import annotations

import hashlib

import numpy as np

from trunkline.data.keys import row_keys, splitmix64, text_key, unit

MASK = (1 << 64) - 1


def plain_splitmix64(value: int) -> int:
    """The published algorithm on Python's unbounded integers."""
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def test_splitmix64_gives_the_published_first_outputs_of_seed_0() -> None:
    assert splitmix64(np.array([0], np.uint64)).tolist() == [0xE220A8397B1DCDAF]


def test_splitmix64_is_the_plain_integer_algorithm() -> None:
    values = np.random.default_rng(1).integers(0, MASK, 200, dtype=np.uint64, endpoint=True)
    assert splitmix64(values).tolist() == [plain_splitmix64(int(value)) for value in values]


def test_a_row_key_is_the_stated_mixture_of_seed_task_row_and_pass() -> None:
    base = int.from_bytes(hashlib.blake2b(b"17\0topic", digest_size=8).digest(), "little")
    wanted = [
        plain_splitmix64(plain_splitmix64(row ^ base) ^ plain_splitmix64(turn)) for row, turn in ((0, 0), (5, 2), (1 << 40, 7))
    ]
    assert row_keys(17, "topic", np.array([0, 5, 1 << 40]), np.array([0, 2, 7])).tolist() == wanted


def test_row_keys_do_not_depend_on_which_rows_are_asked_for_together() -> None:
    rows = np.arange(1000)
    together = row_keys(3, "a", rows, 4)
    assert together.dtype == np.uint64
    np.testing.assert_array_equal(together[[7, 3, 999]], row_keys(3, "a", np.array([7, 3, 999]), np.array([4, 4, 4])))


def test_every_part_of_a_row_key_matters() -> None:
    keys = [
        int(row_keys(seed, task, np.array([row]), turn)[0])
        for seed in range(3)
        for task in ("a", "b")
        for row in range(20)
        for turn in range(5)
    ]
    assert len(set(keys)) == len(keys)


def test_unit_numbers_fill_0_to_1_evenly() -> None:
    numbers = unit(row_keys(0, "a", np.arange(20_000), 0))
    assert numbers.min() >= 0 and numbers.max() < 1
    # 20 bins of 1,000: a standard deviation is about 31.
    assert np.abs(np.histogram(numbers, 20, (0, 1))[0] - 1000).max() < 160


def test_texts_have_signed_64_bit_keys_of_their_own() -> None:
    keys = {text_key(text) for text in ("", "a", "A", " a", "猫", "\ud800")}
    assert len(keys) == 6 and all(-(1 << 63) <= key < 1 << 63 for key in keys)
