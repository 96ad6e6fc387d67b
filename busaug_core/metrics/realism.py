"""How near single synthetic samples lie to real ones: the scale of a copy ratio, and realism."""

import numpy as np

from busaug_core.errors import UserError
from busaug_core.metrics.neighbours import blocks, squared_distances

TINY = 1e-30
"""Squared distance that stands for none."""


def typical_distance(real: np.ndarray, mirrored: np.ndarray, groups: list[str | None]) -> float:
    """The median distance of real images to their nearest outside their own group, as it is or mirrored.

    Args:
        real, mirrored: features of the images and of their mirror images, N×D each
        groups: what ties images of one scan, None for an image of its own

    Raises UserError where all images are of one group.
    """
    names = np.unique([g if g is not None else f"#{i}" for i, g in enumerate(groups)], return_inverse=True)[1]
    others, of_group = np.concatenate([real, mirrored]).astype(np.float64), np.tile(names, 2)
    least = np.empty(len(real))
    for rows in blocks(len(real)):
        found = squared_distances(real[rows].astype(np.float64), others)
        found[names[rows, None] == of_group] = np.inf
        least[rows] = np.sqrt(found.min(1))
    median = float(np.median(least))
    if not np.isfinite(median) or median == 0:
        raise UserError("The training images are all of one group, or all alike; a copy ratio needs others.")
    return median


def realism(real: np.ndarray, synthetic: np.ndarray, k: int) -> np.ndarray:
    """The greatest ratio of a real image's radius to its distance, float M; 1 and above lies within a ball.

    The radius reaches to the k-th nearest other real image; the half with the larger radii is left out
    (Kynkäänniemi et al. 2019, equation 4). Features are N×D and M×D, N over k.
    """
    real, synthetic = real.astype(np.float64), synthetic.astype(np.float64)
    radii = np.concatenate(
        [np.partition(squared_distances(real[rows], real), k, axis=1)[:, k] for rows in blocks(len(real))]
    )
    compact = radii <= np.median(radii)
    found = [
        (radii[compact] / np.maximum(squared_distances(synthetic[rows], real[compact]), TINY)).max(1)
        for rows in blocks(len(synthetic))
    ]
    return np.sqrt(np.concatenate(found)).clip(max=1e6)
