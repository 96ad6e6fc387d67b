"""The gray level co-occurrence matrix (Haralick et al. 1973): which levels stand side by side."""

import numpy as np

from busaug_core.metrics.radiomics.levels import NEIGHBOURS, Levels, entropy


def glcm(levels: Levels) -> dict[str, float]:
    """Features of the symmetric matrix at a distance of one pixel, means over the four directions.

    Of a single level, correlation is 1.
    """
    directions = [_features(matrix, levels.values) for matrix in matrices(levels)]
    return {name: float(np.mean([d[name] for d in directions])) for name in directions[0]}


def matrices(levels: Levels) -> list[np.ndarray]:
    """The matrix of each direction, K×K for the K levels that occur, of sum 1: across, down, both diagonals."""
    k, found = len(levels.values), []
    for one, other in NEIGHBOURS:
        code = levels.rank[one] * k + levels.rank[other]
        counts = np.bincount(code.ravel(), minlength=k * k).reshape(k, k)
        found.append((counts + counts.T) / (2 * code.size))
    return found


def _features(p: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """Features of one matrix; nearly all are sums over the distributions of i + j and of |i − j|.

    The information measures need no second matrix: Σ p(i, j) log p(i)p(j) and Σ p(i)p(j) log p(i)p(j) are both
    twice the entropy of the margin.
    """
    i, j, n_levels = values[:, None], values, values[-1]
    margin = p.sum(0)
    sums = np.bincount((i + j).astype(np.int64).ravel(), p.ravel())
    differences = np.bincount(np.abs(i - j).astype(np.int64).ravel(), p.ravel())
    s, d = np.arange(len(sums), dtype=np.float64), np.arange(len(differences), dtype=np.float64)
    mean = margin @ values
    variance = margin @ np.square(values - mean)
    product = margin @ values**2 - d**2 @ differences / 2  # 2ij = i² + j² − (i − j)²
    tendency = s - 2 * mean
    joint, marginal = entropy(p), entropy(margin)
    lacking = joint - 2 * marginal
    return {
        "Autocorrelation": product,
        "JointAverage": mean,
        "ClusterProminence": tendency**4 @ sums,
        "ClusterShade": tendency**3 @ sums,
        "ClusterTendency": tendency**2 @ sums,
        "Contrast": d**2 @ differences,
        "Correlation": (product - mean**2) / variance if len(values) > 1 else 1.0,
        "DifferenceAverage": d @ differences,
        "DifferenceEntropy": entropy(differences),
        "DifferenceVariance": np.square(d - d @ differences) @ differences,
        "JointEnergy": np.square(p).sum(),
        "JointEntropy": joint,
        "Imc1": lacking / marginal if marginal else 0.0,
        "Imc2": np.sqrt(max(1 - np.exp(2 * lacking), 0)),
        "Idm": (1 / (1 + d**2)) @ differences,
        "Idmn": (1 / (1 + (d / n_levels) ** 2)) @ differences,
        "Id": (1 / (1 + d)) @ differences,
        "Idn": (1 / (1 + d / n_levels)) @ differences,
        "InverseVariance": d[1:] ** -2 @ differences[1:],
        "MaximumProbability": p.max(),
        "SumEntropy": entropy(sums),
        "SumSquares": variance,
    }
