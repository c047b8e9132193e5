"""Trunks and how their rows are pooled. The table of contents of the room."""

TRUNKS = {"transformer": "transformer"}
POOLINGS = {"first": "pooling", "mean": "pooling", "max": "pooling"}
