"""Logistic regression on features that are there: choosing its regularisation, and training on draws of the images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from busaug_core.errors import UserError
from busaug_core.metrics.bootstrap import groups_of

STRENGTHS = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""The values of C among which one is chosen; of features in units of their standard deviation."""
FALLBACK = 1e-2
FOLDS = 5
FLOOR = 0.3
"""Least unit of a feature, as a share of the median one, so that one that hardly varies in training is not blown up."""
ITERATIONS = 2000


@dataclass(frozen=True)
class LinearClassifier:
    """Logits ((x − mean) / std) · coefficientsᵀ + intercept of features x.

    Attributes:
        classes: the labels, in the order of the outputs
        mean, std: float64 D
        coefficients: float64 C×D
        intercept: float64 C
    """

    classes: list[str]
    mean: np.ndarray
    std: np.ndarray
    coefficients: np.ndarray
    intercept: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Logits, float32 N×C, of features N×D."""
        scaled = (features - self.mean) / self.std
        return (scaled @ self.coefficients.T + self.intercept).astype(np.float32)

    def predict(self, features: np.ndarray) -> list[str]:
        """The likeliest class of each of N images, given their features N×D."""
        return [self.classes[i] for i in self.logits(features).argmax(1)]


class Choice(NamedTuple):
    """A C, and its log-loss on images held out in turn, every class counting the same."""

    strength: float
    loss: float


class Regression:
    """Logistic regressions on one set of training images, or on draws of them.

    All are trained in the standard deviations of the whole set, and so that every class counts the same. Where there
    are several views of each image, all are trained on, each counts an equal part of it, and the first is tested.
    """

    def __init__(self, features: np.ndarray, labels: Sequence[str], weights: np.ndarray | None = None):
        """Takes features N×D, or N×V×D of V views, each image's class and, N, what it counts in it (by default one).

        Raises UserError where a feature is not finite.
        """
        if not np.isfinite(features).all():
            raise UserError("The features of some images are not finite; name another extractor.")
        n, width = len(features), features.shape[-1]
        features = features.astype(np.float64).reshape(-1, width)
        self.classes = sorted(set(labels))
        self.truth = np.array([self.classes.index(label) for label in labels])
        self.weights = np.ones(n) if weights is None else weights
        self.mean, self.std = features.mean(0), features.std(0)
        self.std = np.maximum(self.std, FLOOR * np.median(self.std))
        self.std[self.std == 0] = 1
        rows, self._basis = (features - self.mean) / self.std, None
        if len(rows) < width:
            # The coefficients lie in the span of the images, in whose coordinates training is several times as fast.
            self._basis, coordinates = np.linalg.qr(rows.T)
            rows = np.ascontiguousarray(coordinates.T)
        self._rows = rows.reshape(n, -1, rows.shape[1])

    def fit(self, strength: float, counts: np.ndarray | None = None) -> LinearClassifier:
        """Train with C = `strength` on each image as often as `counts`, N, says (by default once)."""
        coefficients, intercept = self._fit(strength, self.weights if counts is None else counts * self.weights)
        if self._basis is not None:
            coefficients = coefficients @ self._basis.T
        return LinearClassifier(self.classes, self.mean, self.std, coefficients, intercept)

    def choose(self, groups: Sequence[str], seed: int, held_out: np.ndarray | None = None) -> Choice | None:
        """The C of the least log-loss, every class counting the same, in stratified folds that part no group.

        Args:
            groups: the group of each of the N images
            seed: of the folds
            held_out: bool N, which images are held out in turn (by default all); the others train in every fold

        Returns None where there are too few groups for two folds that can be trained and tested on every class.
        """
        numbers = groups_of(groups)
        places = np.arange(len(numbers)) if held_out is None else np.flatnonzero(held_out)
        known = np.unique(self.truth[places])
        per_class = [len(np.unique(numbers[places][self.truth[places] == c])) for c in known]
        folds = min(FOLDS, *per_class)
        if folds < 2:
            return None
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        losses = {strength: np.zeros(len(self.truth)) for strength in STRENGTHS}
        tested = np.zeros(len(self.truth), bool)
        for _, fold in splitter.split(places, self.truth[places], numbers[places]):
            out = places[fold]
            counts = self.weights.copy()
            counts[out] = 0
            if len(np.unique(self.truth[counts > 0])) < len(self.classes):
                continue
            tested[out] = True
            for strength in STRENGTHS:
                coefficients, intercept = self._fit(strength, counts)
                logits = self._rows[:, 0][out] @ coefficients.T + intercept
                losses[strength][out] = -log_softmax(logits, axis=1)[np.arange(len(out)), self.truth[out]]
        if not tested.any():
            return None
        weights = _balanced(self.truth, tested.astype(float))
        means = {strength: float(weights @ losses[strength] / weights.sum()) for strength in STRENGTHS}
        return Choice(*min(means.items(), key=lambda item: item[1]))

    def _fit(self, strength: float, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients, C × the rows' width, and intercept."""
        used = counts > 0
        rows, weights = self._rows[used], _balanced(self.truth, counts)[used]
        views, width = rows.shape[1:]
        model = LogisticRegression(C=strength, max_iter=ITERATIONS)
        truth, weights = np.repeat(self.truth[used], views), np.repeat(weights / views, views)
        model.fit(rows.reshape(-1, width), truth, sample_weight=weights)
        if len(self.classes) == 2:  # scikit-learn has one output then, the difference of the two
            half = model.coef_ / 2, model.intercept_ / 2
            return np.concatenate([-half[0], half[0]]), np.concatenate([-half[1], half[1]])
        return model.coef_, model.intercept_


def _balanced(truth: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The weights of N images that occur so often: each class that occurs weighs the same, all as much as there are."""
    of_class = np.bincount(truth, counts)
    share = counts.sum() / np.count_nonzero(of_class)
    return counts * share / np.where(of_class > 0, of_class, 1)[truth]
