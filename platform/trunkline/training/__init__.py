"""The loop, the step and the engine. The table of contents of its optimizers."""

OPTIMIZERS = {
    "adamw": "optimizers",
    "adam": "optimizers",
    "sgd": "optimizers",
    "adagrad": "optimizers",
    "lamb": "optimizers",
    "lion": "optimizers",
    "muon": "optimizers",
}
