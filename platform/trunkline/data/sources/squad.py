"""Rows from question answering files of SQuAD's form: paragraphs, their questions, answers as spans."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trunkline.data.sources.base import SourceContext
from trunkline.data.sources.chunk import Chunk, chunked
from trunkline.data.sources.files import FileSource, Location, Paths
from trunkline.data.sources.nested import load_json
from trunkline.errors import DataError
from trunkline.registry import SOURCES

COLUMNS = ("id", "title", "context", "question", "answer", "start", "answers", "starts")


@SOURCES.register("squad")
class Squad(FileSource):
    """A row a question of a SQuAD 1.1 or 2.0 file (also SQuAD-style CMRC 2018 and XQuAD).

    Columns: id, title, context, question; answers and starts, lists of all texts and of the characters of the context they
    begin at; answer and start, the first of them, null for a question without one. Rows are called by their id.
    """

    def __init__(
        self,
        context: SourceContext,
        *,
        train: Paths = None,
        validation: Paths = None,
        test: Paths = None,
        rows: Paths = None,
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(context, train=train, validation=validation, test=test, rows=rows)
        self.encoding = encoding

    def read_file(self, location: Location) -> Iterator[Chunk]:
        document = load_json(location, self.encoding)
        try:
            rows = list(_questions(document))
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"not of SQuAD's form, data / paragraphs / context, qas / question, answers: {type(error).__name__} {error}.",
                where=location.shown,
            ) from error
        yield from chunked(COLUMNS, rows, where=lambda row: f"{location.shown}:question {rows[row][0]}")


def _questions(document: Any) -> Iterator[tuple[Any, ...]]:
    for article in document["data"]:
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                given = asked.get("answers") or []
                answers, starts = [answer["text"] for answer in given], [answer["answer_start"] for answer in given]
                first = (answers[0], starts[0]) if given else (None, None)
                about = (asked.get("id"), article.get("title"), paragraph["context"], asked["question"])
                yield (*about, *first, answers, starts)
