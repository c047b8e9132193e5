"""Metrics by name. The table of contents of the room."""

METRICS = {
    "accuracy": "classification",
    "macro_f1": "classification",
    "mcc": "classification",
    "log_loss": "classification",
    "pearson": "regression",
    "spearman": "regression",
    "mse": "regression",
    "mae": "regression",
    "recall_at_1": "ranking",
    "mrr": "ranking",
    "perplexity": "language",
    "masked_accuracy": "language",
}
