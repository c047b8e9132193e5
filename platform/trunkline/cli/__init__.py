"""The command line. The table of contents of its commands: name -> module that registers it."""

COMMANDS = {
    "init": "init",
    "train": "run",
    "evaluate": "run",
    "plan": "plan",
    "baseline": "mixing",
    "affinity": "mixing",
    "mix": "mixing",
    "predict": "run",
    "checkpoint": "checkpoint",
    "task": "tasks",
    "parts": "parts",
    "config": "config",
}
