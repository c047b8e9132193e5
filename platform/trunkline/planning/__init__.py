"""What a run will need before it is started: memory, the time of a step, workers and money; and how wrong that was."""
