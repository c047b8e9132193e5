"""A team's cards at an address that many machines write to: every version is kept, with who and when; none is ever lost.

    <name>/cards/<version>/card.yaml [plugin.py]    written once; the version is the hash of both
    <name>/log/<time>-<random>.json                 one entry for each publication: version, what it followed, who, when

Nothing is ever replaced, so an object store without conditional writes is enough. Two publications that followed the same
version at once are both there, and whoever reads is told of both.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from trunkline.errors import ConfigError, EnvironmentProblem, IntegrityError, UsageError, nearest
from trunkline.tasks.card import NAME, NAME_RULE, load_card
from trunkline.tasks.change import OWN_FILES, write_folder

Answer = TypeVar("Answer")
TRIES, WAIT_S = 5, 0.1


@dataclass(frozen=True)
class Entry:
    """One publication. after: the versions it followed."""

    version: str
    after: tuple[str, ...]
    who: str
    when: str
    files: tuple[str, ...]


class TeamCatalog:
    """The cards at `address`: a folder, or any URI that pyarrow.fs opens (s3://, gs://, hdfs://). Raises ConfigError."""

    def __init__(self, address: str) -> None:
        from pyarrow import fs

        self.address = address
        try:
            if "://" in address:
                self._files, self._root = fs.FileSystem.from_uri(address)
            else:
                self._files, self._root = fs.LocalFileSystem(), str(Path(address).absolute())
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"is no address of a catalog: {error}. Give a folder, or s3://BUCKET/PATH.", where=address
            ) from error

    def publish(self, source: Path | str, who: str) -> tuple[Entry, bool]:
        """The card's entry, and whether it is new: the same card as the newest changes nothing.

        It follows all that were newest. Raises ConfigError if the card names data that other machines do not see.
        """
        card = load_card(source)
        named = [path for paths in card.data.files().values() for path in paths]
        near = [path for path in named if "://" not in path and not Path(path).is_absolute()]
        if near:
            raise ConfigError(
                f"names data beside itself, {near[0]!r}, which other machines do not see. Put it in shared storage, and name it "
                "by an absolute path or a URI.",
                where=card.where("data"),
            )
        content = {"card.yaml": card.text.encode()}
        if card.plugin is not None:
            content["plugin.py"] = card.plugin.read_bytes()
        return self._publish(card.name, content, who)

    def history(self, name: str) -> list[Entry]:
        """Every publication of a card, oldest first. Raises UsageError for a name that was never published."""
        if not NAME.fullmatch(name):
            raise UsageError(f"{name[:80]!r} is not a task name. {NAME_RULE}")
        entries = [_entry(json.loads(self._read(path))) for path in self._list(f"{name}/log")]
        if not entries:
            raise UsageError(f"no task '{name}'. {nearest(name, self.names())}", where=self.address)
        return sorted(entries, key=lambda entry: (entry.when, entry.version))

    def names(self) -> list[str]:
        """The cards that were published."""
        return sorted(path.rsplit("/", 1)[-1] for path in self._list(""))

    def newest(self, name: str) -> list[Entry]:
        """The publications that none has followed: one, or several that were made at once."""
        entries = self.history(name)
        followed = {version for entry in entries for version in entry.after}
        latest = {entry.version: entry for entry in entries}  # of one version the last
        heads = [entry for version, entry in latest.items() if version not in followed]
        return heads or [entries[-1]]  # an old version that was published again

    def fetch(self, name: str, folder: Path, version: str | None = None) -> Entry:
        """Writes a card into the catalog `folder`, in place of an earlier version of its own.

        Raises ConfigError where the card there is none of them, UsageError where two were published at once and `version` does
        not say which, IntegrityError where what is stored is not what was published.
        """
        entries = {entry.version: entry for entry in self.history(name)}
        if version is None:
            heads = self.newest(name)
            if len(heads) > 1:
                raise UsageError(f"{_both(heads)} Name one by --version.", where=f"{self.address}/{name}")
            version = heads[0].version
        if version not in entries:
            raise UsageError(f"no version '{version}' of '{name}'. {nearest(version, entries)}", where=self.address)
        entry = entries[version]
        content = {file: self._read(f"{self._root}/{name}/cards/{version}/{file}") for file in entry.files}
        if _version(content) != version:
            raise IntegrityError("is not what was published: its hash differs.", where=f"{self.address}/{name}/cards/{version}")
        _place(folder / name, content, set(entries))
        return entry

    def _publish(self, name: str, content: dict[str, bytes], who: str) -> tuple[Entry, bool]:
        version = _version(content)
        heads = self.newest(name) if name in self.names() else []
        if [head.version for head in heads] == [version]:
            return heads[0], False
        for file, data in content.items():
            self._write(f"{name}/cards/{version}/{file}", data)
        now = datetime.datetime.now(datetime.UTC).isoformat()
        after = tuple(head.version for head in heads if head.version != version)
        entry = Entry(version, after, who, now, tuple(content))
        key = f"{now.replace(':', '')}-{secrets.token_hex(4)}"
        self._write(f"{name}/log/{key}.json", json.dumps({"schema_version": 1, **asdict(entry)}, indent=1).encode())
        return entry, True

    def _list(self, folder: str) -> list[str]:
        from pyarrow import fs

        place = fs.FileSelector(f"{self._root}/{folder}".rstrip("/"), allow_not_found=True)
        found = _patiently(self.address, lambda: self._files.get_file_info(place))
        return sorted(info.path for info in found if "/." not in info.path.removeprefix(self._root))

    def _read(self, path: str) -> bytes:
        def read() -> bytes:
            with self._files.open_input_stream(path) as stream:
                content: bytes = stream.read()
            return content

        return _patiently(path, read)

    def _write(self, key: str, content: bytes) -> None:
        """Whole or not at all, under a name that only this content bears."""
        path = f"{self._root}/{key}"
        folder, _, file = path.rpartition("/")
        aside = f"{folder}/.{file}.{secrets.token_hex(4)}"

        def put() -> None:
            with self._files.open_output_stream(aside) as stream:
                stream.write(content)

        _patiently(path, lambda: self._files.create_dir(folder, recursive=True))
        _patiently(path, put)
        _patiently(path, lambda: self._files.move(aside, path))


