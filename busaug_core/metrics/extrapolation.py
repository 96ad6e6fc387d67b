"""The Fréchet distance extrapolated to infinitely many samples (Chong and Forsyth 2020, arXiv 1911.07023)."""

import numpy as np

from busaug_core.errors import UserError
from busaug_core.metrics.estimate import Estimate, feature_pair, jackknife_error, t_interval
from busaug_core.metrics.fid import frechet_distance
from busaug_core.metrics.influence import leave_one_out

POINTS = 15  # distances that the line is fitted to
LEAST = 20  # samples a side, so that the smallest subset has ten
SMALLEST = 0.5  # the smallest subset's share of all; the line in 1/N bends below it where N nears the width


def frechet_at_infinity(real: np.ndarray, synthetic: np.ndarray, seed: int = 0) -> Estimate:
    """The intercept of a least-squares line through the distances of 15 subsets against 1/N.

    FID is too high at finite N by an amount that goes with 1/N and differs between generators (the paper's
    section 3). The subsets are drawn from both sides without replacement, their sizes evenly from half to all
    of the smaller set. The interval adds the intercept's own error, which is that of drawing subsets, and the
    jackknife error of the distance, which is that of drawing the samples.

    Args:
        real, synthetic: N×D and M×D, any float dtype; computed in float64
        seed: seed of the subsets

    Raises:
        UserError: widths differ, a value is not finite, or a set has fewer than 20 rows or fewer than the features are
            wide, where FID is no line in 1/N yet and the intercept is still too high
    """
    real, synthetic = feature_pair(real, synthetic, "FID extrapolated to infinite N", LEAST)
    n, width = min(len(real), len(synthetic)), real.shape[1]
    if n < width:
        raise UserError(
            f"FID extrapolated to infinite N is too high with fewer images a side ({n}) than features ({width}); take "
            "more images or a narrower extractor."
        )
    rng = np.random.default_rng(seed)
    sizes = np.linspace(SMALLEST * n, n, POINTS).round().astype(int)
    values = [
        frechet_distance(*(side[np.sort(rng.choice(len(side), size, replace=False))] for side in (real, synthetic)))
        for size in sizes
    ]
    design = np.stack([np.ones(POINTS), 1 / sizes], axis=1)
    (intercept, _), (squares,), *_ = np.linalg.lstsq(design, np.array(values))
    drawing = squares / (POINTS - 2) * np.linalg.inv(design.T @ design)[0, 0]
    error = np.hypot(np.sqrt(drawing), jackknife_error(*leave_one_out(real, synthetic)))
    return t_interval(intercept, error, POINTS - 2)
