"""Losses, one value per target. The table of contents of the room."""

LOSSES = {
    "cross_entropy": "classification",
    "focal": "classification",
    "hinge": "classification",
    "binary_cross_entropy": "multilabel",
    "asymmetric": "multilabel",
    "soft_margin": "multilabel",
    "mse": "regression",
    "mae": "regression",
    "huber": "regression",
    "log_cosh": "regression",
    "heteroscedastic": "regression",
    "crf": "tagging",
    "span": "span",
    "infonce": "contrastive",
    "pairwise_logistic": "ranking",
    "margin": "ranking",
    "listnet": "ranking",
    "listmle": "ranking",
    "lambdarank": "ranking",
    "distillation": "distillation",
}
