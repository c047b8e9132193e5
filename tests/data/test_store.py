from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from trunkline.data.encoding.base import Encoding
from trunkline.data.encoding.bilm import Bilm
from trunkline.data.encoding.classification import Classification
from trunkline.data.encoding.contrastive import Contrastive
from trunkline.data.encoding.masked_language import MaskedLanguage
from trunkline.data.encoding.regression import Regression
from trunkline.data.encoding.replaced_token import ReplacedToken
from trunkline.data.encoding.tagging import Tagging
from trunkline.data.rows import Ragged, Rows
from trunkline.data.sources.base import Source, SourceContext
from trunkline.data.sources.chunk import Chunk, chunked
from trunkline.data.sources.reading import Reading
from trunkline.data.sources.text import JsonLines
from trunkline.data.store import SplitJob, StoredSplit, build_all, build_split
from trunkline.data.tokenizer import Tokenizer
from trunkline.data.vocabulary import WordPiece
from trunkline.errors import DataError, IntegrityError

COLUMNS = {
    "text": ["the cat sat", "a dog", "walking and talking and walking", "猫坐在垫子上"],
    "other": ["the dog sat", "a", "the mat", "狗"],
    "label": ["yes", "no", "no", "yes"],
    "value": [1.5, -2, "0.25", 4],
    "tags": ["1 2 1", ["2", "2"], "1 1 1 2 2", "1"],
}


class Table(Source):
    """The columns above, two rows a chunk; `passes` counts readings."""

    def __init__(self, context: SourceContext, *, salt: int = 0) -> None:
        super().__init__(context)
        self.salt, self.passes = salt, 0

    def files(self) -> list[str]:
        return []

    def read(self, split: str) -> Iterator[Chunk]:
        self.passes += 1
        yield from chunked(tuple(COLUMNS), zip(*COLUMNS.values(), strict=True), size=2)


def encodings(tokenizer: Tokenizer) -> dict[str, Encoding]:
    return {
        "classification": Classification(tokenizer, ["text", "other"], "label", labels=["no", "yes"]),
        "regression": Regression(tokenizer, ["text"], "value"),
        "tagging": Tagging(tokenizer, ["text"], "tags", labels=[1, 2]),
        "contrastive": Contrastive(tokenizer, ["text"], "other"),
        "masked_language": MaskedLanguage(tokenizer, ["text"], None),
        "bilm": Bilm(tokenizer, ["text"], None),
        "replaced_token": ReplacedToken(tokenizer, ["text"], None),
    }


def assert_same(stored: Rows, memory: Rows) -> None:
    for name in ("tokens", "lengths", "seconds"):
        np.testing.assert_array_equal(getattr(stored, name).values, getattr(memory, name).values)
        np.testing.assert_array_equal(getattr(stored, name).starts, getattr(memory, name).starts)
    np.testing.assert_array_equal(stored.counts, memory.counts)
    assert stored.targets.keys() == memory.targets.keys() and stored.notes == memory.notes
    for name, value in memory.targets.items():
        kept = stored.targets[name]
        if isinstance(value, Ragged):
            assert isinstance(kept, Ragged)
            np.testing.assert_array_equal(kept.values, value.values)
            np.testing.assert_array_equal(kept.starts, value.starts)
            assert kept.values.dtype == value.values.dtype
        else:
            np.testing.assert_array_equal(kept, value)
            assert kept.dtype == value.dtype


