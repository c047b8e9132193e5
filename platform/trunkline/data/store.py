"""Splits tokenised once: memory-mapped Arrow files keyed by all that made them, whole or invisible."""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pyarrow
import pyarrow.fs
import pyarrow.ipc

from trunkline import durable
from trunkline.data.encoding.base import Encoding
from trunkline.data.fingerprint import content_hash, digest
from trunkline.data.intake import NOTE, Intake, check_share
from trunkline.data.partial import Extra
from trunkline.data.rows import Ragged, Rows, Sizes, Target, join
from trunkline.data.sources.base import Source
from trunkline.data.sources.reading import Reading
from trunkline.errors import DataError, IntegrityError, Problems, TrunklineError

# Raised when rows already stored would come out otherwise, or the files' layout changes.
STORE_VERSION = 1
RAGGED = ("tokens", "lengths", "seconds")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SplitJob:
    """One split to be tokenised. name: of the task, as the folder is called; reading: columns and what a null means.

    extras: columns that become targets beside the encoding's. beside: where tasks share their rows, the target column of each,
    None for one that has none: a row then stays if any of them has a label there, and a task without one has count 0.
    """

    name: str
    source: Source
    split: str
    encoding: Encoding
    reading: Reading = field(default_factory=Reading)
    extras: tuple[Extra, ...] = ()
    beside: tuple[str | None, ...] = ()

    def key(self) -> str:
        """A hash of everything that decides the stored rows."""
        source = [STORE_VERSION, self.source.fingerprint(self.split), self.split, self.reading.key(), self.encoding.key()]
        more = {"extras": [extra.key() for extra in self.extras], "beside": sorted({str(target) for target in self.beside})}
        return digest([*source, *([more] if any(more.values()) else [])])


@dataclass(frozen=True)
class StoredSplit:
    """A split as the store keeps it. rows: numpy views into the mapped file, read-only; reused: it stood there already."""

    path: Path
    rows: Rows
    index: dict[str, Any]
    reused: bool = True

    @property
    def sizes(self) -> np.ndarray | Sizes:
        """Tokens of each row, int64 [n]."""
        return self.rows.tokens.sizes

    @property
    def counts(self) -> np.ndarray:
        """Targets of each row, int32 [n]."""
        return self.rows.counts

    @property
    def notes(self) -> Counter[str]:
        """What happened while reading and encoding: cut, null_dropped, unknown_tokens and the like."""
        return self.rows.notes

    @property
    def quarantined(self) -> dict[str, Any]:
        """Rows set aside: rows (how many), read (of how many), first (place and reason of the first 100)."""
        return dict(self.index.get(NOTE, {"rows": 0, "read": 0, "first": []}))

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def open(cls, path: Path | str, *, reused: bool = True) -> StoredSplit:
        """Maps a stored split. Raises IntegrityError if its index is missing, of another version, or does not fit the file."""
        path = Path(path)
        index = _read_index(path)
        if path.stat().st_size != index["size_bytes"]:
            raise IntegrityError(
                f"has {path.stat().st_size} bytes, its index says {index['size_bytes']}. Delete both files.", where=str(path)
            )
        try:
            batch = pyarrow.ipc.open_file(pyarrow.memory_map(str(path))).get_batch(0)
        except pyarrow.ArrowException as error:
            raise IntegrityError(f"is no Arrow file: {error}. Delete it and its index.", where=str(path)) from error
        columns = {name: _to_numpy(batch.column(number)) for number, name in enumerate(batch.schema.names)}
        tokens, lengths, seconds = (columns[name] for name in RAGGED)
        assert isinstance(tokens, Ragged) and isinstance(lengths, Ragged) and isinstance(seconds, Ragged)
        tokens = replace(tokens, longest=int(index["longest_row"]))
        counts = columns["counts"]
        assert isinstance(counts, np.ndarray)
        targets = {name.removeprefix("target."): value for name, value in columns.items() if name.startswith("target.")}
        return cls(path, Rows(tokens, lengths, seconds, counts, targets, Counter(index["notes"])), index, reused)

    def verify(self) -> None:
        """Reads the whole file. Raises IntegrityError if a byte of it differs from what was written."""
        found = content_hash(str(self.path), pyarrow.fs.LocalFileSystem(), remember=False)
        if found != self.index["sha256"]:
            raise IntegrityError(
                f"its SHA-256 is {found}, its index says {self.index['sha256']}. Delete both files.", where=str(self.path)
            )


def build_split(folder: Path | str, job: SplitJob) -> StoredSplit:
    """The stored split of this job, built if it does not stand in the folder yet.

    One builder works under a lock, others wait and take its result. A build that dies leaves nothing that is ever opened.
    Raises DataError when a row can not be used, or none is left.
    """
    place = Path(folder) / job.name
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{job.split}-{job.key()[:20]}.arrow"
    found = _existing(path)
    if found is not None:
        check_share(found.quarantined, job.reading)
        return found
    with filelock.FileLock(place / f".{path.stem}.lock"):
        found = _existing(path)
        if found is not None:
            check_share(found.quarantined, job.reading)
            return found
        for torn in place.glob(f".{path.stem}.*.tmp"):
            torn.unlink()
        rows, report = _encode(job)
        _write(path, rows, job, report)
    return StoredSplit.open(path, reused=False)


