"""The gray level run length matrix (Galloway 1975): how long levels go on in a line."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from busaug_core.metrics.radiomics.levels import Levels
from busaug_core.metrics.radiomics.sizes import run_or_zone_features

NAMES = (
    "ShortRunEmphasis",
    "LongRunEmphasis",
    "GrayLevelNonUniformity",
    "RunLengthNonUniformity",
    "RunLengthNonUniformityNormalized",
    "LowGrayLevelRunEmphasis",
    "HighGrayLevelRunEmphasis",
    "ShortRunLowGrayLevelEmphasis",
    "ShortRunHighGrayLevelEmphasis",
    "LongRunLowGrayLevelEmphasis",
    "LongRunHighGrayLevelEmphasis",
    "GrayLevelVariance",
    "RunVariance",
    "RunEntropy",
    "GrayLevelNonUniformityNormalized",
    "RunPercentage",
)


def glrlm(levels: Levels) -> dict[str, float]:
    """Features of the runs, means over the four directions."""
    directions = [run_or_zone_features(levels.values, *found, levels.rank.size) for found in runs(levels)]
    return dict(zip(NAMES, np.mean(directions, axis=0).tolist(), strict=True))


def runs(levels: Levels) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rank and the length of each run: across, down, and along both diagonals."""
    for order, begins_line in _lines(levels.rank.shape):
        along = levels.rank.ravel()[order]
        begins = begins_line.copy()
        begins[1:] |= along[1:] != along[:-1]
        first = np.flatnonzero(begins)
        yield along[first], np.diff(first, append=len(along))


@lru_cache(maxsize=4)
def _lines(shape: tuple[int, int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each direction the order of the pixels along its lines, and where in it a line begins."""
    down, across = np.indices(shape)
    found = []
    for line in (down, across, down - across, down + across):
        order = np.argsort(line, axis=None, kind="stable")
        found.append((order, np.diff(line.ravel()[order], prepend=line.min() - 1) > 0))
    return found
