"""How the tasks' losses combine. The table of contents of the room."""

WEIGHTINGS = {"static": "static", "uncertainty": "uncertainty"}
