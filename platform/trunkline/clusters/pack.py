"""The project as it is sent: its files but for what is ignored, big or secret."""

from __future__ import annotations

import fnmatch
import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from trunkline.document.reader import shown
from trunkline.errors import ConfigError, Problems
from trunkline.monitor.redact import holds_secret

IGNORE_FILE = ".trunklineignore"
LIMIT = 100 * 2**20  # Ray refuses larger working directories
IGNORED = (
    ".git",
    ".hg",
    ".svn",
    ".trunkline",
    "outputs",
    "wandb",
    ".venv",
    "venv",
    "node_modules",
    "__pycache__",
    ".*_cache",
    "*.pyc",
    "*.egg-info",
    ".DS_Store",
)
SECRET_FILES = (
    ".env",
    ".env.*",
    ".netrc",
    ".pypirc",
    ".aws",
    ".ssh",
    ".kube",
    ".gnupg",
    "id_rsa*",
    "id_ed25519*",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.keystore",
    "auth_token",
    "credentials",
    "credentials.json",
    "service_account*.json",
    ".git-credentials",
)
LOOKED_AT = (".yaml", ".yml", ".json", ".toml", ".ini", ".cfg", ".conf", ".py", ".sh", ".env", ".txt", ".md")
LOOKED_BYTES = 256 * 1024
EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Package:
    """files: path in the project, with slashes -> the file. left_out: secret files that stay here."""

    root: Path
    files: dict[str, Path]
    left_out: tuple[str, ...] = ()

    def archive(self) -> bytes:
        """A zip whose bytes depend on names, contents and executable bits alone."""
        memory = io.BytesIO()
        with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, path in self.files.items():
                entry = zipfile.ZipInfo(name, EPOCH)
                entry.external_attr = (0o100755 if os.access(path, os.X_OK) else 0o100644) << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, path.read_bytes())
        return memory.getvalue()

    def copy_to(self, folder: Path) -> None:
        """The files below a new folder."""
        for name, path in self.files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            target.chmod(0o755 if os.access(path, os.X_OK) else 0o644)

    @property
    def size(self) -> int:
        return sum(path.stat().st_size for path in self.files.values())


def digest(archive: bytes) -> str:
    """What an archive is known by."""
    return hashlib.sha256(archive).hexdigest()[:32]


def pack(root: Path, *, limit: int = LIMIT) -> Package:
    """The project's files in the order of their names.

    Raises ConfigError: more than `limit` bytes (with the largest), a link that leads out, a file in which a key stands.
    """
    root = root.resolve()
    patterns = (*IGNORED, *_own(root))
    problems, files, left_out = Problems(), {}, []
    for path in _walk(root, root, patterns):
        name = path.relative_to(root).as_posix()
        if _matches(name, SECRET_FILES):
            left_out.append(name)
        elif not path.resolve().is_relative_to(root):
            problems.add(_refused(path, "is a link that leads out of the project. Name it in"))
        elif path.suffix in LOOKED_AT and _tells(path):
            problems.add(_refused(path, "holds what looks like a key or a password. Remove it, or name the file in"))
        else:
            files[name] = path
    problems.raise_if_any()
    package = Package(root, files, tuple(left_out))
    if package.size > limit:
        largest = sorted(files, key=lambda name: -files[name].stat().st_size)[:3]
        shares = ", ".join(f"{name} ({files[name].stat().st_size / 2**20:.1f} MiB)" for name in largest)
        raise ConfigError(
            f"{package.size / 2**20:.1f} MiB would be sent, the limit is {limit / 2**20:.0f}. The largest: {shares}. "
            f"Name what is not needed in {IGNORE_FILE}, and keep data in the cluster's storage.",
            where=shown(root),
        )
    return package


def _refused(path: Path, what: str) -> ConfigError:
    return ConfigError(f"{what} {IGNORE_FILE}.", where=shown(path))


def _own(root: Path) -> list[str]:
    """The patterns of the ignore file: names or paths with * and ?, a line each, # begins a comment."""
    file = root / IGNORE_FILE
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    stripped = (line.strip().strip("/") for line in lines)
    return [line for line in stripped if line and not line.startswith("#")]


def _walk(folder: Path, root: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if _matches(path.relative_to(root).as_posix(), patterns):
            continue
        if path.is_dir() and not path.is_symlink():
            if _matches(path.name, SECRET_FILES):
                continue
            yield from _walk(path, root, patterns)
        elif path.is_file() or path.is_symlink():
            yield path


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    last = PurePosixPath(name).name
    return any(fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(last, pattern) for pattern in patterns)


def _tells(path: Path) -> bool:
    with path.open("rb") as file:
        return holds_secret(file.read(LOOKED_BYTES).decode("utf-8", "replace"))
