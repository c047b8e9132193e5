"""Static word vectors, trained on plain text outside of the packed step. The table of contents of its methods."""

VECTORS = {"skipgram": "negative", "cbow": "negative", "glove": "glove"}
