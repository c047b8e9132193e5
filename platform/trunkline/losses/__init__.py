"""Losses, one value per target. The table of contents of the room."""

LOSSES = {
    "cross_entropy": "classification",
    "binary_cross_entropy": "classification",
    "mse": "regression",
    "mae": "regression",
    "in_batch": "ranking",
}
