"""Accuracy, F1, AUC and their like of a classifier."""

import numpy as np
from scipy.special import softmax
from sklearn.metrics import accuracy_score, precision_recall_fscore_support, recall_score, roc_auc_score

from busaug_core.metrics.estimate import Estimate, spread

BINS = 15
"""Bins of the calibration error, as many as in Guo et al. 2017."""


def classification_metrics(truth: np.ndarray, logits: np.ndarray) -> dict[str, float | int | None]:
    """Accuracy, calibration error, and macro averages of F1, one-vs-rest AUC-ROC, PPV, recall and specificity.

    Args:
        truth: class indices, int N
        logits: float N × classes

    Returns:
        `n`, `accuracy`, `f1`, `auc`, `ppv` (positive predictive value), `recall` (the balanced accuracy),
        `specificity`, `ece`, each in 0–1; `auc` and `specificity` are None where there is but one class.
        The averages are over the classes that occur in `truth`: a set without normal scans tells nothing of them.
        Of those, a class that is never predicted counts with a PPV of 0. `ece` is the expected calibration error: by
        how much the share of right predictions differs from their mean probability, over 15 bins of the latter.
    """
    classes = np.unique(truth)
    predicted = logits.argmax(1)
    ppv, recall, f1, _ = precision_recall_fscore_support(
        truth, predicted, labels=classes, average="macro", zero_division=0
    )
    probabilities = softmax(logits.astype(np.float64), axis=1)
    auc = specificity = None
    if len(classes) > 1:
        auc = float(roc_auc_score(truth[:, None] == classes, probabilities[:, classes], average="macro"))
        specificity = float(np.mean([recall_score(truth != c, predicted != c) for c in classes]))
    return {
        "n": len(truth),
        "accuracy": float(accuracy_score(truth, predicted)),
        "f1": float(f1),
        "auc": auc,
        "ppv": float(ppv),
        "recall": float(recall),
        "specificity": specificity,
        "ece": float(_calibration_error(predicted == truth, probabilities.max(1), np.ones((1, len(truth))))[0]),
    }


def metrics_of_class(truth: np.ndarray, logits: np.ndarray, label: int) -> dict[str, float]:
    """F1, one-vs-rest AUC-ROC, PPV, recall (sensitivity) and specificity of one class.

    Args:
        truth: class indices, int N, of `label` and of others too
        logits: float N × classes
        label: the class
    """
    positive, predicted = truth == label, logits.argmax(1) == label
    ppv, recall, f1, _ = precision_recall_fscore_support(positive, predicted, average="binary", zero_division=0)
    return {
        "f1": float(f1),
        "auc": float(roc_auc_score(positive, softmax(logits.astype(np.float64), axis=1)[:, label])),
        "ppv": float(ppv),
        "recall": float(recall),
        "specificity": float(recall_score(~positive, ~predicted)),
    }


def metrics_over_draws(
    truth: np.ndarray, logits: np.ndarray, draws: np.ndarray, folds: np.ndarray | None = None
) -> dict[str, Estimate]:
    """The metrics of `classification_metrics`, means over trainings, with 95 % intervals over draws of the images too.

    Args:
        truth: class indices, int N
        logits: float R × N × classes, those of R trainings
        draws: how often each image is drawn, int B × N; every class of `truth` occurs in each draw
        folds: as in `weighted_metrics`

    Returns the estimates by name, without `n`, and without `auc` and `specificity` where there is but one class.
    """
    weights = np.concatenate([np.ones((1, len(truth))), draws])
    found = [weighted_metrics(truth, of_training, weights, folds) for of_training in logits]
    by_name = {name: np.stack([values[name] for values in found]) for name in found[0]}
    return {name: spread(values[:, 1:], values[:, 0].mean()) for name, values in by_name.items()}


def weighted_metrics(
    truth: np.ndarray, logits: np.ndarray, weights: np.ndarray, folds: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """The metrics of `classification_metrics` but `n`, each float B, where images count as `weights`, B × N, say.

    `folds`, int N, says whose logits are of the same classifier, where they are of several: each metric is then its
    mean over these, by what their images weigh, since scores of one classifier are no measure for another's.
    """
    if folds is not None:
        places = [folds == fold for fold in np.unique(folds)]
        parts = [weighted_metrics(truth[here], logits[here], weights[:, here]) for here in places]
        sizes = np.stack([weights[:, here].sum(1) for here in places])
        shared = set.intersection(*(set(part) for part in parts))
        found = {name: np.where(sizes > 0, [p[name] for p in parts], 0) for name in parts[0] if name in shared}
        return {name: (values * sizes).sum(0) / sizes.sum(0) for name, values in found.items()}
    classes, predicted = np.unique(truth), logits.argmax(1)
    actual, claimed = truth[:, None] == classes, predicted[:, None] == classes
    hits, support, calls = (weights @ cells.astype(float) for cells in (actual & claimed, actual, claimed))
    found = {
        "accuracy": hits.sum(1) / weights.sum(1),
        "f1": (2 * hits / (support + calls)).mean(1),
        "ppv": (hits / np.where(calls > 0, calls, 1)).mean(1),
        "recall": (hits / support).mean(1),
    }
    probabilities = softmax(logits.astype(np.float64), axis=1)
    if len(classes) > 1:
        scores = probabilities[:, classes]
        others = weights.sum(1)[:, None] - support
        found["specificity"] = ((others - (calls - hits)) / others).mean(1)
        found["auc"] = np.mean([_weighted_auc(actual[:, i], scores[:, i], weights) for i in range(len(classes))], 0)
    found["ece"] = _calibration_error(predicted == truth, probabilities.max(1), weights)
    return found


def _calibration_error(right: np.ndarray, confidence: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The expected calibration error, float B, of predictions that are right, bool N, with a confidence, float N."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    excess = np.where(bins[:, None] == np.arange(BINS), (right - confidence)[:, None], 0)
    return np.abs(weights @ excess).sum(1) / weights.sum(1)


def _weighted_auc(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The area under the ROC curve, float B: the share of pairs in which the positive one scores more; ties half."""
    order = np.argsort(scores)
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    of_score = [np.add.reduceat((weights * side)[:, order], starts, axis=1) for side in (positive, ~positive)]
    above, level = of_score
    below = np.cumsum(level, 1) - level
    return (above * (below + level / 2)).sum(1) / (above.sum(1) * level.sum(1))
