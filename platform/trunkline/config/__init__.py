"""A recipe: its sections, its checks, and what a command line changes in it."""
