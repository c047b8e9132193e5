"""Trunks and how their rows are pooled. The table of contents of the room."""

TRUNKS = {
    "static": "static",
    "rnn": "recurrent",
    "lstm": "recurrent",
    "gru": "recurrent",
    "bilm": "bilm",
    "transformer": "transformer",
    "padded": "padded",
}
POOLINGS = {"first": "pooling", "mean": "pooling", "max": "pooling", "attention": "pooling", "last": "pooling"}
