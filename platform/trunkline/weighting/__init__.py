"""How the tasks' losses combine. The table of contents of the room."""

WEIGHTINGS = {
    "static": "static",
    "uncertainty": "uncertainty",
    "scaled": "scaled",
    "dwa": "dwa",
    "rlw": "rlw",
    "famo": "famo",
    "dtp": "dtp",
}
