"""How good a model and its data are, beyond the figures of its tasks: leaks, what bag of words gets, the quality of vectors."""
