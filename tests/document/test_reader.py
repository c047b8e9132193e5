"""YAML with positions: what is read, where it stands, what is refused."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.document import reader, writer
from trunkline.document.composer import MAX_DEPTH, scalar
from trunkline.errors import ConfigError, TrunklineError


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        reader.parse(text, "f.yaml")
    return str(caught.value)


def test_every_value_has_its_line_and_column():
    document = reader.parse("a: 1\nb:\n  - x\n  - {c: [7, 8]}\n", "f.yaml")
    assert document.data == {"a": 1, "b": ["x", {"c": [7, 8]}]}
    assert document.where(("a",)) == "f.yaml:1:4"
    assert document.where(("b", 1, "c", 1)) == "f.yaml:4:13"
    assert document.where(("b", 1, "c"), key=True) == "f.yaml:4:6"


def test_a_missing_value_is_placed_at_the_nearest_thing_around_it():
    document = reader.parse("a: 1\ntrain:\n  steps: 3\n", "f.yaml")
    assert document.where(("train", "lr")) == "f.yaml:2:1"
    assert document.where(("nowhere", "at", "all")) == "f.yaml:1:1"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-4", 5e-4),
        ("1e-3", 1e-3),
        ("yes", "yes"),
        ("017", 17),
        ("0o17", 15),
        ("0x1f", 31),
        ("~", None),
        ("", None),
        ("true", True),
    ],
)
def test_plain_scalars_mean_what_yaml_1_2_says(text, value):
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


def test_a_quoted_number_is_text():
    assert reader.parse("a: '1'\nb: \"null\"", "f").data == {"a": "1", "b": "null"}


def test_a_byte_order_mark_is_accepted(tmp_path):
    path = tmp_path / "f.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert reader.read(path).data == {"a": 1}
    assert reader.read(path).where(("a",)).endswith(":1:4")


def test_an_alias_repeats_its_anchor():
    data = reader.parse("a: &x [1, 2]\nb: *x\n", "f").data
    assert data == {"a": [1, 2], "b": [1, 2]}
    assert data["a"] is not data["b"]


def test_a_tag_runs_nothing_and_is_refused(tmp_path):
    canary = tmp_path / "canary"
    text = refusal(f"a: 1\nb: !!python/object/apply:os.system ['touch {canary}']\n")
    assert text.startswith("f.yaml:2:4: tags")
    assert not canary.exists()


def test_a_duplicate_key_names_both_lines():
    assert "line 1 and in line 3" in refusal("a: 1\nb: 2\na: 3\n")


def test_all_duplicates_are_reported_together():
    message = refusal("a: 1\na: 2\nc: {d: 1, d: 2}\n")
    assert "f.yaml:2:1: a" in message
    assert "f.yaml:3:11: c.d" in message


def test_an_alias_bomb_is_refused_quickly():
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    begin = time.process_time()
    assert "aliases" in refusal("\n".join(lines))
    assert time.process_time() - begin < 1


def test_an_alias_inside_its_own_anchor_is_refused():
    assert "anchor '&x'" in refusal("a: &x [*x]")


@pytest.mark.parametrize(
    "text", ["a: " + "[" * 100_000, "a: " + "[" * 100 + "]" * 100, "a: &x " + "[" * 39 + "]" * 39 + "\nb: [[[*x]]]"]
)
def test_deep_nesting_is_refused_quickly(text):
    begin = time.process_time()
    assert f"deeper than {MAX_DEPTH}" in refusal(text)
    assert time.process_time() - begin < 1


def test_a_file_of_50_mb_is_refused_unread(tmp_path):
    path = tmp_path / "big.yaml"
    with path.open("wb") as out:
        out.truncate(50_000_000)
    with pytest.raises(ConfigError, match=r"50,000,000 bytes. The limit is 1,000,000"):
        reader.read(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: 1".encode("utf-16"), "UTF-16"),
        ("a: é".encode("latin-1"), "1:4: byte 0xe9"),
        (b"a: 1\nb: \x00", "2:4: character U+0000"),
        (b"", "empty"),
        (b"# nothing\n\n# at all\n", "empty"),
        (b"- a\n- b\n", "found a list"),
        (b"a: 1\n---\nb: 2\n", ":2:1: a second document"),
        (b"%YAML 1.1\n---\na: 1\n", "directive"),
        (b"a: 1\n<<: {b: 2}\n", "merge keys"),
        (b"a: [1, 2\nb: 3\n", "not YAML"),
        (b"a:\n\tb: 1\n", ":2:1: a tab"),
        (b"a: .inf\n", ":1:4: a: expected a finite number"),
        (b"a: 1e999\n", "finite"),
        (b'a: "\\ud800"\n', "surrogate"),
        (b"{lr: 1,5}\n", "a point, not a comma"),
    ],
)
def test_what_is_no_plain_mapping_in_utf_8_is_refused_with_its_place(tmp_path, content, said):
    path = tmp_path / "f.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        reader.read(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_names_the_nearest_one_beside_it(tmp_path):
    (tmp_path / "first.yaml").write_text("a: 1")
    with pytest.raises(ConfigError, match=r"fisrt.yaml: no such file. Did you mean '.*first.yaml'"):
        reader.read(tmp_path / "fisrt.yaml")


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(ConfigError, match="is a folder"):
        reader.read(tmp_path)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8), plain, min_size=1, max_size=5))
def test_what_is_written_is_read_back_equal(data):
    assert reader.parse(writer.render(data), "f").data == data


@given(st.text(alphabet="ab01 \n\t:-[]{}&*!|>'\"#%@`,?~.\\u0Xx", max_size=60))
def test_no_text_raises_anything_but_a_trunkline_error(text):
    try:
        reader.parse(text, "f")
    except TrunklineError as error:
        assert str(error)


@given(st.binary(max_size=80))
def test_no_bytes_raise_anything_but_a_trunkline_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    try:
        reader.read(path)
    except TrunklineError as error:
        assert str(error)
