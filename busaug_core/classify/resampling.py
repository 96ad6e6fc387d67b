"""Images drawn anew with replacement, to train on and to test on."""

import numpy as np

from busaug_core.metrics.bootstrap import group_draws
from busaug_core.records import Record

DRAWS = 200
"""Draws of the held-out images that an interval is taken over."""


def training_draws(training: list[Record], draws: int, seed: int) -> np.ndarray:
    """How often each of N training images is drawn, int draws×N: of each class as many clusters as it has.

    Real images are drawn the same whatever synthetic ones there are; these are drawn within variant and class.
    """
    counts = np.zeros((draws, len(training)), np.int64)
    for synthetic in (False, True):
        places = [i for i, r in enumerate(training) if r.synthetic == synthetic]
        strata = [f"{training[i].variant if synthetic else ''} {training[i].label}" for i in places]
        groups = [training[i].cluster for i in places]
        counts[:, places] = group_draws(strata, groups, draws, np.random.default_rng([seed, synthetic]))
    return counts


def held_out_draws(held_out: list[Record], seed: int, folds: np.ndarray | None = None) -> np.ndarray:
    """How often each of N held-out images is drawn, int `DRAWS`×N: of each class as many clusters as it has.

    Where the images are of several folds, int N, as many of each.
    """
    rng = np.random.default_rng([seed, 2])
    strata = [r.label for r in held_out]
    if folds is not None:
        strata = [f"{fold} {label}" for fold, label in zip(folds, strata, strict=True)]
    return group_draws(strata, [r.cluster for r in held_out], DRAWS, rng)
