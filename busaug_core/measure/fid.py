"""The Fréchet distance between two sets of features (Heusel et al. 2017, equation 6)."""

import numpy as np

from busaug_core.errors import UserError


def frechet_distance(real: np.ndarray, synthetic: np.ndarray) -> float:
    """The squared 2-Wasserstein distance of the Gaussians fitted to two feature sets.

    |μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁Σ₂)^½, with unbiased covariances. With A and B the centred
    features over √(N−1), Σ₁ = AᵀA and Σ₂ = BᵀB, and the last trace is the nuclear norm of A Bᵀ: no
    square root of a matrix, and exact where N is below the width. Sets with more rows than columns are
    first reduced to their triangular factor, which leaves that norm as it is.

    Args:
        real, synthetic: N×D and M×D, any float dtype; computed in float64

    Raises:
        UserError: widths differ, a set has fewer than two rows, or a value is not finite
    """
    a, b = _checked(real, "real"), _checked(synthetic, "synthetic")
    if a.shape[1] != b.shape[1]:
        raise UserError(f"The features are {a.shape[1]} and {b.shape[1]} wide; use one extractor for both sides.")
    shift = a.mean(0) - b.mean(0)
    a, b = _scaled(a), _scaled(b)
    traces = np.square(a).sum() + np.square(b).sum()
    overlap = np.linalg.svd(_reduced(a) @ _reduced(b).T, compute_uv=False).sum()
    return float(shift @ shift + traces - 2 * overlap)


def _checked(features: np.ndarray, name: str) -> np.ndarray:
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise UserError(f"The {name} features are of shape {features.shape}; N×D with N of at least 2 is needed.")
    if not np.isfinite(features).all():
        raise UserError(f"The {name} features hold values that are not finite.")
    return features


def _scaled(features: np.ndarray) -> np.ndarray:
    return (features - features.mean(0)) / np.sqrt(len(features) - 1)


def _reduced(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.qr(matrix, mode="r") if matrix.shape[0] > matrix.shape[1] else matrix
