"""One encoding per kind of task: columns -> token rows and targets. The table of contents of the room."""

ENCODINGS = {
    "classification": "classification",
    "multilabel": "multilabel",
    "regression": "regression",
    "tagging": "tagging",
    "span": "span",
    "contrastive": "contrastive",
    "ranking": "ranking",
    "masked_language": "masked_language",
    "causal_language": "causal_language",
    "bilm": "bilm",
    "replaced_token": "replaced_token",
    "generation": "generation",
}
