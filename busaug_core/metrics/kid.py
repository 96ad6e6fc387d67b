"""The kernel distance between two sets of features (KID, Bińkowski et al. 2018)."""

import numpy as np

from busaug_core.errors import UserError
from busaug_core.metrics.estimate import Estimate, feature_pair, jackknife_error, t_interval

SUBSET_SIZE = 100
HELD = 4096  # samples a side up to which the kernel matrices are held, 400 MB at most
BLOCK = 1024  # rows of a kernel matrix that exist at one time beyond that


def kid(
    real: np.ndarray,
    synthetic: np.ndarray,
    subset_size: int | None = None,
    subsets: int = 100,
    seed: int = 0,
) -> Estimate:
    """The mean over random subsets of the unbiased MMD² with the kernel (xᵀy/D + 1)³; it may be below 0.

    The subsets are those of torch-fidelity with the real set as its first input. The interval's error is the
    delete-one jackknife's of the MMD² of all rows, of which that mean is a Monte Carlo estimate, and the
    latter's own error.

    Args:
        real, synthetic: N×D and M×D, any float dtype; computed in float64
        subset_size: rows drawn of each side, without replacement; None: 100, or the smaller set's size
        subsets: how many are drawn, at least 2

    Raises:
        UserError: widths differ, a set has fewer than three rows or than `subset_size`, or a value is not finite
    """
    real, synthetic = feature_pair(real, synthetic, "KID", least=3)
    n, m = len(real), len(synthetic)
    size = min(SUBSET_SIZE, n, m) if subset_size is None else subset_size
    if not 2 <= size <= min(n, m):
        raise UserError(f"KID was asked for subsets of {size}; there are {n} and {m} samples to draw from.")
    if subsets < 2:
        raise UserError(f"KID was asked for {subsets} subsets; its interval needs at least 2.")
    x, y = real.astype(np.float64), synthetic.astype(np.float64)
    rng = np.random.RandomState(seed)  # torch-fidelity's generator
    picks = [(rng.choice(n, size, replace=False), rng.choice(m, size, replace=False)) for _ in range(subsets)]
    if max(n, m) <= HELD:
        xx, yy, xy = _kernel(x, x), _kernel(y, y), _kernel(x, y)
        draws = [_mmd2(xx[np.ix_(i, i)], yy[np.ix_(j, j)], xy[np.ix_(i, j)]) for i, j in picks]
        sums = xx.sum(1), yy.sum(1), xy.sum(1), xy.sum(0)
    else:
        draws = [_mmd2(_kernel(x[i], x[i]), _kernel(y[j], y[j]), _kernel(x[i], y[j])) for i, j in picks]
        sums = _sums(x, x)[0], _sums(y, y)[0], *_sums(x, y)
    left_out = _leave_one_out(sums[0] - _diagonal(x), sums[1] - _diagonal(y), *sums[2:])
    error = np.hypot(jackknife_error(*left_out), np.std(draws, ddof=1) / np.sqrt(subsets))
    return t_interval(np.mean(draws), error, min(n, m) - 1)


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _cube(x @ y.T / x.shape[1] + 1)


def _diagonal(x: np.ndarray) -> np.ndarray:
    return _cube(np.einsum("ij,ij->i", x, x) / x.shape[1] + 1)


def _cube(values: np.ndarray) -> np.ndarray:
    return values * values * values  # as a power it takes longer than the matrix product


def _sums(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the kernel matrix's rows and columns, without holding it."""
    rows, columns = np.empty(len(x)), np.zeros(len(y))
    for start in range(0, len(x), BLOCK):
        block = _kernel(x[start : start + BLOCK], y)
        rows[start : start + BLOCK] = block.sum(1)
        columns += block.sum(0)
    return rows, columns


def _mmd2(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray) -> float:
    """The unbiased estimate of equation 4 from kernel matrices, all n×n."""
    n = len(xx)
    return (xx.sum() - xx.trace() + yy.sum() - yy.trace()) / (n * (n - 1)) - 2 * xy.mean()


def _leave_one_out(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray, yx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The MMD² of all rows without each row of either side, from row sums of the kernel without the diagonal."""
    n, m = len(xx), len(yy)
    of_real, of_synthetic, cross = xx.sum(), yy.sum(), xy.sum()
    return (
        (of_real - 2 * xx) / ((n - 1) * (n - 2)) + of_synthetic / (m * (m - 1)) - 2 * (cross - xy) / ((n - 1) * m),
        (of_synthetic - 2 * yy) / ((m - 1) * (m - 2)) + of_real / (n * (n - 1)) - 2 * (cross - yx) / (n * (m - 1)),
    )
