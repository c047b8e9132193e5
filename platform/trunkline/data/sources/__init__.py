"""Where rows come from. The table of contents of the room."""

SOURCES = {
    "jsonl": "text",
    "csv": "text",
    "tsv": "text",
    "text": "text",
    "conll": "conll",
    "parquet": "columnar",
    "arrow": "columnar",
    "hub": "hub",
    "tasks": "tasks",
}
