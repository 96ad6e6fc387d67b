"""Accuracy, F1, AUC and their like of a classifier."""

import numpy as np
from scipy.special import softmax
from sklearn.metrics import accuracy_score, precision_recall_fscore_support, roc_auc_score


def classification_metrics(truth: np.ndarray, logits: np.ndarray) -> dict[str, float | int | None]:
    """Accuracy, and the macro averages of F1, positive predictive value, recall and one-vs-rest AUC-ROC.

    Args:
        truth: class indices, int N
        logits: float N × classes

    Returns:
        `n`, `accuracy`, `f1`, `auc` (None where there is but one class), `ppv`, `recall`, each in 0–1.
        The averages are over the classes that occur in `truth`: a set without normal scans tells nothing of them.
        Of those, a class that is never predicted counts with a PPV of 0.
    """
    classes = np.unique(truth)
    predicted = logits.argmax(1)
    ppv, recall, f1, _ = precision_recall_fscore_support(
        truth, predicted, labels=classes, average="macro", zero_division=0
    )
    auc = None
    if len(classes) > 1:
        probabilities = softmax(logits.astype(np.float64), axis=1)
        auc = float(roc_auc_score(truth[:, None] == classes, probabilities[:, classes], average="macro"))
    return {
        "n": len(truth),
        "accuracy": float(accuracy_score(truth, predicted)),
        "f1": float(f1),
        "auc": auc,
        "ppv": float(ppv),
        "recall": float(recall),
    }
