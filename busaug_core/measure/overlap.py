"""How far the features of synthetic images overlap with those of real ones."""

import numpy as np
from sklearn.neighbors import NearestNeighbors


def coverage(real: np.ndarray, synthetic: np.ndarray, k: int) -> float:
    """The share of real images with a synthetic one nearer than their k-th real neighbour.

    Coverage of Naeem et al. 2020, equation 9. Features are N×D and M×D; N must exceed k.
    """
    radii = NearestNeighbors(n_neighbors=k + 1).fit(real).kneighbors(real)[0][:, -1]
    nearest = NearestNeighbors(n_neighbors=1).fit(synthetic).kneighbors(real)[0][:, 0]
    return float((nearest < radii).mean())


def two_sample_accuracy(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Leave-one-out accuracy of telling real from synthetic by the nearest neighbour; 0.5 is no telling.

    The two-sample test of Lopez-Paz and Oquab 2017 with a 1-nearest-neighbour classifier; the sets
    should be of equal size.
    """
    both = np.concatenate([real, synthetic])
    origin = np.repeat([0, 1], [len(real), len(synthetic)])
    neighbours = NearestNeighbors(n_neighbors=2).fit(both).kneighbors(both)[1]
    # A duplicate may push an image out of its own first place.
    own = np.arange(len(both))
    nearest = np.where(neighbours[:, 0] == own, neighbours[:, 1], neighbours[:, 0])
    return float((origin[nearest] == origin).mean())
