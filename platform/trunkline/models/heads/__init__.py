"""What one task adds to the trunk, by kind of task. The table of contents of the room."""

HEADS = {
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
