"""Rows from files, tokenised once, packed. The table of contents of its tokenizers."""

TOKENIZERS = {
    "wordpiece": "vocabulary",
    "bpe": "vocabulary",
    "byte_bpe": "vocabulary",
    "words": "vocabulary",
    "pretrained": "vocabulary",
}
