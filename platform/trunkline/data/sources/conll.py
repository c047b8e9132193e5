"""Rows from column files: a word a line with its tags, a blank line after each sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trunkline.data.sources.base import Chunk, SourceContext, chunked
from trunkline.data.sources.files import FileSource, Location, Paths
from trunkline.errors import ConfigError, DataError
from trunkline.registry import SOURCES

CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
DOCUMENT = "-DOCSTART-"


@SOURCES.register("conll")
class Conll(FileSource):
    """A row is a sentence, each column the list of its words' values.

    names: of the columns, in the file's order (`_` for one that is not wanted). separator: between columns, any white space
    unless named. comment: how lines to pass over begin. conllu: the ten columns of CoNLL-U; its multiword (1-2) and empty
    (1.1) lines are passed over. `-DOCSTART-` lines are too.
    """

    def __init__(
        self,
        context: SourceContext,
        *,
        train: Paths = None,
        validation: Paths = None,
        test: Paths = None,
        rows: Paths = None,
        names: Sequence[str] = ("words", "tags"),
        separator: str | None = None,
        comment: str | None = None,
        conllu: bool = False,
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(context, train=train, validation=validation, test=test, rows=rows)
        self.names = list(CONLLU if conllu else names)
        self.separator, self.comment = ("\t", "#") if conllu else (separator, comment)
        self.conllu, self.encoding = conllu, encoding
        wanted = [name for name in self.names if name != "_"]
        if len(set(wanted)) != len(wanted) or not wanted:
            raise ConfigError(f"data.names: each column needs a name of its own, found {', '.join(self.names)}.")

    def read_file(self, location: Location) -> Iterator[Chunk]:
        lines: list[int] = []
        kept = [(number, name) for number, name in enumerate(self.names) if name != "_"]
        columns = [number for number, _ in kept]
        rows = ([[fields[number] for fields in sentence] for number in columns] for sentence in self._sentences(location, lines))
        yield from chunked([name for _, name in kept], rows, where=lambda row: f"{location.shown}:{lines[row]}")

    def _sentences(self, location: Location, lines: list[int]) -> Iterator[list[list[str]]]:
        """Fields of each word, per sentence; its first line goes into `lines`."""
        sentence: list[list[str]] = []
        with location.text(self.encoding) as stream:
            for number, line in enumerate(stream, 1):
                text = line.rstrip("\r\n") if self.separator else line.strip()
                if not text.strip():
                    if sentence:
                        yield sentence
                    sentence = []
                    continue
                fields = text.split(self.separator)
                if self._passed_over(text, fields[0]):
                    continue
                if len(fields) != len(self.names):
                    raise DataError(
                        f"{len(fields)} column(s), expected {len(self.names)}: {', '.join(self.names)}.",
                        where=f"{location.shown}:{number}",
                    )
                if not sentence:
                    lines.append(number)
                sentence.append(fields)
        if sentence:
            yield sentence

    def _passed_over(self, text: str, first: str) -> bool:
        if self.comment is not None and text.startswith(self.comment):
            return True
        return first == DOCUMENT or (self.conllu and not first.isdigit())
