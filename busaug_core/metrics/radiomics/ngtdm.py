"""The neighbouring gray tone difference matrix (Amadasun and King 1989): how a pixel stands out from those round it."""

import numpy as np
from scipy.ndimage import convolve1d

from busaug_core.metrics.radiomics.levels import Levels


def ngtdm(levels: Levels) -> dict[str, float]:
    """Coarseness (10⁶ for a single level), contrast, busyness, complexity and strength."""
    i = levels.values
    if len(i) == 1:
        return {"Coarseness": 1e6, "Contrast": 0.0, "Busyness": 0.0, "Complexity": 0.0, "Strength": 0.0}
    p, s = matrix(levels)
    apart, either = np.abs(i[:, None] - i), p[:, None] + p
    spread = p @ i**2 - (p @ i) ** 2
    return {
        "Coarseness": 1 / (p @ s),
        "Contrast": 2 * spread / (len(i) * (len(i) - 1)) * s.sum() / levels.rank.size,
        "Busyness": (p @ s) / np.abs((i * p)[:, None] - i * p).sum(),
        "Complexity": (apart * ((p * s)[:, None] + p * s) / either).sum() / levels.rank.size,
        "Strength": (either * apart**2).sum() / s.sum(),
    }


def matrix(levels: Levels) -> tuple[np.ndarray, np.ndarray]:
    """The share of pixels of each level, and the sum of their differences from their neighbours' mean, K each."""
    gray = levels.values[levels.rank]
    total, count = gray, np.ones(gray.shape)
    for axis in (0, 1):
        total, count = (convolve1d(image, np.ones(3), axis, mode="constant") for image in (total, count))
    differences = np.abs(gray - (total - gray) / (count - 1))
    rank = levels.rank.ravel()
    return np.bincount(rank) / rank.size, np.bincount(rank, differences.ravel())
