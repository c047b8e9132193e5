"""The 64 bad inputs: how each is made, the exit code, the words of the sentence; nothing is left, nothing hostile runs.

    make bad-inputs      all of them, with a table in benchmarks/results/bad-inputs.json

tests/test_bad_inputs.py holds those that take no training; the others train a model of two steps once.
"""
