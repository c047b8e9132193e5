from __future__ import annotations

from pathlib import Path

import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest

from trunkline.data.sources.base import Source, SourceContext
from trunkline.data.sources.columnar import Arrow, Parquet
from trunkline.data.sources.reading import Reading
from trunkline.errors import DataError

TABLE = pyarrow.table({"text": ["the cat", "猫", None], "label": [1, 0, 1], "words": [["a", "b"], [], ["c"]]})


def columns(source: Source, names: tuple[str, ...] = ("text", "label", "words")) -> dict[str, list[object]]:
    chunks = list(source.read("train"))
    return {name: [value for chunk in chunks for value in chunk.columns[name]] for name in names}


def write_arrow(path: Path, table: pyarrow.Table, *, stream: bool) -> None:
    make = pyarrow.ipc.new_stream if stream else pyarrow.ipc.new_file
    with pyarrow.OSFile(str(path), "wb") as sink, make(sink, table.schema) as writer:
        writer.write_table(table)


def test_parquet_and_arrow_give_the_tables_values(context: SourceContext) -> None:
    pyarrow.parquet.write_table(TABLE, context.folder / "a.parquet")
    write_arrow(context.folder / "a.arrow", TABLE, stream=False)
    write_arrow(context.folder / "b.arrow", TABLE, stream=True)
    wanted = TABLE.to_pydict()
    assert columns(Parquet(context, train="a.parquet")) == wanted
    assert columns(Arrow(context, train="a.arrow")) == columns(Arrow(context, train="b.arrow")) == wanted


def test_rows_are_called_by_file_and_number(context: SourceContext) -> None:
    big = pyarrow.table({"text": [str(number) for number in range(10_000)]})
    pyarrow.parquet.write_table(big, context.folder / "a.parquet", row_group_size=3000)
    source = Parquet(context, train="a.parquet")
    assert columns(source, ("text",))["text"] == big["text"].to_pylist()
    places = [(chunk.where(0), chunk.columns["text"][0]) for chunk in source.read("train") if chunk.where]
    assert len(places) > 1 and all(place == f"a.parquet:row {text}" for place, text in places)


def test_a_broken_file_is_named(context: SourceContext) -> None:
    pyarrow.parquet.write_table(TABLE, context.folder / "a.parquet")
    whole = (context.folder / "a.parquet").read_bytes()
    for content in (b"text\nnot parquet at all\n", whole[:-30], whole[:40]):
        for make in (Parquet, Arrow):
            (context.folder / "b").write_bytes(content)
            with pytest.raises(DataError, match=r"^b: can not be read"):
                columns(make(context, train="b"))


def test_a_changed_byte_in_a_page_is_found_by_its_checksum(context: SourceContext) -> None:
    path = context.folder / "a.parquet"
    table = pyarrow.table({"text": [f"some text {number}" for number in range(1000)]})
    pyarrow.parquet.write_table(table, path, write_page_checksum=True, compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[content.find(b"some text 500") + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet: can not be read"):
        columns(Parquet(context, train="a.parquet"), ("text",))


def test_a_missing_column_is_named_with_those_there_are(context: SourceContext) -> None:
    pyarrow.parquet.write_table(TABLE, context.folder / "a.parquet")
    (chunk,) = Parquet(context, train="a.parquet").read("train")
    with pytest.raises(DataError, match=r"a\.parquet: no column 'lable'\. Did you mean 'label'\? Known: label, text, words"):
        Reading().select(chunk, ["lable"])


def test_a_shard_that_lacks_a_column_is_named(context: SourceContext) -> None:
    pyarrow.parquet.write_table(TABLE, context.folder / "a-1.parquet")
    pyarrow.parquet.write_table(TABLE.drop_columns(["label"]), context.folder / "a-2.parquet")
    with pytest.raises(DataError, match=r"a-2\.parquet: no column 'label'"):
        for chunk in Parquet(context, train="a-*.parquet").read("train"):
            Reading(on_null="drop").select(chunk, ["text", "label"])


class Pickled(pyarrow.ExtensionType):
    """An extension type that would unpickle what a stranger wrote."""

    touched = False

    def __init__(self) -> None:
        super().__init__(pyarrow.binary(), "trunkline.test.pickled")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pyarrow.DataType, serialized: bytes) -> Pickled:
        return cls()

    def __arrow_ext_scalar_class__(self) -> type[pyarrow.ExtensionScalar]:
        class Scalar(pyarrow.ExtensionScalar):
            def as_py(self, **kwargs: object) -> object:
                Pickled.touched = True
                raise AssertionError("unpickled")

        return Scalar


def nested(kind: str, inner: pyarrow.Array) -> pyarrow.Array:
    """One row that holds an extension value somewhere inside."""
    if kind == "list":
        return pyarrow.ListArray.from_arrays(pyarrow.array([0, 1], pyarrow.int32()), inner)
    return pyarrow.StructArray.from_arrays([inner], names=["deep"])


@pytest.mark.parametrize("kind", ["list", "struct"])
def test_an_extension_type_inside_a_column_is_refused_too(kind: str, context: SourceContext) -> None:
    inner = pyarrow.ExtensionArray.from_storage(Pickled(), pyarrow.array([b"cos\nsystem\n"]))
    pyarrow.register_extension_type(Pickled())
    try:
        write_arrow(context.folder / "a.arrow", pyarrow.table({"bad": nested(kind, inner)}), stream=False)
        (chunk,) = Arrow(context, train="a.arrow").read("train")
        with pytest.raises(DataError, match=r"column 'bad' has the extension type .*pickled"):
            Reading().select(chunk, ["bad"])
    finally:
        pyarrow.unregister_extension_type("trunkline.test.pickled")
    assert not Pickled.touched


@pytest.mark.parametrize("registered", [True, False])
def test_an_extension_type_is_refused_not_converted(registered: bool, context: SourceContext) -> None:
    storage = pyarrow.array([b"cos\nsystem\n"])
    pyarrow.register_extension_type(Pickled())
    try:
        table = pyarrow.table({"bad": pyarrow.ExtensionArray.from_storage(Pickled(), storage), "text": ["fine"]})
        pyarrow.parquet.write_table(table, context.folder / "a.parquet")
        write_arrow(context.folder / "a.arrow", table, stream=False)
        if not registered:
            pyarrow.unregister_extension_type("trunkline.test.pickled")
        for source in (Parquet(context, train="a.parquet"), Arrow(context, train="a.arrow")):
            (chunk,) = source.read("train")
            assert len(chunk) == 1 and list(chunk.columns["text"]) == ["fine"]
            with pytest.raises(DataError, match=r"column 'bad' has the extension type .*pickled"):
                Reading().select(chunk, ["bad"])
    finally:
        if registered:
            pyarrow.unregister_extension_type("trunkline.test.pickled")
    assert not Pickled.touched
