"""What lies on disk: L7 Parquet with page checksums, L8 a checkpoint of 500 MB, L9 a thousand of them in rotation."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from benchmarks.load.measures import told
from benchmarks.speed.saving import Saving

from trunkline import checkpoint
from trunkline.data.sources.chunk import CHUNK_ROWS

ROUNDS = 3
Row = dict[str, Any]


def l7() -> Row:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        rng = np.random.default_rng(0)
        words = np.array([f"word{number}" for number in range(30_000)])
        texts = [" ".join(row) for row in words[rng.integers(0, len(words), (200_000, 24))]]
        table = pyarrow.table({"text": texts, "label": rng.integers(0, 4, len(texts))})
        pyarrow.parquet.write_table(table, path, write_page_checksum=True)
        pairs = [(read(path, checked=True), read(path, checked=False)) for _ in range(ROUNDS + 1)][1:]
        megabytes = path.stat().st_size / 1e6
    share = statistics.median(without / checked for checked, without in pairs)
    got = f"{share:.2f}x, {megabytes:.0f} MB of text read in batches"
    return told(
        got, share >= 0.8, "The store of tokenised rows is Arrow with one SHA-256, read at `verify`", share=round(share, 3)
    )


def read(path: Path, *, checked: bool) -> float:
    """CPU seconds of reading as the source `parquet` does, without what Python makes of it."""
    since = time.process_time()
    with pyarrow.parquet.ParquetFile(path, page_checksum_verification=checked) as file:
        for batch in file.iter_batches(batch_size=CHUNK_ROWS):
            assert batch.num_rows
    return time.process_time() - since


def l8() -> Row:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    sides = Saving(parameters=41_700_000)
    turns = [(sides.written(), sides.plain(), sides.blocked(aside=True), sides.blocked(aside=False)) for _ in range(ROUNDS + 1)]
    found = turns[1:]
    sides.close()
    ratio = statistics.median(written.seconds / plain.seconds for written, plain, _, _ in found)
    cpu = statistics.median(written.cpu / plain.cpu for written, plain, _, _ in found)
    stall = statistics.median(aside / at_once for _, _, aside, at_once in found)
    got = f"{ratio:.2f}x the time of `torch.save` ({cpu:.2f}x its CPU time); "
    got += f"saving aside blocks {100 * stall:.0f} % as long as at once"
    note = "" if ratio <= 2 else "`torch.save` neither syncs nor hashes: what it wrote may still lie in memory"
    times = [[round(written.seconds, 2), round(plain.seconds, 2), round(a, 2), round(b, 2)] for written, plain, a, b in found]
    return told(got, ratio <= 2 and stall <= 0.2, note, ratio=ratio, cpu_ratio=cpu, stall=stall, seconds=times)


def l9() -> Row:
    tensors, most = {"weight": torch.zeros(256)}, 0
    wrong: list[int] = []
    since = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for step in range(1, 1001):
            checkpoint.save(root, step, tensors, {}, {}, rank=0, gather=lambda value: [value])
            most = max(most, len(checkpoint.prune(root, keep_last=3)))
            wanted = [checkpoint.name_of(kept) for kept in range(max(1, step - 2), step + 1)]
            if sorted(path.name for path in root.iterdir()) != wanted:
                wrong.append(step)
        restored, passed = checkpoint.newest(root)
    assert restored is not None
    fine = not wrong and not passed and restored.step == 1000
    got = f"after {len(wrong)} of 1,000 saves anything but the last 3 was there; at most {most} deleted at a time"
    return told(got, fine and most <= 1, wrong=wrong, newest=restored.step, cpu_s=round(time.process_time() - since, 1))
