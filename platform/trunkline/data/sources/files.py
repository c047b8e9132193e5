"""Files of rows: paths relative to the card, globs, compression by name, members of zip archives, any URI of `pyarrow.fs`."""

from __future__ import annotations

import contextlib
import csv
import fnmatch
import glob
import io
import stat
import zipfile
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.fs

from trunkline.data.fingerprint import configuration, content_hash, digest
from trunkline.data.sources.base import Source, SourceContext
from trunkline.data.sources.chunk import Chunk
from trunkline.errors import ConfigError, DataError, nearest

SPLITS = ("train", "validation", "test", "rows")
WILD = "*?["
# Between an archive and what is read of it: data.zip!train.tsv, data.zip!*/train*.txt.
MEMBER = ".zip!"
# A text that is packed to less than a thousandth is no text; zip's own best is 1,032.
BOMB, BOMB_BYTES, MOST_MEMBERS = 500, 1 << 28, 1_000_000
UNREADABLE = (OSError, EOFError, pyarrow.ArrowException, csv.Error, UnicodeError, zipfile.BadZipFile, zlib.error)
Paths = str | Sequence[str] | None


@dataclass(frozen=True)
class Location:
    """One file. shown: how messages call it, as the card does. member: the file meant inside the zip archive at `path`."""

    filesystem: pyarrow.fs.FileSystem
    path: str
    shown: str
    member: str | None = None

    def stream(self) -> io.BufferedIOBase | pyarrow.NativeFile:
        """Its bytes from the start, decompressed as its name tells (.gz, .bz2, .zst, .lz4)."""
        if self.member is None:
            return self.filesystem.open_input_stream(self.path, compression="detect")
        return zipfile.ZipFile(self.filesystem.open_input_file(self.path)).open(self.member)

    def random_access(self) -> pyarrow.NativeFile:
        """Its bytes as they are, anywhere; a member of an archive is read into memory."""
        if self.member is None:
            return self.filesystem.open_input_file(self.path)
        with self.stream() as stream:
            return pyarrow.BufferReader(stream.read())

    def content(self) -> str:
        """A hash that changes when its bytes do."""
        found = content_hash(self.path, self.filesystem)
        return found if self.member is None else f"{found}!{self.member}"

    def text(self, encoding: str, newline: str | None = None) -> io.TextIOWrapper:
        """Its characters; a byte that is none becomes U+FFFD."""
        name = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
        try:
            return io.TextIOWrapper(io.BufferedReader(self.stream(), 1 << 20), encoding=name, errors="replace", newline=newline)
        except LookupError as error:
            raise ConfigError(f"data.encoding: no encoding named '{encoding}'. Usual ones: utf-8, latin-1, gb18030.") from error


class FileSource(Source):
    """Rows from files: train, validation and test, or `rows` to be split. Each is a path, a glob, a URI or a list of them."""

    def __init__(
        self, context: SourceContext, *, train: Paths = None, validation: Paths = None, test: Paths = None, rows: Paths = None
    ) -> None:
        super().__init__(context)
        self.train, self.validation, self.test, self.rows = train, validation, test, rows
        if rows is not None and any(paths is not None for paths in (train, validation, test)):
            raise ConfigError(
                "data: names `rows` beside train, validation or test. Give either `rows` with `split`, or the splits."
            )
        if not self.splits():
            raise ConfigError("data: names no files. Give train and validation, or `rows` with `split`.")

    def splits(self) -> tuple[str, ...]:
        return tuple(name for name in SPLITS if getattr(self, name) is not None)

    def files(self) -> list[str]:
        return [location.path for split in self.splits() for location in self.locations(split)]

    def locations(self, split: str) -> list[Location]:
        """The files of a split, globs in sorted order. Raises DataError for one that is not there."""
        paths = getattr(self, split)
        if paths is None:
            raise DataError(f"no split '{split}'. {nearest(split, self.splits())}")
        return locate_all(self.context.folder, paths)

    def fingerprint(self, split: str) -> str:
        """Of one split: where the other splits lie, or what they hold, does not matter."""
        contents = [location.content() for location in self.locations(split)]
        options = {name: value for name, value in configuration(self).items() if name not in SPLITS}
        return digest([self.identity(), options, contents, split])

    def read(self, split: str) -> Iterator[Chunk]:
        for location in self.locations(split):
            with readable(location):
                yield from self.read_file(location)

    @abstractmethod
    def read_file(self, location: Location) -> Iterator[Chunk]:
        """The rows of one file."""


@contextlib.contextmanager
def readable(location: Location) -> Iterator[None]:
    """What goes wrong while the file is read is told with its name. Raises DataError."""
    try:
        yield
    except UNREADABLE as error:
        reason = str(error).strip().splitlines()
        raise DataError(f"can not be read: {reason[0] if reason else type(error).__name__}.", where=location.shown) from error


