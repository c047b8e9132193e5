from __future__ import annotations

from typing import Any

import pytest

from trunkline.data.sources.base import SourceContext
from trunkline.data.sources.conll import Conll, to_bio
from trunkline.errors import ConfigError, DataError

CONLLU = """# text = vámonos al mar
1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tvamos\tir\tVERB\t_\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_
2.1\telided\t_\t_\t_\t_\t_\t_\t_\t_

1\tmar azul\tmar\tNOUN\t_\t_\t0\troot\t_\t_
"""


def columns(source: Conll) -> dict[str, list[list[str]]]:
    (chunk,) = source.read("train")
    return {name: list(chunk.columns[name]) for name in chunk.columns}


def test_a_row_is_a_sentence_and_its_columns_are_lists_of_words(context: SourceContext) -> None:
    (context.folder / "a.txt").write_text("-DOCSTART- -X- O\n\n\nEU NNP B-ORG\nrejects VBZ O\n\n\n. . O")
    source = Conll(context, train="a.txt", names=["words", "_", "tags"])
    assert columns(source) == {"words": [["EU", "rejects"], ["."]], "tags": [["B-ORG", "O"], ["O"]]}
    (chunk,) = source.read("train")
    assert chunk.where is not None and [chunk.where(0), chunk.where(1)] == ["a.txt:4", "a.txt:8"]


def test_conllu_passes_over_comments_multiwords_and_empty_words(context: SourceContext) -> None:
    (context.folder / "a.conllu").write_text(CONLLU)
    found = columns(Conll(context, train="a.conllu", conllu=True))
    assert found["form"] == [["vamos", "nos"], ["mar azul"]] and found["upos"] == [["VERB", "PRON"], ["NOUN"]]


def test_a_line_with_another_number_of_columns_is_named(context: SourceContext) -> None:
    (context.folder / "a.txt").write_text("EU B-ORG\nrejects\n")
    with pytest.raises(DataError, match=r"^a\.txt:2: 1 column\(s\), expected 2: words, tags"):
        columns(Conll(context, train="a.txt"))


def test_columns_need_names_of_their_own(context: SourceContext) -> None:
    with pytest.raises(ConfigError, match="a name of its own"):
        Conll(context, train="a.txt", names=["words", "words"])


def test_iob1_becomes_bio(context: SourceContext) -> None:
    tags = ["I-ORG", "O", "I-PER", "I-PER", "B-PER", "I-LOC", "I-ORG", "O", "B-ORG"]
    (context.folder / "a.txt").write_text("".join(f"w {tag}\n" for tag in tags) + "\nw I-LOC\n")
    found = columns(Conll(context, train="a.txt", iob1="tags"))["tags"]
    assert found == [["B-ORG", "O", "B-PER", "I-PER", "B-PER", "B-LOC", "B-ORG", "O", "B-ORG"], ["B-LOC"]]
    assert [to_bio(row) for row in found] == found  # BIO stays BIO


def test_values_may_be_cut_to_their_first_characters(context: SourceContext) -> None:
    (context.folder / "a.txt").write_text("科0\tO\n310\tO\n")
    assert columns(Conll(context, train="a.txt", cut={"words": 1}))["words"] == [["科", "3"]]


@pytest.mark.parametrize("given", [{"iob1": "tag"}, {"cut": {"word": 1}}, {"cut": {"words": 0}}])
def test_options_speak_of_columns_there_are(given: dict[str, Any], context: SourceContext) -> None:
    with pytest.raises(ConfigError, match=r"^data\.(iob1|cut): "):
        Conll(context, train="a.txt", **given)
