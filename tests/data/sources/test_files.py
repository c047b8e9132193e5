from __future__ import annotations

import gzip
import io
import os
import zipfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from trunkline.data.sources.base import SourceContext
from trunkline.data.sources.columnar import Parquet
from trunkline.data.sources.text import JsonLines, Text
from trunkline.errors import ConfigError, DataError


def texts(source: Text, split: str = "train") -> list[str]:
    return [text for chunk in source.read(split) for text in chunk.columns["text"]]


def test_paths_are_relative_to_the_card_and_read_in_the_order_given(context: SourceContext) -> None:
    (context.folder / "deep").mkdir()
    (context.folder / "b.txt").write_text("b\n")
    (context.folder / "deep" / "a.txt").write_text("a\n")
    assert texts(Text(context, train=["b.txt", "deep/a.txt"])) == ["b", "a"]
    assert texts(Text(context, train=str(context.folder / "deep" / "a.txt"))) == ["a"]


def test_a_glob_is_read_in_sorted_order(context: SourceContext) -> None:
    for name in ("2", "10", "1"):
        (context.folder / f"part-{name}.txt").write_text(name)
    (context.folder / "deep").mkdir()
    (context.folder / "deep" / "part-0.txt").write_text("0")
    assert texts(Text(context, train="part-*.txt")) == ["1", "10", "2"]
    assert texts(Text(context, train="**/part-?.txt")) == ["0", "1", "2"]
    with pytest.raises(DataError, match=r"shard-\*\.txt: no file matches"):
        texts(Text(context, train="shard-*.txt"))


def test_a_gzipped_file_gives_the_rows_of_the_plain_one(context: SourceContext) -> None:
    content = "".join(f"line {number} 猫\n" for number in range(5000))
    (context.folder / "a.txt").write_text(content)
    (context.folder / "a.txt.gz").write_bytes(gzip.compress(content.encode()))
    assert texts(Text(context, train="a.txt.gz")) == texts(Text(context, train="a.txt"))


def test_a_truncated_gzip_names_the_file(context: SourceContext) -> None:
    content = gzip.compress(os.urandom(4000).hex().encode())
    (context.folder / "a.txt.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"a\.txt\.gz: can not be read"):
        texts(Text(context, train="a.txt.gz"))
    (context.folder / "b.txt.gz").write_text("not gzip at all")
    with pytest.raises(DataError, match=r"b\.txt\.gz: can not be read"):
        texts(Text(context, train="b.txt.gz"))


def test_a_uri_is_opened_and_may_be_a_glob(context: SourceContext) -> None:
    for name in "ba":
        (context.folder / f"{name}.txt").write_text(name)
    assert texts(Text(context, train=f"file://{context.folder}/a.txt")) == ["a"]
    assert texts(Text(context, train=f"file://{context.folder}/*.txt")) == ["a", "b"]
    for path in (f"file://{context.folder}/no.txt", f"file://{context.folder}/no*.txt", "carrier-pigeon://a/b.txt"):
        with pytest.raises(DataError, match=r"no such file|no file matches|no file system"):
            texts(Text(context, train=path))


def test_a_missing_file_is_named_with_the_nearest_one(context: SourceContext) -> None:
    (context.folder / "train.txt").write_text("a")
    with pytest.raises(DataError, match=r"^trian\.txt: no such file\. Did you mean 'train\.txt'\?"):
        texts(Text(context, train="trian.txt"))
    with pytest.raises(DataError, match=r"nowhere/train\.txt: no such file"):
        texts(Text(context, train="nowhere/train.txt"))


def test_empty_files_folders_and_pipes_are_refused(context: SourceContext) -> None:
    (context.folder / "empty.txt").touch()
    (context.folder / "folder").mkdir()
    os.mkfifo(context.folder / "pipe")
    for name, said in (("empty.txt", "is empty"), ("folder", "is a folder"), ("pipe", "is no plain file")):
        with pytest.raises(DataError, match=f"{name}: {said}"):
            texts(Text(context, train=name))
    with pytest.raises(DataError, match="is empty"):
        texts(Text(context, train=f"file://{context.folder}/empty.txt"))


def test_a_source_needs_files_and_not_both_kinds_of_split(context: SourceContext) -> None:
    with pytest.raises(ConfigError, match="names no files"):
        Text(context)
    with pytest.raises(ConfigError, match="`rows` beside"):
        Text(context, train="a", rows="b")
    assert Text(context, rows="a").splits() == ("rows",)
    assert Text(context, test="a", train="b").splits() == ("train", "test")


def test_an_unknown_split_is_named(context: SourceContext) -> None:
    (context.folder / "a.txt").write_text("a")
    with pytest.raises(DataError, match="no split 'validation'"):
        texts(Text(context, train="a.txt"), "validation")


def test_a_fingerprint_follows_contents_and_options_not_names(context: SourceContext) -> None:
    for name, text in (("a", "one"), ("same", "one"), ("b", "two")):
        (context.folder / f"{name}.jsonl").write_text(f'{{"text": "{text}"}}\n')
    one = JsonLines(context, train="a.jsonl", validation="b.jsonl").fingerprint("train")
    assert one == JsonLines(context, train="same.jsonl").fingerprint("train")
    others = [
        JsonLines(context, train="b.jsonl").fingerprint("train"),
        JsonLines(context, train=["a.jsonl", "same.jsonl"]).fingerprint("train"),
        Text(context, train="a.jsonl").fingerprint("train"),
        Text(context, train="a.jsonl", column="line").fingerprint("train"),
    ]
    assert len({one, *others}) == 5


def archive(folder: Path, **members: str) -> Path:
    path = folder / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, text in members.items():
            opened.writestr(name.replace("__", "/"), text)
    return path


def test_members_of_a_zip_archive_are_read_by_name_or_glob(context: SourceContext) -> None:
    archive(context.folder, brown__cb="three\n", brown__ca="one\ntwo\n", notes="other\n")
    (chunk,) = Text(context, train="a.zip!notes").read("train")
    assert list(chunk.columns["text"]) == ["other"] and chunk.where is not None and chunk.where(0) == "a.zip!notes:1"
    chunks = Text(context, train=f"file://{context.folder}/*.zip!brown/c*").read("train")
    assert [text for chunk in chunks for text in chunk.columns["text"]] == ["one", "two", "three"]


def test_a_columnar_file_may_lie_in_an_archive(context: SourceContext) -> None:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b"]}), sink)
    with zipfile.ZipFile(context.folder / "a.zip", "w") as opened:
        opened.writestr("rows.parquet", sink.getvalue())
    (chunk,) = Parquet(context, train="a.zip!rows.parquet").read("train")
    assert list(chunk.columns["text"]) == ["a", "b"]


def test_a_member_that_is_not_there_and_a_broken_archive_are_named(context: SourceContext) -> None:
    path = archive(context.folder, train="one\n" * 1000)
    with pytest.raises(DataError, match=r"^a\.zip!tran: no such file in the archive\. Did you mean 'train'"):
        list(Text(context, train="a.zip!tran").read("train"))
    content = bytearray(path.read_bytes())
    content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"^a\.zip!train: can not be read"):
        list(Text(context, train="a.zip!train").read("train"))
    path.write_bytes(content[:60])
    with pytest.raises(DataError, match=r"^a\.zip: can not be read: File is not a zip file"):
        list(Text(context, train="a.zip!train").read("train"))


def test_the_fingerprint_tells_members_apart(context: SourceContext) -> None:
    archive(context.folder, one="same\n", two="same\n")
    assert len({Text(context, train=f"a.zip!{name}").fingerprint("train") for name in ("one", "two", "*")}) == 3
