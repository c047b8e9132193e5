"""Static word vectors, trained on plain text outside of the packed step. The table of contents of its methods."""

METHODS = {"skipgram": "negative", "cbow": "negative", "glove": "glove"}
