"""The command line. The table of contents of its commands: name -> module that registers it."""

COMMANDS = {
    "init": "init",
    "train": "run",
    "evaluate": "run",
    "predict": "run",
    "task": "tasks",
    "parts": "parts",
    "config": "config",
    "vectors": "vectors",
}
