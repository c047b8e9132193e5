"""A model in other libraries' own classes: transformers, sentence-transformers, ONNX, word2vec's text format."""
