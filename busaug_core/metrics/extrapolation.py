"""The Fréchet distance extrapolated to infinitely many samples (Chong and Forsyth 2020, arXiv 1911.07023)."""

import numpy as np

from busaug_core.errors import UserError
from busaug_core.metrics.estimate import LEVEL, Estimate, around, feature_pair, jackknife_error
from busaug_core.metrics.fid import frechet_distance
from busaug_core.metrics.influence import leave_one_out

LEAST = 20  # samples a side, so that the smallest subset has ten
SMALLEST = 0.5  # the smallest subset's share of all; the line in 1/N bends below it where N nears the width


def frechet_at_infinity(
    real: np.ndarray, synthetic: np.ndarray, points: int = 15, seed: int = 0, level: float = LEVEL
) -> Estimate:
    """The intercept of a least-squares line through the distances of `points` subsets against 1/N.

    FID is too high at finite N by an amount that goes with 1/N and differs between generators (the paper's
    section 3). The subsets are drawn from both sides without replacement, their sizes evenly from half to all
    of the smaller set. The interval adds the intercept's own error, which is that of drawing subsets, and the
    jackknife error of the distance, which is that of drawing the samples. With N below the width of the features
    FID is no line in 1/N yet: the figure is then nearer than FID at N, but still too high, and the interval is
    that of its mean, not of the distance at infinity.

    Args:
        real, synthetic: N×D and M×D, any float dtype; computed in float64
        points: distances to fit, at least 4

    Raises:
        UserError: widths differ, a set has fewer than 20 rows, a value is not finite, or `points` is below 4
    """
    if points < 4:
        raise UserError(f"FID was asked to be extrapolated from {points} points; at least 4 are needed.")
    real, synthetic = feature_pair(real, synthetic, "FID extrapolated to infinite N", LEAST)
    n = min(len(real), len(synthetic))
    rng = np.random.default_rng(seed)
    sizes = np.linspace(SMALLEST * n, n, points).round().astype(int)
    values = [
        frechet_distance(*(side[np.sort(rng.choice(len(side), size, replace=False))] for side in (real, synthetic)))
        for size in sizes
    ]
    design = np.stack([np.ones(points), 1 / sizes], axis=1)
    (intercept, _), (squares,), *_ = np.linalg.lstsq(design, np.array(values))
    drawing = squares / (points - 2) * np.linalg.inv(design.T @ design)[0, 0]
    error = np.hypot(np.sqrt(drawing), jackknife_error(*leave_one_out(real, synthetic)))
    return around(intercept, error, points - 2, level)
