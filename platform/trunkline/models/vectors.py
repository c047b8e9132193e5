"""Word vectors from files: Word2Vec text and binary, GloVe, fastText .vec, and .npy beside a list of words; gzip or not."""

from __future__ import annotations

import gzip
import io
import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

import numpy as np

from trunkline.errors import ConfigError, DataError

GZIP: Final = b"\x1f\x8b"
LONGEST_WORD: Final = 4096  # bytes; a longer one means that a binary file is out of step
PACKED: Final = (".bin", ".bin.gz")
ARRAYS: Final = (".npy", ".npy.gz")


@dataclass(frozen=True)
class Vectors:
    """What a file holds of the words asked for. values [n, E] float32, in step with `words`; size: words of the file."""

    words: dict[str, int]
    values: np.ndarray
    size: int

    @property
    def dim(self) -> int:
        return int(self.values.shape[1])


def read_vectors(path: Path, wanted: Collection[str] | None, words: Path | None = None) -> Vectors:
    """The vectors of the `wanted` words, as they are spelled there; None: of every word.

    By the name: `.bin` is Word2Vec's binary format; `.npy` an array [n, E] whose words stand in the file `words`, one a line or
    in the first text column of a Parquet file; anything else is text, a word and its E numbers a line, with or without the
    line `n E` in front. Raises ConfigError for a file that is not there, DataError with its line for one that is broken: a line
    of another width, a value that is no finite number, bytes that are no UTF-8, a wanted word that stands twice.
    """
    if not path.is_file():
        raise ConfigError(f"embeddings.vectors: no file '{path}'.")
    name = path.name.lower()
    if name.endswith(ARRAYS):
        found = _array(path, wanted, words)
    elif words is not None:
        raise ConfigError(f"embeddings.words: '{path.name}' holds its words itself. Leave it out.")
    else:
        with _opened(path) as file:
            found = (_packed if name.endswith(PACKED) else _text)(file, path, wanted)
    bad = np.flatnonzero(~np.isfinite(found.values).all(1))
    if len(bad):
        word = list(found.words)[int(bad[0])]
        raise DataError(
            f"the vector of '{word}' holds a value that is no finite number, and so do {len(bad)} in all.", where=path.name
        )
    return found


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        zipped = file.read(2) == GZIP
    return cast("BinaryIO", gzip.open(path)) if zipped else path.open("rb")


def _text(file: BinaryIO, path: Path, wanted: Collection[str] | None) -> Vectors:
    first = file.readline()
    promised = _header(first)
    dim = len(first.split()) - 1 if promised is None else promised[1]
    if dim < 1:
        raise DataError(f"no word vectors: the first line is {_shown(first)}.", where=f"{path.name}:1")
    lines = itertools.chain([(1, first)] if promised is None else [], enumerate(file, 2))
    numbers: dict[str, int] = {}
    lines_of: dict[str, int] = {}
    rows: list[np.ndarray] = []
    size = 0
    for number, line in lines:
        word, values = _parts(line, dim, f"{path.name}:{number}")
        size += 1
        if wanted is not None and word not in wanted:
            continue
        if word in numbers:
            raise DataError(f"'{word}' stands here and in line {lines_of[word]}. Keep one.", where=f"{path.name}:{number}")
        numbers[word], lines_of[word] = len(rows), number
        rows.append(_floats(values, f"{path.name}:{number}"))
    if promised is not None and size != promised[0]:
        raise DataError(f"its first line promises {promised[0]:,} words, {size:,} follow. Is it cut short?", where=path.name)
    return Vectors(numbers, np.array(rows, np.float32).reshape(-1, dim), size)


def _header(line: bytes) -> tuple[int, int] | None:
    """(words, E) where the line says that, as Word2Vec's and fastText's first does."""
    parts = line.split()
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 and all(part.isdigit() for part in parts) else None


def _parts(line: bytes, dim: int, where: str) -> tuple[str, list[bytes]]:
    """A line's word and its numbers. GloVe's 840B has a few words with spaces in them, but no number is a part of a word."""
    pieces = line.rstrip(b" \r\n").split(b" ")
    cut = len(pieces) - dim
    if cut < 1 or (cut > 1 and _is_number(pieces[1])):
        raise DataError(f"a word and {dim} numbers are expected, found {_shown(line)} with {len(pieces) - 1}.", where=where)
    try:
        return b" ".join(pieces[:cut]).decode("utf-8"), pieces[cut:]
    except UnicodeDecodeError as error:
        said = f"byte 0x{error.object[error.start]:02x} at place {error.start + 1} is no UTF-8. Convert the file to UTF-8."
        raise DataError(said, where=where) from error


