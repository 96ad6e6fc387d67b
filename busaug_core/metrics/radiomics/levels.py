"""Gray levels, and counts of pairs: what all matrices of texture are made from."""

from dataclasses import dataclass

import numpy as np

BIN_WIDTH = 5
"""Width of a gray level: a twentieth of the standard deviation that images are brought to, as in frd-score. Of fixed
width, not number, so that an outlying pixel does not change the levels of all others."""

ALL, NOT_LAST, NOT_FIRST = slice(None), slice(-1), slice(1, None)
NEIGHBOURS = (
    ((ALL, NOT_LAST), (ALL, NOT_FIRST)),
    ((NOT_LAST, ALL), (NOT_FIRST, ALL)),
    ((NOT_LAST, NOT_LAST), (NOT_FIRST, NOT_FIRST)),
    ((NOT_LAST, NOT_FIRST), (NOT_FIRST, NOT_LAST)),
)
"""What selects all pixels that have a neighbour, and these neighbours: across, down, and along both diagonals."""


@dataclass(frozen=True)
class Levels:
    """The gray levels of an image.

    Attributes:
        values: the K levels that occur, in order, float64, the least of them 1
        rank: each pixel's place among them, int64 H×W
    """

    values: np.ndarray
    rank: np.ndarray

    @classmethod
    def of(cls, levels: np.ndarray) -> "Levels":
        """Of integers H×W, not negative."""
        distinct, rank = ranked(levels)
        return cls(distinct.astype(np.float64), rank)


def gray_levels(values: np.ndarray, width: float = BIN_WIDTH) -> Levels:
    """The bins of H×W values, counted from 1; bins begin at multiples of their width."""
    bins = np.floor(values / width).astype(np.int64)
    return Levels.of(bins - bins.min() + 1)


def ranked(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct ones among integers that are not negative, in order, and each one's place among these."""
    distinct = np.flatnonzero(np.bincount(values.ravel()))
    rank = np.empty(distinct[-1] + 1, np.int64)
    rank[distinct] = np.arange(len(distinct))
    return distinct, rank[values]


def entropy(probabilities: np.ndarray) -> float:
    """In bits; zeros count nothing."""
    p = probabilities[probabilities > 0]
    return float(-(p @ np.log2(p)))
