"""The nearest-neighbour two-sample test: can synthetic features be told from real ones?"""

import numpy as np
from sklearn.neighbors import NearestNeighbors


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
