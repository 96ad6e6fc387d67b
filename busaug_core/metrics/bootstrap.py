"""Draws with replacement of whole groups of images, such as a patient's or a scan's (Davison and Hinkley 1997)."""

from collections.abc import Sequence

import numpy as np


def groups_of(names: Sequence[str]) -> np.ndarray:
    """A number for each group, int N, by the order of the groups' names."""
    return np.unique(np.asarray(names), return_inverse=True)[1]


def group_draws(strata: Sequence[str], groups: Sequence[str], draws: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of N images is drawn, int draws×N: of each stratum as many groups as it has, with replacement.

    Images of one group that lie in several strata are drawn apart. The draws of a stratum depend on the generator and
    on the names of its groups, not on the order of the images.
    """
    strata, groups = np.asarray(strata), np.asarray(groups)
    counts = np.zeros((draws, len(groups)), np.int64)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        numbers = groups_of(groups[members])
        n = int(numbers.max()) + 1
        drawn = rng.integers(n, size=(draws, n))
        often = np.stack([np.bincount(row, minlength=n) for row in drawn])
        counts[:, members] = often[:, numbers]
    return counts
