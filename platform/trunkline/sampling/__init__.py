"""How much of each task next. The table of contents of the room."""

SAMPLERS = {
    "proportional": "proportional",
    "uniform": "uniform",
    "temperature": "temperature",
    "explicit": "explicit",
    "annealed": "annealed",
    "unimax": "unimax",
    "expression": "expression",
    "sequential": "sequential",
    "round_robin": "round_robin",
    "block": "block",
    "curriculum": "curriculum",
    "mixture": "mixture",
    "gap": "gap",
    "exp3": "bandit",
    "ucb1": "bandit",
}
