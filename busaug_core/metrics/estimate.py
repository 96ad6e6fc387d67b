"""What every metric takes, two sets of features, and what it gives, a value with its interval."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from busaug_core.errors import UserError

LEVEL = 0.95
"""Confidence of all intervals."""


@dataclass(frozen=True)
class Estimate:
    """A metric's value and its confidence interval, low ≤ value ≤ high."""

    value: float
    low: float
    high: float


def feature_pair(real: np.ndarray, synthetic: np.ndarray, metric: str, least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """The two sets as arrays of their own dtype.

    Raises UserError where a set is not N×D with N of at least `least`, widths differ, or a value is not finite.
    """
    sides = []
    for name, features in (("real", real), ("synthetic", synthetic)):
        features = np.asarray(features)
        if features.ndim != 2 or not features.shape[1]:
            raise UserError(f"The {name} features are of shape {features.shape}; {metric} needs N×D.")
        if len(features) < least:
            raise UserError(f"{metric} needs at least {least} images a side; there are {len(features)} {name} ones.")
        if not np.isfinite([features.min(), features.max()]).all():
            raise UserError(f"The {name} features hold values that are not finite; compute them anew.")
        sides.append(features)
    a, b = sides
    if a.shape[1] != b.shape[1]:
        raise UserError(f"The features are {a.shape[1]} and {b.shape[1]} wide; use one extractor for both sides.")
    return a, b


def jackknife_error(*left_out: np.ndarray) -> float:
    """The standard error from a statistic's values with each row left out, one array for each independent sample.

    The root of Σ (n − 1)/n Σⱼ (θ₋ⱼ − mean)² over the samples (Efron and Stein 1981; Arvesen 1969 for several).
    """
    return float(np.sqrt(sum((len(v) - 1) * np.var(v) for v in left_out)))


def spread(values: np.ndarray, value: float | None = None) -> Estimate:
    """A metric's value, by default the mean over draws, and the interval that holds the share `LEVEL` of `values`."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    value = float(np.mean(values) if value is None else value)
    return Estimate(value, min(float(low), value), max(float(high), value))


def t_interval(value: float, error: float, degrees: float) -> Estimate:
    """The interval of Student's t round a value with a standard error of so many degrees of freedom."""
    half = float(t.ppf((1 + LEVEL) / 2, degrees)) * error
    return Estimate(float(value), float(value - half), float(value + half))


def wilson_interval(value: float, error: float, n: int) -> Estimate:
    """Wilson's score interval of a proportion whose standard error is known; it has a width at 0 and 1 too.

    It is taken at the effective sample size, at which the binomial error equals `error`: at most `n`, and `n` where
    the proportion is 0 or 1.
    """
    z = float(norm.ppf((1 + LEVEL) / 2))
    effective = min(n, value * (1 - value) / error**2) if error and 0 < value < 1 else n
    shrink = 1 + z**2 / effective
    centre = (value + z**2 / (2 * effective)) / shrink
    half = z * np.sqrt(value * (1 - value) / effective + (z / (2 * effective)) ** 2) / shrink
    return Estimate(float(value), float(min(centre - half, value)), float(max(centre + half, value)))
