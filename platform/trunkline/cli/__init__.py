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
    "extend": "extend",
    "refresh": "extend",
    "remove": "models",
    "merge": "models",
    "diff": "models",
    "lineage": "models",
    "rollback": "models",
    "checkpoint": "checkpoint",
    "task": "tasks",
    "doctor": "doctor",
    "parts": "parts",
    "config": "config",
}
