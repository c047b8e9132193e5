"""`python -m fuzz READER SECONDS`: nothing but a coded error may come of any bytes."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["trunkline"]):
    import torch

    from trunkline import checkpoint
    from trunkline.data.sources.base import SourceContext
    from trunkline.data.sources.conll import Conll
    from trunkline.data.sources.squad import Squad
    from trunkline.document import reader
from trunkline.errors import TrunklineError

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
QUESTION = {"id": "q", "question": "What?", "answers": [{"text": "Rome", "answer_start": 0}]}
SQUAD = {"data": [{"title": "T", "paragraphs": [{"context": "Rome is old.", "qas": [QUESTION]}]}]}


def yaml(content: bytes) -> None:
    path = FOLDER / "a.yaml"
    path.write_bytes(content)
    reader.read(path)


def conll(content: bytes) -> None:
    (FOLDER / "a.txt").write_bytes(content)
    for chunk in Conll(SourceContext(FOLDER), train="a.txt", names=["words", "tags"]).read("train"):
        assert len(chunk) >= 0


def squad(content: bytes) -> None:
    (FOLDER / "a.json").write_bytes(content)
    for chunk in Squad(SourceContext(FOLDER), train="a.json").read("train"):
        assert len(chunk) >= 0


def manifest(content: bytes) -> None:
    root = FOLDER / "run"
    if not root.is_dir():
        checkpoint.save(root, 7, {"param/a": torch.zeros(3)}, {}, {}, rank=0, gather=lambda value: [value])
    folder = root / checkpoint.name_of(7)
    (folder / "manifest.json").write_bytes(content)
    (folder / "COMMIT").write_text(checkpoint.hashlib.sha256(content).hexdigest())
    checkpoint.load(folder)


READERS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "yaml": (yaml, [b"a: [1, {b: 'c'}]\nd: &x >\n  e\nf: *x\n"]),
    "conll": (conll, [b"EU B\nrejects O\n\n. O\n"]),
    "squad": (squad, [json.dumps(SQUAD).encode()]),
    "manifest": (manifest, [b'{"schema_version": 1, "step": 7, "files": {"state.json": {"size": 1, "sha256": "a"}}}']),
}


def main(name: str, seconds: str) -> None:
    read, seeds = READERS[name]
    corpus = FOLDER / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)

    def one(content: bytes) -> None:
        try:
            read(content)
        except TrunklineError as error:
            assert str(error) and error.exit_code in (3, 4, 5)

    arguments = [sys.argv[0], f"-max_total_time={seconds}", "-max_len=2000", "-timeout=10", "-print_final_stats=1", str(corpus)]
    atheris.Setup(arguments, one)
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
