"""What matrices of gray level by size share: runs by length, zones by area, pixels by their dependent neighbours."""

import numpy as np

from busaug_core.metrics.radiomics.levels import entropy, ranked


def size_features(values: np.ndarray, rank: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Features of N things with a gray level and a size each, float64 14.

    In order: emphasis of small and of large sizes; non-uniformity of levels; that of sizes, and over N; emphasis of
    low and of high levels; of small sizes at low and at high levels, of large ones at low and at high; variance of
    levels and of sizes; entropy of both together, in bits.

    Args:
        values: the K levels that occur, of at least 1
        rank: N places among them
        sizes: N integers of at least 1
    """
    distinct, place = ranked(sizes)
    counts = np.bincount(rank * len(distinct) + place, minlength=len(values) * len(distinct))
    p = counts.reshape(len(values), len(distinct)) / len(sizes)
    of_levels, of_sizes = p.sum(1), p.sum(0)
    i, j = values, distinct.astype(np.float64)
    dark, bright, small, large = i**-2, i**2, j**-2, j**2
    return np.array(
        [
            of_sizes @ small,
            of_sizes @ large,
            of_levels @ of_levels * len(sizes),
            of_sizes @ of_sizes * len(sizes),
            of_sizes @ of_sizes,
            of_levels @ dark,
            of_levels @ bright,
            dark @ p @ small,
            bright @ p @ small,
            dark @ p @ large,
            bright @ p @ large,
            of_levels @ np.square(i - of_levels @ i),
            of_sizes @ np.square(j - of_sizes @ j),
            entropy(p),
        ]
    )


def run_or_zone_features(values: np.ndarray, rank: np.ndarray, sizes: np.ndarray, pixels: int) -> np.ndarray:
    """`size_features`, then the non-uniformity of levels over N, and N over the image's pixels; float64 16."""
    found = size_features(values, rank, sizes)
    return np.append(found, [found[2] / len(sizes), len(sizes) / pixels])
