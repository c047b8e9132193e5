"""Coverage-guided fuzzing of what reads files of others: `make fuzz`, 150 seconds for each of four readers."""
