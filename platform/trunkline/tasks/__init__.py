"""Task cards: the YAML files that state tasks, their catalog, and the plugins beside them."""
