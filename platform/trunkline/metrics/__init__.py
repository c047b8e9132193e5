"""Metrics by name. The table of contents of the room."""

METRICS = {
    "accuracy": "classification",
    "macro_f1": "classification",
    "micro_f1": "classification",
    "mcc": "classification",
    "log_loss": "classification",
    "calibration_error": "classification",
    "auroc": "scores",
    "mean_average_precision": "scores",
    "jaccard": "multilabel",
    "span_f1": "tagging",
    "pearson": "regression",
    "spearman": "regression",
    "mse": "regression",
    "mae": "regression",
    "r2": "regression",
    "retrieval_recall": "retrieval",
    "retrieval_mrr": "retrieval",
    "perplexity": "language",
    "masked_accuracy": "language",
}