@pytest.mark.parametrize(
    "kind", ["classification", "regression", "tagging", "contrastive", "masked_language", "bilm", "replaced_token"]
)
def test_stored_rows_are_the_rows_made_in_memory(kind: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    encoding = encodings(tokenizer)[kind]
    columns = {**COLUMNS, "tags": ["1 2 1", ["2", "2"], "1 1 1 2 2", "1"]}
    memory = encoding.encode(columns)
    stored = build_split(tmp_path, SplitJob(kind, Table(SourceContext(tmp_path)), "rows", encoding))
    assert_same(stored.rows, memory)
    np.testing.assert_array_equal(stored.sizes, memory.tokens.lengths)
    assert stored.index["tokens"] == len(memory.tokens.values) and stored.index["targets"] == memory.counts.sum()
    order = np.array([3, 0, 2])
    assert_same(
        Rows(**{**vars(stored.rows.take(order)), "notes": memory.notes}),
        Rows(**{**vars(memory.take(order)), "notes": memory.notes}),
    )


def test_a_stored_split_is_mapped_not_copied(tokenizer: Tokenizer, tmp_path: Path) -> None:
    stored = build_split(tmp_path, job(tokenizer, tmp_path))
    for values in (stored.rows.tokens.values, stored.rows.tokens.starts, stored.rows.counts):
        assert not values.flags.owndata and not values.flags.writeable


def job(tokenizer: Tokenizer, folder: Path, *, salt: int = 0, reading: Reading | None = None, name: str = "job") -> SplitJob:
    return SplitJob(
        name, Table(SourceContext(folder), salt=salt), "rows", encodings(tokenizer)["regression"], reading or Reading()
    )


def test_a_split_is_built_once_and_reused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    first = job(tokenizer, tmp_path)
    assert not build_split(tmp_path, first).reused
    again = build_split(tmp_path, first)
    assert again.reused and isinstance(first.source, Table) and first.source.passes == 1
    assert again.path.stat().st_mtime_ns == build_split(tmp_path, job(tokenizer, tmp_path)).path.stat().st_mtime_ns


def test_whatever_decides_the_rows_is_in_the_key(tokenizer: Tokenizer, tmp_path: Path) -> None:
    shorter = WordPiece(vocab_size=120).build(["the cat"] * 4, max_length=12)
    source = Table(SourceContext(tmp_path))
    base = job(tokenizer, tmp_path)
    labels = [Classification(tokenizer, ["text"], "label", labels=names) for names in (["no", "yes"], ["yes", "no"])]
    others = [
        job(tokenizer, tmp_path, salt=1),
        job(tokenizer, tmp_path, reading=Reading(on_null="drop")),
        job(tokenizer, tmp_path, reading=Reading({"text": "other"})),
        job(shorter, tmp_path),
        SplitJob("job", source, "train", base.encoding),
        SplitJob("job", source, "rows", Regression(tokenizer, ["other"], "value")),
        *(SplitJob("job", source, "rows", encoding) for encoding in labels),
        *(SplitJob("job", source, "rows", MaskedLanguage(tokenizer, ["text"], None, mask_share=share)) for share in (0.1, 0.2)),
    ]
    assert len({base.key(), *(other.key() for other in others)}) == len(others) + 1


def test_limits_of_the_tokenizer_are_in_the_key(make_tokenizer, tmp_path: Path) -> None:
    made = [make_tokenizer(max_length=16), make_tokenizer(max_length=17), make_tokenizer(max_length=16, truncate="left")]
    assert len({job(tokenizer, tmp_path).key() for tokenizer in made}) == 3
    assert job(make_tokenizer(max_length=16), tmp_path, name="other").key() == job(made[0], tmp_path).key()


def test_only_the_split_whose_file_changes_is_built_anew(tokenizer: Tokenizer, tmp_path: Path) -> None:
    for name in ("train", "validation"):
        (tmp_path / f"{name}.jsonl").write_text('{"text": "the cat", "value": 1}\n')
    source = JsonLines(SourceContext(tmp_path), train="train.jsonl", validation="validation.jsonl")
    jobs = [SplitJob("job", source, split, encodings(tokenizer)["regression"]) for split in source.splits()]
    build_all(tmp_path, jobs)
    (tmp_path / "train.jsonl").write_text('{"text": "the cats", "value": 2}\n')
    assert [split.reused for split in build_all(tmp_path, jobs)] == [False, True]


def test_many_jobs_report_all_that_is_wrong_and_keep_what_is_right(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "good.jsonl").write_text('{"text": "the cat", "value": 1}\n')
    (tmp_path / "bad.jsonl").write_text('{"text": "the cat", "value": "high"}\n')
    (tmp_path / "broken.jsonl").write_text('{"text": \n')
    encoding = encodings(tokenizer)["regression"]
    source = JsonLines(SourceContext(tmp_path), train="good.jsonl", validation="bad.jsonl", test="broken.jsonl")
    with pytest.raises(DataError) as caught:
        build_all(tmp_path, [SplitJob("job", source, split, encoding) for split in source.splits()], workers=2)
    assert "bad.jsonl:1" in str(caught.value) and "broken.jsonl:1" in str(caught.value)
    assert build_split(tmp_path, SplitJob("job", source, "train", encoding)).reused


def test_a_split_without_rows_left_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "the cat", "value": null}\n' * 3)
    source = JsonLines(SourceContext(tmp_path), train="a.jsonl")
    with pytest.raises(DataError, match=r"no rows left of 3 read.*null_dropped.*3"):
        build_split(tmp_path, SplitJob("job", source, "train", encodings(tokenizer)["regression"], Reading(on_null="drop")))


def test_dropped_nulls_are_counted(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "the cat", "value": 1}\n{"text": null, "value": 2}\n{"text": "a", "value": 3}\n')
    job = SplitJob(
        "job",
        JsonLines(SourceContext(tmp_path), train="a.jsonl"),
        "train",
        encodings(tokenizer)["regression"],
        Reading(on_null="drop"),
    )
    stored = build_split(tmp_path, job)
    assert stored.notes["null_dropped"] == 1 and stored.rows.targets["target"].tolist() == [1.0, 3.0]


