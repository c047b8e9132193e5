from __future__ import annotations

import os
from pathlib import Path

import pyarrow.fs
import pytest

from trunkline.data.fingerprint import configuration, content_hash, digest
from trunkline.errors import ConfigError

LOCAL = pyarrow.fs.LocalFileSystem()


class Honest:
    def __init__(self, place: str, *, size: int = 3) -> None:
        self.place, self.size = place, size


class Forgetful:
    def __init__(self, *, size: int = 3) -> None:
        self.other = size


def test_digest_does_not_depend_on_the_order_of_keys_but_on_every_value() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert len({digest(value) for value in ({"a": 1}, {"a": "1"}, {"a": True}, {"a": [1]}, [1], None)}) == 6


def test_configuration_reads_back_keyword_arguments_only() -> None:
    assert configuration(Honest("here", size=5)) == {"size": 5}


def test_a_part_that_forgets_its_argument_is_told_so() -> None:
    with pytest.raises(ConfigError, match=r"must keep its argument 'size' as self\.size"):
        configuration(Forgetful())


def test_content_hash_follows_the_bytes_not_the_name(tmp_path: Path) -> None:
    for name, text in (("a", "one"), ("b", "one"), ("c", "two")):
        (tmp_path / name).write_text(text)
    one, same, other = (content_hash(str(tmp_path / name), LOCAL) for name in "abc")
    assert one == same != other


def test_content_hash_sees_a_file_change(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    before = content_hash(str(path), LOCAL)
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    assert content_hash(str(path), LOCAL) != before
