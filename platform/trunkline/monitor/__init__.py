"""Where numbers and events go: files (always), the console, Weights & Biases."""
