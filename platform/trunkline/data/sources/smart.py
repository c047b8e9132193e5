"""Rows from a retrieval test collection in SMART form: documents, queries and judgements in three files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trunkline.data.fingerprint import configuration, digest
from trunkline.data.sources.base import Source, SourceContext
from trunkline.data.sources.chunk import Chunk, chunked
from trunkline.data.sources.files import Location, locate_all, readable
from trunkline.errors import ConfigError, DataError, nearest
from trunkline.registry import SOURCES

PARTS = ("judgements", "documents", "queries")
JUDGEMENT = ("query", "document", "grade")
FILES = ("documents", "queries", "judgements")


@dataclass(frozen=True)
class _Record:
    id: str
    title: str | None
    text: str | None

    def whole(self) -> str | None:
        return " ".join(part for part in (self.title, self.text) if part) or None


@SOURCES.register("smart")
class Smart(Source):
    """Cranfield, CISI and their kin: records of `.I` number, `.T` title, `.W` text; other fields are passed over.

    One split, `rows`, for the card's `split` to divide (by: query_id keeps a query's rows together). part: `judgements` gives
    a row per judgement, with the columns query, candidate (title and text of the document), grade, query_id, document_id;
    `documents` and `queries` give a row per record, with id, title, text. A record without text is null.

    judgement_names: of the columns of a judgement, white space between, `_` for what is not wanted; TREC's are
    [query, _, document, grade]. Without a grade every judgement has grade 1. min_grade: judgements below it are passed over
    and counted. query_ids: `stated` after .I, or `order`, counted from 1 (Cranfield's judgements).
    """

    def __init__(
        self,
        context: SourceContext,
        *,
        documents: str | Sequence[str],
        queries: str | Sequence[str],
        judgements: str | Sequence[str],
        part: str = "judgements",
        judgement_names: Sequence[str] = JUDGEMENT,
        min_grade: float | None = None,
        query_ids: str = "stated",
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(context)
        self.documents, self.queries, self.judgements = documents, queries, judgements
        self.part, self.min_grade, self.query_ids, self.encoding = part, min_grade, query_ids, encoding
        self.judgement_names = list(judgement_names)
        if part not in PARTS:
            raise ConfigError(f"data.part: found {part!r}. {nearest(str(part), PARTS)}")
        if query_ids not in ("stated", "order"):
            raise ConfigError(f"data.query_ids: found {query_ids!r}. Known: order, stated.")
        wanted = [name for name in self.judgement_names if name != "_"]
        if len(set(wanted)) != len(wanted) or not {"query", "document"} <= set(wanted) <= set(JUDGEMENT):
            raise ConfigError(
                f"data.judgement_names: query, document, perhaps grade, and _ for others, found {self.judgement_names}."
            )

    def locations(self, kind: str) -> list[Location]:
        """The files of one kind: documents, queries, judgements."""
        return locate_all(self.context.folder, getattr(self, kind))

    def files(self) -> list[str]:
        return [location.path for kind in FILES for location in self.locations(kind)]

    def fingerprint(self, split: str) -> str:
        contents = [[location.content() for location in self.locations(kind)] for kind in FILES]
        options = {name: value for name, value in configuration(self).items() if name not in FILES}
        return digest([self.identity(), options, contents, split])

    def read(self, split: str) -> Iterator[Chunk]:
        del split  # there is but one
        if self.part == "judgements":
            yield from self._judged()
        else:
            records, places = self._records(self.part)
            rows = ((record.id, record.title, record.text) for record in records.values())
            shown = list(places.values())
            yield from chunked(("id", "title", "text"), rows, where=lambda row: shown[row])

    def _judged(self) -> Iterator[Chunk]:
        documents, _ = self._records("documents")
        queries, _ = self._records("queries")
        notes, places, rows = Counter[str](), list[str](), list[tuple[object, ...]]()
        for where, (query, document, grade) in self._judgements():
            for kind, known, name in (("query", queries, query), ("document", documents, document)):
                if name not in known:
                    raise DataError(f"judges {kind} {name}, which is not in the {kind} file.", where=where)
            if self.min_grade is not None and grade < self.min_grade:
                notes["below_min_grade"] += 1
                continue
            rows.append((queries[query].whole(), documents[document].whole(), grade, query, document))
            places.append(where)
        notes["queries_without_judgement"] = len(queries) - len({row[3] for row in rows})
        columns = ("query", "candidate", "grade", "query_id", "document_id")
        for number, chunk in enumerate(chunked(columns, rows, where=lambda row: places[row])):
            if number == 0:
                chunk.notes.update(+notes)
            yield chunk

    def _judgements(self) -> Iterator[tuple[str, tuple[str, str, float]]]:
        """Place, and (query id, document id, grade) of each."""
        place = {name: number for number, name in enumerate(self.judgement_names)}
        for where, line in self._lines("judgements"):
            fields = line.split()
            if not fields:
                continue
            if len(fields) < len(self.judgement_names):
                raise DataError(
                    f"{len(fields)} column(s), expected {len(self.judgement_names)}: {', '.join(self.judgement_names)}.",
                    where=where,
                )
            stated = fields[place["grade"]] if "grade" in place else "1"
            try:
                grade = float(stated)
            except ValueError as error:
                raise DataError(f"the grade is no number, found '{stated}'.", where=where) from error
            if grade != grade:
                raise DataError("the grade is not a number (NaN).", where=where)
            yield where, (_plain(fields[place["query"]]), _plain(fields[place["document"]]), grade)

    def _records(self, kind: str) -> tuple[dict[str, _Record], dict[str, str]]:
        """Records by id, in the file's order, and where each stands."""
        found: dict[str, dict[str, list[str]]] = {}
        places: dict[str, str] = {}
        own = ""
        field: list[str] | None = None
        for where, line in self._lines(kind):
            if line.startswith(".I ") or line.rstrip() == ".I":
                own = str(len(found) + 1) if kind == "queries" and self.query_ids == "order" else _plain(line[2:].strip())
                if not own or own in found:
                    raise DataError(f"record {own or 'without number'} stands twice or has no number.", where=where)
                found[own], places[own], field = {}, where, None
            elif _is_field(line):
                if not own:
                    raise DataError("a field before the first .I record.", where=where)
                field = found[own].setdefault(line[1], [])
            elif field is not None:
                field.append(line)
        if not found:
            raise DataError("no record begins with `.I`.", where=", ".join(at.shown for at in self.locations(kind)))
        records = {name: _Record(name, _joined(fields.get("T")), _joined(fields.get("W"))) for name, fields in found.items()}
        return records, places

    def _lines(self, kind: str) -> Iterator[tuple[str, str]]:
        for location in self.locations(kind):
            with readable(location), location.text(self.encoding) as stream:
                for number, line in enumerate(stream, 1):
                    yield f"{location.shown}:{number}", line.rstrip("\n")


def _is_field(line: str) -> bool:
    return len(line.rstrip()) == 2 and line[0] == "." and line[1].isupper()


def _joined(lines: list[str] | None) -> str | None:
    return " ".join(" ".join(lines or ()).split()) or None


def _plain(number: str) -> str:
    """001 and 1 are one number."""
    return number.lstrip("0") or number
