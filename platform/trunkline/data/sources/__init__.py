"""Where rows come from. The table of contents of the room."""

SOURCES = {
    "jsonl": "text",
    "csv": "text",
    "tsv": "text",
    "text": "text",
    "fields": "lines",
    "parallel": "lines",
    "tagged": "lines",
    "conll": "conll",
    "json": "nested",
    "squad": "squad",
    "smart": "smart",
    "parquet": "columnar",
    "arrow": "columnar",
    "hub": "hub",
    "tasks": "tasks",
}