def locate_all(folder: Path, paths: str | Sequence[str]) -> list[Location]:
    """The files that a card's path or paths name, in their order, those of a glob sorted."""
    listed = [paths] if isinstance(paths, str) else list(paths)
    return [location for path in listed for location in locate(folder, path)]


def locate(folder: Path, path: str) -> list[Location]:
    """The files a card's path names, which may be a glob, a URI, or members of a zip archive."""
    if MEMBER in path:
        archive, member = path.split(MEMBER, 1)
        archives = locate(folder, f"{archive}{MEMBER[:-1]}")
        return [inside for location in archives for inside in _members(location, member)]
    if "://" in path:
        try:
            filesystem, inner = pyarrow.fs.FileSystem.from_uri(path)
        except (pyarrow.ArrowInvalid, ValueError) as error:
            raise DataError("no file system for this URI. Known: file, s3, gs, hdfs, abfss.", where=path) from error
        return _locate_remote(filesystem, inner, path)
    local = pyarrow.fs.LocalFileSystem()
    place = folder / Path(path).expanduser()
    if any(sign in path for sign in WILD) and not place.exists():
        found = [Path(name) for name in sorted(glob.glob(str(place), recursive=True)) if Path(name).is_file()]
        if not found:
            raise DataError("no file matches.", where=path)
        return [Location(local, str(item), _shown(item, folder)) for item in found]
    _must_be_file(place, path)
    return [Location(local, str(place), path)]


def _members(archive: Location, pattern: str) -> list[Location]:
    """Files inside the archive by name, or by a glob, sorted."""
    with readable(archive), archive.filesystem.open_input_file(archive.path) as stream, zipfile.ZipFile(stream) as opened:
        listed = opened.infolist()
        infos = {info.filename: info for info in listed if not info.is_dir()}
    names = [pattern] if pattern in infos else sorted(name for name in infos if fnmatch.fnmatchcase(name, pattern))
    where = f"{archive.shown}!{pattern}"
    if not names:
        raise DataError(f"no such file in the archive. {nearest(pattern, infos)}", where=where)
    if len(listed) > MOST_MEMBERS:
        raise DataError(f"holds {len(listed)} files, more than {MOST_MEMBERS}. Unpack it, and name the files.", where=where)
    for info in (infos[name] for name in names):
        if info.file_size > max(BOMB_BYTES, BOMB * info.compress_size):
            raise DataError(
                f"unpacks to {info.file_size} bytes, {info.file_size // max(info.compress_size, 1)} times its size: a bomb, or "
                "padding. Unpack it yourself if you trust it, and name the file.",
                where=f"{archive.shown}!{info.filename}",
            )
    if any(infos[name].flag_bits & 1 for name in names):
        raise DataError("is encrypted. Unpack it with its password, and name the file.", where=where)
    return [Location(archive.filesystem, archive.path, f"{archive.shown}!{name}", name) for name in names]


def _must_be_file(place: Path, path: str) -> None:
    if not place.exists():
        siblings = [item.name for item in place.parent.iterdir()] if place.parent.is_dir() else []
        hint = f" {nearest(place.name, siblings)}" if siblings else ""
        raise DataError(f"no such file.{hint}", where=path)
    mode = place.stat().st_mode
    if not stat.S_ISREG(mode):
        raise DataError(
            "is a folder. Name files, or a glob such as folder/*.jsonl." if stat.S_ISDIR(mode) else "is no plain file.",
            where=path,
        )
    if place.stat().st_size == 0:
        raise DataError("is empty (0 bytes).", where=path)


def _locate_remote(filesystem: pyarrow.fs.FileSystem, inner: str, path: str) -> list[Location]:
    scheme = path.split("://", 1)[0]
    if not any(sign in inner for sign in WILD):
        info = filesystem.get_file_info(inner)
        if info.type is not pyarrow.fs.FileType.File:
            raise DataError("no such file.", where=path)
        if not info.size:
            raise DataError("is empty (0 bytes).", where=path)
        return [Location(filesystem, inner, path)]
    parts = inner.split("/")
    depth = next(number for number, part in enumerate(parts) if any(sign in part for sign in WILD))
    selector = pyarrow.fs.FileSelector("/".join(parts[:depth]), recursive=True, allow_not_found=True)
    infos = [info for info in filesystem.get_file_info(selector) if info.type is pyarrow.fs.FileType.File]
    found = sorted(info.path for info in infos if fnmatch.fnmatchcase(info.path, inner))
    if not found:
        raise DataError("no file matches.", where=path)
    return [Location(filesystem, name, f"{scheme}://{name}") for name in found]


def _shown(place: Path, folder: Path) -> str:
    return str(place.relative_to(folder)) if place.is_relative_to(folder) else str(place)
