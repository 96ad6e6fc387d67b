"""Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020)."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from busaug_core.metrics.estimate import Estimate, feature_pair, jackknife_error, t_interval, wilson_interval
from busaug_core.metrics.neighbours import blocks, squared_distances


@dataclass(frozen=True)
class Prdc:
    """How two sets overlap, by balls round each sample that reach to its k-th neighbour on its own side.

    Attributes:
        precision: the share of synthetic samples in the ball of a real one
        recall: the share of real samples in the ball of a synthetic one
        density: the real balls that a synthetic sample lies in, on average, over k; it may exceed 1
        coverage: the share of real samples with a synthetic one in their ball
    """

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


def prdc(real: np.ndarray, synthetic: np.ndarray, k: int = 5) -> Prdc:
    """The four metrics from one computation of the distances, with delete-one jackknife intervals.

    Without a sample its own ball goes, and the balls of those whose k nearest it was among grow to their next
    neighbour; both are counted exactly. Shares have Wilson's interval at the jackknife's error. Distances
    exist in blocks of 1024 rows; what is kept is which samples lie in which balls, as sparse matrices
    (some k entries a row; N×M bytes by five where every ball of a side holds the whole other side).

    Args:
        real, synthetic: N×D and M×D, any float dtype; computed in float64

    Raises:
        UserError: widths differ, a set has fewer than k + 2 rows, or a value is not finite
    """
    real, synthetic = feature_pair(real, synthetic, f"precision and recall at k = {k}", least=k + 2)
    n, m = len(real), len(synthetic)
    centre = real.mean(0, dtype=np.float64)
    x, y = real - centre, synthetic - centre
    real_balls, synthetic_balls = _Balls(x, k), _Balls(y, k)
    parts = []
    for rows in blocks(n):
        squares = squared_distances(x[rows], y)
        parts.append(real_balls.holding(squares, rows) + synthetic_balls.holding(squares.T))
    inside, beyond, *mirrored = zip(*parts, strict=True)
    inside, beyond = sparse.vstack(inside, "csr"), sparse.vstack(beyond, "csr")
    gained = real_balls.followers @ beyond
    mirrored_inside, mirrored_beyond = (sparse.hstack(part, "csr") for part in mirrored)

    density, density_error = _density(inside, gained, k)
    density = t_interval(density, density_error, min(n, m) - 1)
    return Prdc(
        precision=wilson_interval(*_held(inside, gained), m),
        recall=wilson_interval(*_held(mirrored_inside, synthetic_balls.followers @ mirrored_beyond), n),
        density=replace(density, low=max(density.low, 0.0)),
        coverage=wilson_interval(*_filled(inside, beyond, real_balls.followers), n),
    )


class _Balls:
    """Balls round N samples, to the k-th nearest other.

    Attributes:
        radii, wider: N, squared distances to the k-th and the next neighbour
        followers: sparse N×N, 1 at (i, j) where i is among the k nearest of j, whose ball grows without i
    """

    def __init__(self, samples: np.ndarray, k: int):
        n = len(samples)
        self.radii, self.wider = np.empty(n), np.empty(n)
        neighbours = np.empty((n, k), dtype=np.int64)
        for rows in blocks(n):
            squares = squared_distances(samples[rows], samples)
            squares[np.arange(len(squares)), np.arange(n)[rows]] = np.inf
            nearest = np.argpartition(squares, k, axis=1)[:, : k + 1]
            nearest_squares = np.take_along_axis(squares, nearest, axis=1)
            neighbours[rows] = nearest[:, :k]
            self.radii[rows], self.wider[rows] = nearest_squares[:, :k].max(1), nearest_squares[:, k]
        ones = np.ones(n * k, dtype=np.int32)
        self.followers = sparse.csr_array((ones, (neighbours.ravel(), np.repeat(np.arange(n), k))), shape=(n, n))

    def holding(self, squares: np.ndarray, rows: slice = slice(None)) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Which points lie in the balls `rows`, and which more would if these grew; balls × points."""
        inside = squares < self.radii[rows, None]
        beyond = (squares < self.wider[rows, None]) & ~inside
        return sparse.csr_array(inside.astype(np.int8)), sparse.csr_array(beyond.astype(np.int8))


def _held(inside: sparse.csr_array, gained: sparse.csr_array) -> tuple[float, float]:
    """The share of points in any ball, and its jackknife error."""
    points = inside.shape[1]
    times = inside.sum(0)
    held = times > 0
    reached = (gained > 0).astype(np.int32)
    only = inside.multiply(times == 1)
    lost = only.sum(1) - only.multiply(reached).sum(1)
    without_ball = (held.sum() - lost + reached @ ~held) / points
    return held.mean(), jackknife_error(without_ball, (held.sum() - held) / (points - 1))


def _density(inside: sparse.csr_array, gained: sparse.csr_array, k: int) -> tuple[float, float]:
    points = inside.shape[1]
    total = inside.sum()
    without_ball = (total - inside.sum(1) + gained.sum(1)) / (k * points)
    return total / (k * points), jackknife_error(without_ball, (total - inside.sum(0)) / (k * (points - 1)))


def _filled(inside: sparse.csr_array, beyond: sparse.csr_array, followers: sparse.csr_array) -> tuple[float, float]:
    """The share of balls with a point in them, and its jackknife error."""
    balls = inside.shape[0]
    counts = inside.sum(1)
    filled = counts > 0
    would_fill = ~filled & (beyond.sum(1) > 0)
    without_ball = (filled.sum() - filled + followers @ would_fill) / (balls - 1)
    without_point = (filled.sum() - (counts == 1) @ inside) / balls
    return filled.mean(), jackknife_error(without_ball, without_point)
