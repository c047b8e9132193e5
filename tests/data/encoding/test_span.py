"""Questions and answers: windows hold every token, characters come back, gold places stand where the answer does."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer as Inner
from tokenizers import models, pre_tokenizers, trainers

from trunkline.data.encoding.span import Span
from trunkline.data.rows import Ragged, Rows, join
from trunkline.data.sources.base import SourceContext
from trunkline.data.sources.text import JsonLines
from trunkline.data.store import SplitJob, build_split
from trunkline.data.tokenizer import Tokenizer
from trunkline.data.vocabulary import Words
from trunkline.data.windows import windows
from trunkline.errors import ConfigError, DataError

LONG = "the cat sat on the mat and the dogs walked on and on, talking to cats; a dog sat on that mat too, walking cats"
COLUMNS: dict[str, list[Any]] = {
    "question": ["who sat", "what sat on the mat", "谁坐", "who talks"],
    "context": ["the cat sat", LONG, "猫坐在垫子上，狗不在", "a 😀 cat é talks, a 😀 dog too"],
    "answers": [["cat"], ["a dog", "dog"], "狗", ("😀 dog",)],
    "starts": [[4], [LONG.index("a dog"), LONG.index("a dog") + 2], 7, ["19"]],
}


def span(tokenizer: Tokenizer, **given: Any) -> Span:
    return Span(tokenizer, ["question", "context"], "answers", **{"starts": "starts", "overlap": 3, **given})


def parts(rows: Rows, name: str) -> list[np.ndarray]:
    value = rows.targets[name]
    assert isinstance(value, Ragged)
    return np.split(value.values, value.starts[1:-1])


def gold_answer(encoding: Span, rows: Rows, which: int = 0) -> list[str | None]:
    """What decoding gives for the gold places; which: of the windows that show the answer, 0 the first, -1 the last."""
    starts, ends = (np.array([np.flatnonzero(own)[which] for own in parts(rows, name)]) for name in ("is_start", "is_end"))
    outputs = np.stack([starts, ends, np.zeros(len(rows)), np.full(len(rows), -1.0)], 1)
    return [answer["answer"] for answer in encoding.decode(outputs, rows)]


def byte_level() -> Tokenizer:
    """Pieces of bytes: one character may be several tokens, and a token may carry the space before it."""
    inner = Inner(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    inner.train_from_iterator([LONG, "猫坐在垫子上"] * 3, trainer)
    from tokenizers.processors import TemplateProcessing

    marks = [(name, inner.token_to_id(name)) for name in ("<s>", "</s>")]
    inner.post_processor = TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=marks)
    return Tokenizer(inner, {"cls": "<s>", "sep": "</s>"}, max_length=24)


@pytest.mark.parametrize("which", [0, -1])
@pytest.mark.parametrize("bytes_of", [False, True])
def test_offsets_come_back_to_the_answers_text_in_every_window(which: int, bytes_of: bool, tokenizer: Tokenizer) -> None:
    encoding = span(byte_level() if bytes_of else tokenizer, max_windows=99, overlap=5)
    rows = encoding.encode(COLUMNS)
    assert gold_answer(encoding, rows, which) == ["cat", "a dog", "狗", "😀 dog"]
    assert rows.counts.tolist() == [1] * 4 and rows.lengths.lengths.tolist()[1] > 2
    assert not rows.notes.keys() & {"answers_cut", "answers_widened", "cut"}


def test_places_are_the_first_token_and_the_tokens_of_the_context(tokenizer: Tokenizer) -> None:
    encoding = span(tokenizer)
    rows = encoding.encode(COLUMNS)
    tokens, targets = encoding.collate(rows, np.zeros(4, np.uint64))
    assert targets.keys() == {"positions", "is_start", "is_end", "place"}
    assert (tokens[targets["positions"][targets["place"] == 0]] == tokenizer.cls_id).all()
    np.testing.assert_array_equal(targets["positions"][targets["place"] == 0], rows.tokens.starts[:-1])
    first = tokens[targets["positions"]][: len(parts(rows, "positions")[0])]
    assert tokenizer.decode(first) == "the cat sat"
    special = {tokenizer.cls_id, tokenizer.sep_id}
    assert not special & set(tokens[targets["positions"][targets["place"] > 0]].tolist())


def test_an_answer_where_windows_overlap_is_gold_in_each_that_holds_it_whole(tokenizer: Tokenizer) -> None:
    encoding = span(tokenizer, overlap=4)
    held = windows(tokenizer, [COLUMNS["question"][0]], [LONG], overlap=4, max_windows=8)
    whole = tokenizer.spell([LONG], 99)
    found = []
    for start, end in itertools.combinations_with_replacement(range(len(whole.starts)), 2):
        a, b = int(whole.starts[start]), int(whole.ends[end])
        columns = {"question": ["who sat"], "context": [LONG], "answers": [LONG[a:b]], "starts": [a]}
        rows = encoding.encode(columns)
        shown = sum(f <= start and end < f + n for f, n in zip(held.first, held.length, strict=True))
        counts = [int(own.sum()) for name in ("is_start", "is_end") for own in parts(rows, name)]
        assert counts == [max(shown, 1)] * 2
        assert gold_answer(encoding, rows, -1) == [LONG[a:b] if shown else None]
        assert rows.notes["answers_cut"] == (shown == 0)
        found.append(shown)
    assert set(found) == {0, 1, 2}


def test_the_first_answer_that_a_kept_window_holds_is_learned_and_all_are_kept_for_metrics(tokenizer: Tokenizer) -> None:
    encoding = span(tokenizer, max_windows=1, starts=None)
    columns = {"question": ["who"], "context": [LONG], "answers": [["a dog", "cat", "mat"]]}
    rows = encoding.encode(columns)
    assert gold_answer(encoding, rows) == ["cat"] and rows.notes["cut"] == 1
    targets = encoding.aside_of(rows, np.arange(1))
    assert encoding.records(np.zeros((1, 4)), targets)["answers"].tolist() == [("a dog", "cat", "mat")]


def test_without_starts_the_first_occurrence_counts_and_with_them_the_stated_one(tokenizer: Tokenizer) -> None:
    columns = {"question": ["q"], "context": ["cat mat cat"], "answers": ["cat"], "starts": [8]}
    marks = [parts(span(tokenizer, starts=name).encode(columns), "is_start")[0].tolist() for name in (None, "starts")]
    assert marks == [[0, 1, 0, 0], [0, 0, 0, 1]]


def test_tokens_that_hold_more_than_the_answer_are_learned_whole_and_counted(tokenizer: Tokenizer) -> None:
    encoding = span(tokenizer, starts=None)
    rows = encoding.encode({"question": ["q"], "context": ["the walking cat"], "answers": ["alk"]})
    (answer,) = gold_answer(encoding, rows)
    assert answer is not None and "alk" in answer != "alk" and rows.notes["answers_widened"] == 1


@pytest.mark.parametrize("nothing", [[], "", [" "], None])
def test_a_question_without_answer_is_refused_unless_it_may_be(nothing: object, tokenizer: Tokenizer) -> None:
    columns = {**COLUMNS, "answers": [["cat"], nothing, nothing, nothing], "starts": [4, None, "", []]}
    with pytest.raises(DataError, match=r"^row 1: column 'answers' has questions without an answer: .*\(row 1\).*\(row 3\)"):
        span(tokenizer).encode(columns)
    encoding = span(tokenizer, unanswerable=True)
    rows = encoding.encode(columns)
    assert gold_answer(encoding, rows) == ["cat", None, None, None] and rows.notes["unanswerable"] == 3
    assert [own.sum() for own in parts(rows, "is_start")] == [1, 1, 1, 1] and rows.counts.all()


def test_none_is_predicted_only_where_it_may_be_and_is_likelier(tokenizer: Tokenizer) -> None:
    rows = span(tokenizer).encode(COLUMNS)
    outputs = np.array([[2, 2, -1, -2], [2, 2, -2, -1], [1, 1, -1, -1], [0, 0, -np.inf, -3]])
    sure, unsure = span(tokenizer).decode(outputs, rows), span(tokenizer, unanswerable=True).decode(outputs, rows)
    assert [answer["answer"] for answer in sure] == ["cat", "cat", "猫", None]
    assert [answer["answer"] for answer in unsure] == ["cat", None, None, None]
    assert [answer["start"] for answer in unsure] == [4, None, None, None]
    assert [answer["probability"] for answer in unsure] == pytest.approx(np.exp([-1, -1, -1, -3]))


@pytest.mark.parametrize(
    ("start", "text"), [(5, "cat"), (-1, "cat"), (900, "cat"), (4, "kitten"), (9, "sat on"), (-7, "the"), (0, "The")]
)
def test_an_answer_that_does_not_stand_where_it_should_is_named_with_its_row(start: int, text: str, tokenizer: Tokenizer) -> None:
    columns = {**COLUMNS, "answers": [["cat", text], *COLUMNS["answers"][1:]], "starts": [[4, start], *COLUMNS["starts"][1:]]}
    place = rf"\('{text}', {start}\) \(a\.json:7\)"
    said = rf"a\.json:7: column 'answers' has answers that do not stand in 'context' where 'starts' says: {place}"
    with pytest.raises(DataError, match=said):
        span(tokenizer).encode(columns, where=lambda row: f"a.json:{row + 7}")


def test_up_to_five_rows_are_named(tokenizer: Tokenizer) -> None:
    columns = {"question": ["q"] * 9, "context": ["the cat"] * 9, "answers": ["cat"] * 2 + ["dog"] * 7}
    with pytest.raises(
        DataError, match=r"do not stand in 'context' anywhere: 'dog' \(row 2\),.*\(row 6\) and 2 more\. Mend them"
    ):
        span(tokenizer, starts=None).encode(columns)


def test_misplaced_answers_are_mended_and_what_stands_nowhere_is_left_out_and_counted(tokenizer: Tokenizer) -> None:
    columns = {
        "question": ["q"] * 4,
        "context": ["cat mat cat mat"] * 4,
        "answers": [["cat"], ["cat"], ["dog"], ["dog", "mat"]],
        "starts": [[1], [99], [0], [-1, 12]],
    }
    encoding = span(tokenizer, misplaced="mend")
    rows = encoding.encode(columns)
    assert [np.flatnonzero(own).tolist() for own in parts(rows, "is_start")] == [[1], [3], [0], [4]]
    assert rows.counts.tolist() == [1, 1, 0, 1]
    notes = {name: rows.notes[name] for name in ("answers_mended", "answers_unplaced", "questions_unplaced_dropped")}
    assert notes == {"answers_mended": 2, "answers_unplaced": 2, "questions_unplaced_dropped": 1}


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("answers", [5, "a", "a", "a"], "column 'answers' has values that are neither text nor a list of texts: 5"),
        ("answers", [["a", None], "a", "a", "a"], "neither text nor a list of texts"),
        ("starts", [[4, 5], [4], 7, 19], "column 'starts' is not one whole number for each text of 'answers'"),
        ("starts", [1.5, [4, 4], 7, 19], r"not one whole number .*1\.5 \(row 0\)"),
        ("starts", [None, [4, 4], 7, 19], "not one whole number"),
        ("starts", [float("nan"), [4, 4], 7, 19], "not one whole number"),
        ("starts", [True, [4, 4], 7, 19], "not one whole number"),
        ("starts", ["four", [4, 4], 7, 19], "not one whole number"),
        ("context", [None, "a", "a", "a"], "column 'context' is no text"),
    ],
)
def test_values_of_the_wrong_sort_are_refused(name: str, values: list[object], said: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=said):
        span(tokenizer).encode({**COLUMNS, name: values})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"overlap": -1}, "overlap: a whole number from 0 up"),
        ({"max_windows": 0}, "max_windows: a whole number from 1 up"),
        ({"max_windows": True}, "max_windows"),
        ({"misplaced": "drop"}, "misplaced: found 'drop'. Known: error, mend"),
        ({"unanswerable": "no"}, "unanswerable: true or false"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(given: dict[str, object], said: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match=said):
        span(tokenizer, **given)
    with pytest.raises(ConfigError, match=r"takes 2 column\(s\)"):
        Span(tokenizer, ["question"], "answers")


def test_rows_for_prediction_need_question_and_context_alone(tokenizer: Tokenizer) -> None:
    encoding = span(tokenizer)
    rows = encoding.encode({name: COLUMNS[name] for name in encoding.inputs}, with_targets=False)
    np.testing.assert_array_equal(rows.tokens.values, encoding.encode(COLUMNS).tokens.values)
    assert rows.targets.keys() == {"positions", "text", "char_starts", "char_ends"} and rows.counts.all()
    assert encoding.collate(rows, np.zeros(4, np.uint64))[1].keys() == {"positions", "place"}
    assert encoding.wanted == ("question", "context", "answers", "starts")


def test_odd_contexts_have_windows_too(make_tokenizer: Callable[..., Tokenizer]) -> None:
    tokenizer = make_tokenizer(max_length=12)
    texts = ["", "   ", "\u200b\u200d", "[SEP] [CLS]", "\ud800 cat \ud83d\ude00", "x y " * 200_000]
    encoding = span(tokenizer, max_windows=2)
    rows = encoding.encode({"question": texts, "context": texts}, with_targets=False)
    assert rows.lengths.values.max() <= 12 and rows.lengths.lengths.max() == 2 and rows.notes["cut"] >= 1
    assert rows.notes["questions_cut"] >= 1
    stored = rows.targets["text"]
    assert isinstance(stored, Ragged) and stored.lengths[5] < 100
    whole = encoding.decode(np.array([[1, n, -1.0, 0] for n in [0, 0, 0, 4, 2, 1]]), rows)
    assert whole[3]["answer"] == "[SEP" and (whole[4]["answer"], whole[4]["start"]) == ("cat 😀", 2)


def test_starts_count_the_characters_of_the_file_whatever_surrogates_stand_before(tokenizer: Tokenizer) -> None:
    encoding = span(tokenizer)
    columns = {"question": ["q"], "context": ["\ud83d\ude00 \ud800 the cat"], "answers": ["cat"], "starts": [9]}
    assert gold_answer(encoding, encoding.encode(columns)) == ["cat"]


def test_encoding_in_chunks_is_encoding_at_once(tokenizer: Tokenizer) -> None:
    encoding = span(tokenizer)
    pieces = [encoding.encode({name: values[a:b] for name, values in COLUMNS.items()}) for a, b in ((0, 1), (1, 4))]
    whole, joined = encoding.encode(COLUMNS), join(pieces)
    np.testing.assert_array_equal(whole.tokens.values, joined.tokens.values)
    assert whole.notes == joined.notes
    for name in whole.targets:
        for a, b in zip(parts(whole, name), parts(joined, name), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("bare", [False, True])
def test_the_dummy_is_one_row_that_collates_like_any_other(bare: bool, tokenizer: Tokenizer) -> None:
    encoding = span(Words().build(()) if bare else tokenizer)
    dummy, real = encoding.dummy(), span(tokenizer).encode(COLUMNS)
    tokens, targets = encoding.collate(dummy, np.zeros(1, np.uint64))
    _, others = encoding.collate(real, np.zeros(4, np.uint64))
    assert {name: value.dtype for name, value in targets.items()} == {name: value.dtype for name, value in others.items()}
    assert len({len(value) for value in targets.values()}) == 1 and (targets["positions"] < len(tokens)).all()
    assert {name: parts(dummy, name)[0].dtype for name in dummy.targets} == {
        name: parts(real, name)[0].dtype for name in real.targets
    }
    assert len(encoding.records(np.zeros((1, 4)), dummy.targets)["answer"]) == 1


def test_the_baseline_is_the_first_words_or_none_if_most_have_none(tokenizer: Tokenizer) -> None:
    encoding = span(tokenizer, unanswerable=True)
    rows = encoding.encode(COLUMNS)
    given = encoding.baseline(rows, rows, np.zeros(4, np.uint64))
    assert given.keys() == encoding.records_given and given["answers"].tolist()[1] == ("a dog", "dog")
    # two of the answers are one token long, two are two
    assert given["answer"].tolist()[:3] == ["the", "the", "猫"]
    none = encoding.encode({**COLUMNS, "answers": [[], [], [], ["😀 dog"]], "starts": [[], [], [], [19]]})
    assert encoding.baseline(none, rows, np.zeros(4, np.uint64))["answer"].tolist() == [""] * 4


def test_the_key_holds_everything_that_decides_the_rows(tokenizer: Tokenizer) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"starts": None},
        {"overlap": 2},
        {"max_windows": 9},
        {"unanswerable": True},
        {"misplaced": "mend"},
    ]
    assert len({span(tokenizer, **change).key() for change in changes}) == len(changes)


def test_the_store_keeps_rows_of_windows_and_the_texts_aside_as_they_are(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in zip(*COLUMNS.values(), strict=True))
    )
    encoding = span(tokenizer)
    source = JsonLines(SourceContext(tmp_path), train="rows.jsonl")
    stored, memory = build_split(tmp_path, SplitJob("one", source, "train", encoding)).rows, encoding.encode(COLUMNS)
    np.testing.assert_array_equal(stored.lengths.values, memory.lengths.values)
    assert stored.targets.keys() == memory.targets.keys() and stored.notes == memory.notes
    for name in memory.targets:
        for a, b in zip(parts(stored, name), parts(memory, name), strict=True):
            assert a.dtype == b.dtype and a.tolist() == b.tolist()
    order = np.array([3, 1])
    assert gold_answer(encoding, stored.take(order)) == ["😀 dog", "a dog"]
