"""One self-contained page on a run: what came of it, its curves, who was in whose way. No script, nothing from the network."""