def _is_number(piece: bytes) -> bool:
    try:
        float(piece)
    except ValueError:
        return False
    return True


def _floats(values: list[bytes], where: str) -> np.ndarray:
    try:
        return np.array(values).astype(np.float32)
    except ValueError as error:
        raise DataError(f"{error}.", where=where) from error


def _shown(line: bytes) -> str:
    text = line[:40].decode("utf-8", "replace").strip()
    return repr(text + "..." if len(line) > 40 else text)


def _packed(file: BinaryIO, path: Path, wanted: Collection[str] | None) -> Vectors:
    """Word2Vec's binary format: `n E`, then n times a word, a space and E little-endian floats."""
    promised = _header(file.readline(64))
    if promised is None or not promised[1]:
        raise DataError("no Word2Vec binary file: it does not begin with the number of words and of entries.", where=path.name)
    size, dim = promised
    # Words of other encodings are never asked for, and kept apart where every word is.
    sought = None if wanted is None else {word.encode("utf-8"): word for word in wanted}
    numbers: dict[str, int] = {}
    rows: list[np.ndarray] = []
    for number, (name, values) in enumerate(_records(file, path, size, dim), 1):
        word = name.decode("utf-8", "surrogateescape") if sought is None else sought.get(name)
        if word is None:
            continue
        if word in numbers:
            raise DataError(f"word {number:,} of {size:,} is '{word}' once more. Keep one.", where=path.name)
        numbers[word] = len(rows)
        rows.append(np.frombuffer(values, "<f4"))
    return Vectors(numbers, np.array(rows, np.float32).reshape(-1, dim), size)


def _records(file: BinaryIO, path: Path, size: int, dim: int) -> Iterator[tuple[bytes, bytes]]:
    reader = io.BufferedReader(cast("io.RawIOBase", file), 1 << 20)
    for number in range(size):
        word = bytearray()
        while (letter := reader.read(1)) != b" ":
            word += letter
            if not letter or len(word) > LONGEST_WORD:
                raise DataError(f"ends or is out of step after {number:,} of {size:,} words of {dim} entries.", where=path.name)
        values = reader.read(4 * dim)
        if len(values) < 4 * dim:
            raise DataError(f"ends within word {number + 1:,} of {size:,}, of {dim} entries each.", where=path.name)
        yield bytes(word).lstrip(b"\n"), values


def _array(path: Path, wanted: Collection[str] | None, words: Path | None) -> Vectors:
    if words is None:
        raise ConfigError(f"embeddings.words: name the file with the words of '{path.name}', in its order.")
    if not words.is_file():
        raise ConfigError(f"embeddings.words: no file '{words}'.")
    try:
        with _opened(path) as file:
            zipped = isinstance(file, gzip.GzipFile)
            values = np.load(file, allow_pickle=False) if zipped else np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"no array that numpy reads: {error}.", where=path.name) from error
    listed = _listed(words)
    if values.ndim != 2 or values.dtype.kind != "f" or len(values) != len(listed):
        shape = " x ".join(map(str, values.shape))
        said = f"an array of {shape} {values.dtype}, and {words.name} has {len(listed):,} words. One vector a word is needed."
        raise DataError(said, where=path.name)
    numbers: dict[str, int] = {}
    for number, word in enumerate(listed):
        if wanted is not None and word not in wanted:
            continue
        if word in numbers:
            raise DataError(
                f"'{word}' stands here and in line {numbers[word] + 1}. Keep one.", where=f"{words.name}:{number + 1}"
            )
        numbers[word] = number
    kept = np.fromiter(numbers.values(), np.int64, len(numbers))
    return Vectors({word: row for row, word in enumerate(numbers)}, np.asarray(values[kept], np.float32), len(listed))


def _listed(path: Path) -> list[str]:
    if path.name.endswith(".parquet"):
        import pyarrow
        import pyarrow.parquet

        schema = pyarrow.parquet.read_schema(path)
        texts = [
            field.name for field in schema if pyarrow.types.is_string(field.type) or pyarrow.types.is_large_string(field.type)
        ]
        if not texts:
            raise DataError(f"no column of text, only: {', '.join(schema.names)}.", where=path.name)
        found: list[str] = pyarrow.parquet.read_table(path, columns=texts[:1]).column(0).to_pylist()
        return found
    with _opened(path) as file:
        try:
            return file.read().decode("utf-8").removesuffix("\n").replace("\r\n", "\n").split("\n")
        except UnicodeDecodeError as error:
            said = f"byte 0x{error.object[error.start]:02x} at {error.start + 1:,} is no UTF-8. Convert the file to UTF-8."
            raise DataError(said, where=path.name) from error
