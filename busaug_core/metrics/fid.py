"""The Fréchet distance between two sets of features (Heusel et al. 2017, equation 6)."""

import numpy as np
from scipy.linalg.lapack import dpstrf

from busaug_core.errors import UserError
from busaug_core.metrics.estimate import feature_pair

BLOCK = 4096  # rows that are float64 at one time


def frechet_distance(real: np.ndarray, synthetic: np.ndarray) -> float:
    """The squared 2-Wasserstein distance of the Gaussians fitted to two feature sets.

    |μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁Σ₂)^½, with unbiased covariances. With Σ₁ = AᵀA and Σ₂ = BᵀB the
    last trace is the nuclear norm of A Bᵀ: no square root of a matrix. A and B are the centred features
    over √(N−1), which is exact where N is below the width, or else the triangular factor of the covariance.

    Args:
        real, synthetic: N×D and M×D, any float dtype; computed in float64

    Raises:
        UserError: widths differ, a set has fewer than two rows, or a value is not finite
    """
    return _distance(*map(_summary, feature_pair(real, synthetic, "the Fréchet distance")))


def frechet_distance_of_moments(real: "Moments", synthetic: "Moments") -> float:
    """`frechet_distance` of sets whose rows were streamed, such as sets whose features no memory holds.

    Raises UserError where widths differ or a side has seen fewer than two rows.
    """
    if real.width != synthetic.width:
        raise UserError(f"The moments are {real.width} and {synthetic.width} wide; use one extractor for both sides.")
    return _distance(real.summary(), synthetic.summary())


class Moments:
    """Mean and covariance of rows that come in batches, in float64 and without cancellation (Chan et al. 1983).

    Attributes:
        n: rows so far
        mean: D
        scatter: D×D, the sum of outer products of the centred rows
    """

    def __init__(self, width: int):
        self.n = 0
        self.mean = np.zeros(width)
        self.scatter = np.zeros((width, width))

    @property
    def width(self) -> int:
        return len(self.mean)

    @property
    def covariance(self) -> np.ndarray:
        """D×D, unbiased. Raises UserError before the second row."""
        if self.n < 2:
            raise UserError(f"A covariance needs at least 2 rows; {self.n} came so far.")
        return self.scatter / (self.n - 1)

    def add(self, batch: np.ndarray) -> "Moments":
        """Take in N×D rows of any float dtype; the result does not depend on the batches' sizes."""
        if batch.ndim != 2 or batch.shape[1] != self.width:
            raise UserError(f"A batch of shape {batch.shape} came; N×{self.width} was expected.")
        for start in range(0, len(batch), BLOCK):
            rows = np.array(batch[start : start + BLOCK], dtype=np.float64)
            mean = rows.mean(0)
            rows -= mean
            self._join(len(rows), mean, rows.T @ rows)
        return self

    def merge(self, other: "Moments") -> "Moments":
        """Take in the rows that `other` has seen, as another process may have."""
        self._join(other.n, other.mean, other.scatter)
        return self

    def summary(self) -> tuple[np.ndarray, float, np.ndarray]:
        """Mean, trace of the covariance, and a factor R, rank×D, with covariance RᵀR."""
        lower, order, rank, _ = dpstrf(self.covariance, lower=1)
        factor = np.empty((rank, self.width))
        factor[:, order - 1] = np.tril(lower)[:, :rank].T
        return self.mean, np.trace(self.covariance), factor

    def _join(self, n: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        if n:
            shift = mean - self.mean
            total = self.n + n
            self.scatter += scatter + np.outer(shift, shift * (self.n * n / total))
            self.mean = self.mean + shift * (n / total)
            self.n = total


def scaled(features: np.ndarray) -> np.ndarray:
    """The centred features over √(N−1), float64 N×D, whose AᵀA is the covariance."""
    rows = np.array(features, dtype=np.float64)
    rows -= rows.mean(0)
    rows /= np.sqrt(len(rows) - 1)
    return rows


def _summary(features: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    if len(features) > features.shape[1]:
        return Moments(features.shape[1]).add(features).summary()
    rows = scaled(features)
    return features.mean(0, dtype=np.float64), np.vdot(rows, rows), rows


def _distance(real: tuple, synthetic: tuple) -> float:
    (mean, trace, a), (other_mean, other_trace, b) = real, synthetic
    shift = mean - other_mean
    product = a @ b.T if len(a) <= len(b) else b @ a.T
    # By the eigenvalues of its square: half the time of singular values, and 1e-8 of the largest one as accurate.
    overlap = np.sqrt(np.maximum(np.linalg.eigvalsh(product @ product.T), 0)).sum()
    return float(shift @ shift + trace + other_trace - 2 * overlap)