def test_rows_without_anything_to_learn_are_left_out_and_counted(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": ["cat"], "tags": [2]}\n{"text": [], "tags": []}\n')
    source = JsonLines(SourceContext(tmp_path), train="a.jsonl")
    stored = build_split(tmp_path, SplitJob("job", source, "train", encodings(tokenizer)["tagging"]))
    assert len(stored) == 1 and stored.counts.tolist() == [1] and stored.notes["without_targets_dropped"] == 1


def test_errors_name_the_file_and_line_in_later_chunks_too(tokenizer: Tokenizer, tmp_path: Path) -> None:
    lines = ['{"text": "the cat", "value": 1}'] * 5000 + ['{"text": "the cat", "value": "much"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    job = SplitJob("job", JsonLines(SourceContext(tmp_path), train="a.jsonl"), "train", encodings(tokenizer)["regression"])
    with pytest.raises(DataError, match=r"a\.jsonl:5001.*'much'"):
        build_split(tmp_path, job)
    assert not list(tmp_path.rglob("*.arrow")) and not list(tmp_path.rglob("*.json"))


KILLED = """
import os, signal, sys
from pathlib import Path
from trunkline.data.encoding.masked_language import MaskedLanguage
from trunkline.data.sources.base import Source, SourceContext
from trunkline.data.sources.chunk import Chunk
from trunkline.data.store import SplitJob, build_split
from trunkline.data.tokenizer import Tokenizer

folder, point = Path(sys.argv[1]), sys.argv[2]

class Lines(Source):
    def files(self): return []
    def read(self, split):
        yield Chunk({"text": ["the cat"] * 50})
        die("reading")
        yield Chunk({"text": ["the dog"] * 50})

def die(here):
    if here == point:
        os.kill(os.getpid(), signal.SIGKILL)

plain, calls = os.replace, []
def replace(*paths):
    calls.append(paths)
    die(f"before rename {len(calls)}")
    plain(*paths)
    die(f"after rename {len(calls)}")
os.replace = replace

encoding = MaskedLanguage(Tokenizer.load(folder / "tokenizer", max_length=16), ["text"], None)
split = build_split(folder / "store", SplitJob("job", Lines(SourceContext(folder)), "rows", encoding))
print(split.reused, len(split), split.path.name)
"""
POINTS = ("reading", "before rename 1", "after rename 1", "before rename 2", "after rename 2")


def run_killed(folder: Path, point: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", KILLED, str(folder), point], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("point", POINTS)
def test_a_build_killed_anywhere_leaves_nothing_half_done(point: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer")
    assert run_killed(tmp_path, point).returncode == -signal.SIGKILL
    visible = list((tmp_path / "store").rglob("*.json"))
    assert len(visible) == (1 if point == POINTS[-1] else 0)
    for index in visible:
        StoredSplit.open(index.with_suffix(".arrow")).verify()
    again = run_killed(tmp_path, "never")
    assert again.returncode == 0, again.stderr
    reused, rows, name = again.stdout.split()
    assert (reused, rows) == (str(point == POINTS[-1]), "100")
    StoredSplit.open(tmp_path / "store" / "job" / name).verify()
    assert not list((tmp_path / "store").rglob("*.tmp"))


def test_of_two_builders_one_builds_and_both_have_it(tokenizer: Tokenizer, tmp_path: Path) -> None:
    barrier = threading.Barrier(4)

    class Slow(Table):
        def fingerprint(self, split: str) -> str:
            barrier.wait()
            return "same"

    jobs = [SplitJob("job", Slow(SourceContext(tmp_path)), "rows", encodings(tokenizer)["regression"]) for _ in range(4)]
    keys = [threading.Thread(target=lambda one=one: results.append(race(one))) for one in jobs]
    results: list[StoredSplit] = []

    def race(one: SplitJob) -> StoredSplit:
        key = one.key()  # all four at once
        object.__setattr__(one, "key", lambda: key)
        return build_split(tmp_path, one)

    for thread in keys:
        thread.start()
    for thread in keys:
        thread.join()
    assert sorted(split.reused for split in results) == [False, True, True, True]
    assert sum(one.source.passes for one in jobs if isinstance(one.source, Table)) == 1
    assert len({split.path for split in results}) == 1


def test_a_flipped_bit_is_found_and_a_truncated_file_is_built_anew(tokenizer: Tokenizer, tmp_path: Path) -> None:
    stored = build_split(tmp_path, job(tokenizer, tmp_path))
    stored.verify()
    content = bytearray(stored.path.read_bytes())
    content[len(content) // 2] ^= 1
    stored.path.write_bytes(content)
    with pytest.raises(IntegrityError, match="SHA-256"):
        StoredSplit.open(stored.path).verify()
    stored.path.write_bytes(content[:-8])
    with pytest.raises(IntegrityError, match="bytes, its index says"):
        StoredSplit.open(stored.path)
    mended = build_split(tmp_path, job(tokenizer, tmp_path))
    assert not mended.reused
    mended.verify()


@pytest.mark.parametrize(
    ("text", "said"), [("{", "no index"), ("{}", "no index"), ('{"schema_version": 99}', "store version 99")]
)
def test_an_index_that_can_not_be_read_is_named(text: str, said: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    stored = build_split(tmp_path, job(tokenizer, tmp_path))
    stored.path.with_suffix(".json").write_text(text)
    with pytest.raises(IntegrityError, match=said):
        StoredSplit.open(stored.path)
    with pytest.raises(IntegrityError, match="no such stored split"):
        StoredSplit.open(tmp_path / "nowhere.arrow")
