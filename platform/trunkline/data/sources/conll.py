"""Rows from column files: a word a line with its tags, a blank line after each sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from trunkline.data.sources.base import SourceContext
from trunkline.data.sources.chunk import Chunk, chunked
from trunkline.data.sources.files import FileSource, Location, Paths
from trunkline.errors import ConfigError, DataError, nearest
from trunkline.registry import SOURCES

CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
DOCUMENT = "-DOCSTART-"


@SOURCES.register("conll")
class Conll(FileSource):
    """A row is a sentence, each column the list of its words' values.

    names: of the columns, in the file's order (`_` for one that is not wanted). separator: between columns, any white space
    unless named. comment: how lines to pass over begin. conllu: the ten columns of CoNLL-U; its multiword (1-2) and empty
    (1.1) lines are passed over. `-DOCSTART-` lines are too. iob1: column(s) of tags where B- stands only between two
    neighbours of one type (CoNLL-2003); they become BIO, where every span begins with B-. cut: column -> how many
    characters of each value are kept.
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
        iob1: str | Sequence[str] = (),
        cut: Mapping[str, int] | None = None,
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(context, train=train, validation=validation, test=test, rows=rows)
        self.names = list(CONLLU if conllu else names)
        self.separator, self.comment = ("\t", "#") if conllu else (separator, comment)
        self.conllu, self.encoding = conllu, encoding
        self.iob1 = [iob1] if isinstance(iob1, str) else list(iob1)
        self.cut = dict(cut or {})
        wanted = [name for name in self.names if name != "_"]
        if len(set(wanted)) != len(wanted) or not wanted:
            raise ConfigError(f"data.names: each column needs a name of its own, found {', '.join(self.names)}.")
        for key, named in (("iob1", self.iob1), ("cut", list(self.cut))):
            unknown = [name for name in named if name not in wanted]
            if unknown:
                raise ConfigError(f"data.{key}: no column '{unknown[0]}'. {nearest(unknown[0], wanted)}")
        if any(not isinstance(size, int) or size < 1 for size in self.cut.values()):
            raise ConfigError(f"data.cut: how many characters to keep, at least 1, found {self.cut}.")

    def read_file(self, location: Location) -> Iterator[Chunk]:
        lines: list[int] = []
        kept = [(number, name) for number, name in enumerate(self.names) if name != "_"]
        sentences = self._sentences(location, lines)
        rows = ([self._column(name, [fields[at] for fields in sentence]) for at, name in kept] for sentence in sentences)
        yield from chunked([name for _, name in kept], rows, where=lambda row: f"{location.shown}:{lines[row]}")

    def _column(self, name: str, values: list[str]) -> list[str]:
        if name in self.cut:
            values = [value[: self.cut[name]] for value in values]
        return to_bio(values) if name in self.iob1 else values

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


def to_bio(tags: Sequence[str]) -> list[str]:
    """IOB1 tags as BIO: an I- that begins a span becomes B-.

    Source: Ramshaw & Marcus, 1995 (IOB1); Tjong Kim Sang & Veenstra, EACL 1999, section 2 (IOB2, here called BIO).
    """
    found = list(tags)
    for number, tag in enumerate(tags):
        before = tags[number - 1] if number else "O"
        if tag.startswith("I-") and before[1:] != tag[1:]:
            found[number] = f"B{tag[1:]}"
    return found
