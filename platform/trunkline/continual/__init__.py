"""Going on from a trained model: growing it, holding it, judging what became of it."""
