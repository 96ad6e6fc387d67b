"""Distances between rows of two matrices, in blocks so that memory stays bounded."""

from collections.abc import Iterator

import numpy as np

BLOCK = 1024  # rows of a distance matrix that exist at one time


def blocks(n: int) -> Iterator[slice]:
    """Slices that cover n rows."""
    return (slice(i, min(i + BLOCK, n)) for i in range(0, n, BLOCK))


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared distances, N×M; what cancels to rounding error is 0, so that equal rows are."""
    norms = np.einsum("ij,ij->i", x, x)[:, None] + np.einsum("ij,ij->i", y, y)
    found = norms - 2 * x @ y.T
    found[found < 1e-13 * norms] = 0
    return found


def nearest(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of N rows the distance to the nearest of M others and which it is; float64 N and int N."""
    distance, index = np.empty(len(x)), np.empty(len(x), np.int64)
    x, y = x.astype(np.float64), y.astype(np.float64)
    for rows in blocks(len(x)):
        found = squared_distances(x[rows], y)
        index[rows] = found.argmin(1)
        distance[rows] = np.sqrt(np.take_along_axis(found, index[rows, None], 1)[:, 0])
    return distance, index
