"""The loop, the step and the engine. The table of contents of its optimizers and passes."""

OPTIMIZERS = {
    "adamw": "optimizers",
    "adam": "optimizers",
    "sgd": "optimizers",
    "adagrad": "optimizers",
    "lamb": "optimizers",
    "lion": "optimizers",
    "muon": "optimizers",
}
PASSES = {"plain": "passes", "fgm": "passes", "pgd": "passes", "freelb": "passes", "smart": "passes", "rdrop": "passes"}
