"""The command line. The table of contents of its commands: name -> module that registers it."""

COMMANDS = {
    "init": "init",
    "train": "run",
    "evaluate": "run",
    "plan": "plan",
    "predict": "run",
    "checkpoint": "checkpoint",
    "task": "tasks",
    "doctor": "doctor",
    "parts": "parts",
    "config": "config",
    "vectors": "vectors",
}
