"""How far a synthetic image is believed: by a probe that knows the real training images alone."""

from collections.abc import Sequence

import numpy as np
from scipy.special import softmax

from busaug_core.classify.regression import FALLBACK, Regression
from busaug_core.records import Record


def confidences(training: Sequence[Record], features: np.ndarray, seed: int) -> np.ndarray:
    """What each of N training images counts, float N: one if it is real, else its class's probability.

    That is by a probe on the features, N×D, of the real images among them, which has seen none that it judges.
    """
    real = np.array([not r.synthetic for r in training])
    known = [r for r in training if not r.synthetic]
    regression = Regression(features[real], [r.label for r in known])
    choice = regression.choose([r.cluster for r in known], seed)
    judged = softmax(
        regression.fit(choice.strength if choice else FALLBACK).logits(features).astype(np.float64), axis=1
    )
    own = judged[np.arange(len(training)), [regression.classes.index(r.label) for r in training]]
    return np.where(real, 1.0, own)


def mean_confidence(training: Sequence[Record], counts: np.ndarray | None) -> dict[str, float]:
    """The mean of what the synthetic images of each variant count; nothing where they are not weighed."""
    if counts is None:
        return {}
    variants = np.array([r.variant if r.synthetic else "" for r in training])
    return {str(name): float(counts[variants == name].mean()) for name in np.unique(variants) if name}
