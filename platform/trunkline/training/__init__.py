"""The loop, the step and the engine. The table of contents of its optimizers."""

OPTIMIZERS = {"adamw": "optim"}