def build_all(folder: Path | str, jobs: Sequence[SplitJob], workers: int = 1) -> list[StoredSplit]:
    """Every job's split, in order, by a pool of threads (tokenising releases the interpreter's lock).

    Raises what went wrong in any of them, all of it together.
    """
    problems = Problems()
    results: list[StoredSplit] = []
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        for job, future in [(job, pool.submit(build_split, folder, job)) for job in jobs]:
            try:
                results.append(future.result())
            except TrunklineError as error:
                problems.add(type(error)(f"{error.message} (task '{job.name}', {job.split})", where=error.where))
    problems.raise_if_any()
    return results


def _existing(path: Path) -> StoredSplit | None:
    if not _index_path(path).exists():
        return None
    try:
        return StoredSplit.open(path)
    except (IntegrityError, FileNotFoundError) as error:
        log.warning("stored split is built anew: %s", error)
        return None


def _encode(job: SplitJob) -> tuple[Rows, dict[str, Any]]:
    intake = Intake(job.encoding, job.reading, extras=job.extras, beside=job.beside)
    parts = [rows for chunk in job.source.read(job.split) if (rows := intake.rows(chunk)) is not None]
    if parts and job.beside and not any(rows.counts.any() for rows in parts):
        raise DataError(
            f"column '{job.encoding.target}' has no value in any of {sum(map(len, parts))} rows of split '{job.split}'. "
            "Give some rows a label, or leave the task out.",
            where=job.name,
        )
    if job.split == "train":
        parts = [job.encoding.drawn(rows) for rows in parts]
    report = intake.report()
    check_share(report, job.reading)
    rows = join(parts) if parts else None
    if rows is not None and not job.beside and not rows.counts.all():
        notes, learned = rows.notes, np.flatnonzero(rows.counts)
        notes["without_targets_dropped"] = len(rows) - len(learned)
        rows = rows.take(learned)
        rows.notes.update(notes)
    if rows is None or not len(rows):
        told = dict(intake.notes + rows.notes if rows is not None else intake.notes) or "nothing was dropped"
        raise DataError(f"split '{job.split}' has no rows left of {intake.read} read ({told}).", where=job.name)
    rows.notes.update(intake.notes)
    if intake.quarantined:
        rows.notes[NOTE] = intake.quarantined
    return rows, report


def _write(path: Path, rows: Rows, job: SplitJob, report: Mapping[str, Any]) -> None:
    """Arrow file first, index last: a split exists once its index does. report: of the rows set aside."""
    columns: dict[str, Target] = {"tokens": rows.tokens, "lengths": rows.lengths, "seconds": rows.seconds, "counts": rows.counts}
    columns |= {f"target.{name}": value for name, value in rows.targets.items()}
    batch = pyarrow.record_batch({name: _to_arrow(value) for name, value in columns.items()})
    temporary = path.parent / f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    with pyarrow.OSFile(str(temporary), "wb") as sink, pyarrow.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    lengths = rows.tokens.lengths
    index = {
        "schema_version": STORE_VERSION,
        "task": job.name,
        "split": job.split,
        "key": job.key(),
        "rows": len(rows),
        "tokens": int(lengths.sum()),
        "longest_row": int(lengths.max()),
        "targets": int(rows.counts.sum()),
        "notes": dict(sorted(rows.notes.items())),
        **({NOTE: report} if report["rows"] else {}),
        "size_bytes": temporary.stat().st_size,
        "sha256": content_hash(str(temporary), pyarrow.fs.LocalFileSystem(), remember=False),
    }
    durable.commit(temporary, path)
    temporary.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    durable.commit(temporary, _index_path(path))


def _index_path(path: Path) -> Path:
    return path.with_suffix(".json")


def _read_index(path: Path) -> dict[str, Any]:
    where = str(_index_path(path))
    try:
        index = json.loads(_index_path(path).read_text(encoding="utf-8"))
        version = index["schema_version"]
    except FileNotFoundError as error:
        raise IntegrityError("no such stored split.", where=where) from error
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"is no index of a stored split: {error}. Delete it.", where=where) from error
    if version != STORE_VERSION:
        raise IntegrityError(f"has store version {version}, this trunkline reads {STORE_VERSION}. Delete it.", where=where)
    return dict(index)


def _to_arrow(value: Target) -> pyarrow.Array:
    if isinstance(value, Ragged):
        return pyarrow.LargeListArray.from_arrays(pyarrow.array(value.starts), pyarrow.array(value.values))
    if value.ndim == 1:
        return pyarrow.array(value)
    return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(value.reshape(-1)), value.shape[1])


def _to_numpy(array: pyarrow.Array) -> Target:
    """Views into the array's buffers; nothing is copied."""
    if isinstance(array, pyarrow.LargeListArray):
        return Ragged(array.values.to_numpy(zero_copy_only=True), array.offsets.to_numpy(zero_copy_only=True))
    if isinstance(array, pyarrow.FixedSizeListArray):
        return array.values.to_numpy(zero_copy_only=True).reshape(len(array), -1)
    return array.to_numpy(zero_copy_only=True)
