"""One encoding per kind of task: columns -> token rows and targets. The table of contents of the room."""

ENCODINGS = {
    "classification": "classification",
    "multilabel": "multilabel",
    "regression": "regression",
    "tagging": "tagging",
    "contrastive": "contrastive",
    "masked_language": "masked_language",
    "generation": "generation",
}