def _patiently(where: str, act: Callable[[], Answer]) -> Answer:
    """What a store answers that may fail for a moment. Raises EnvironmentProblem when it failed `TRIES` times in a row."""
    from tenacity import Retrying, retry_if_exception_type, retry_if_not_exception_type, stop_after_attempt, wait_exponential

    final = (FileNotFoundError, PermissionError)
    again = Retrying(
        retry=retry_if_exception_type(OSError) & retry_if_not_exception_type(final),
        stop=stop_after_attempt(TRIES),
        wait=wait_exponential(WAIT_S, max=2),
        reraise=True,
    )
    try:
        return again(act)
    except OSError as error:
        raise _unreached(where, error) from error


def _unreached(where: str, error: OSError) -> EnvironmentProblem:
    said = error.strerror or error
    return EnvironmentProblem(f"can not be reached: {said}. Check the address and the credentials.", where=where)


def _version(content: dict[str, bytes]) -> str:
    hashed = hashlib.sha256()
    for file in OWN_FILES:
        if file in content:
            hashed.update(f"{file} {len(content[file])}\n".encode() + content[file])
    return hashed.hexdigest()[:16]


def _entry(stated: dict[str, Any]) -> Entry:
    return Entry(stated["version"], tuple(stated["after"]), stated["who"], stated["when"], tuple(stated["files"]))


def _both(heads: list[Entry]) -> str:
    shown = " and ".join(f"{head.version} by {head.who}" for head in heads)
    return f"{len(heads)} versions were published at once: {shown}."


def _place(target: Path, content: dict[str, bytes], published: set[str]) -> None:
    """The files in the catalog. What is there may be replaced only if it was published itself."""
    there = {file: (target / file).read_bytes() for file in OWN_FILES if (target / file).is_file()}
    if there == content:
        return
    if there and _version(there) not in published:
        where = str(target / "card.yaml")
        raise ConfigError("is another card than any that was published. Publish it, or move it away.", where=where)
    for file in there:
        (target / file).unlink()
    if target.is_dir() and any(target.iterdir()):
        for file, data in content.items():
            (target / file).write_bytes(data)
        return
    write_folder(target, content)
