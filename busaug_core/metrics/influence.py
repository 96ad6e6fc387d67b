"""How much every single sample moves the Fréchet distance, exactly, and the interval that follows."""

import numpy as np

from busaug_core.metrics.estimate import Estimate, feature_pair, jackknife_error, t_interval
from busaug_core.metrics.fid import frechet_distance, scaled

METRIC = "leaving one out of the Fréchet distance"
# Nodes of the integral in t = ln s, relative to the largest eigenvalue; both tails fall as exp(−|t|/2).
NODES = np.arange(-66, 62, 0.5)


def fid_influence(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """FID of all minus FID without each synthetic sample in turn, float64 M; positive makes it worse.

    Args and errors are those of `leave_one_out`.
    """
    return frechet_distance(real, synthetic) - leave_one_out(real, synthetic)[1]


def fid_influence_of_new(real: np.ndarray, synthetic: np.ndarray, new: np.ndarray) -> np.ndarray:
    """FID with each of K more synthetic samples in turn minus FID without, float64 K; positive makes it worse.

    As in `leave_one_out`, but adding a row d (less the mean) turns MMᵀ into (m−1)/m (MMᵀ + c g gᵀ) with g = A d and
    c = m/((m−1)(m+1)).

    Args:
        real, synthetic, new: N×D, M×D and K×D, any float dtype; computed in float64

    Raises:
        UserError: see `leave_one_out`
    """
    real, synthetic = feature_pair(real, synthetic, METRIC, least=3)
    a, b = scaled(real), scaled(synthetic)
    m, centre = len(b), synthetic.mean(0, dtype=np.float64)
    shift, added = real.mean(0, dtype=np.float64) - centre, new - centre
    (_, r), (_, s) = _factors(a), _factors(b)
    u, sigma, _ = np.linalg.svd(r @ s.T, full_matrices=False)
    g = added @ r.T / sigma[0]
    within = np.square(g @ u)
    beyond = np.maximum(np.square(g).sum(1) - within.sum(1), 0)[:, None]
    nodes = np.exp(NODES)
    weights = within @ (1 / (np.square(sigma / sigma[0])[:, None] + nodes)) + beyond / nodes
    roots = np.log1p(m / ((m - 1) * (m + 1)) * weights) @ np.sqrt(nodes) * (NODES[1] - NODES[0]) / (2 * np.pi)
    norms = np.square(added).sum(1)
    means = norms / (m + 1) ** 2 - 2 * (added @ shift) / (m + 1)
    traces = norms / (m + 1) - np.vdot(b, b) / m
    overlap = np.sqrt((m - 1) / m) * (sigma.sum() + sigma[0] * roots) - sigma.sum()
    return means + traces - 2 * overlap


def frechet_interval(real: np.ndarray, synthetic: np.ndarray) -> Estimate:
    """The Fréchet distance with its delete-one jackknife interval (Arvesen 1969: both samples vary).

    It is an interval of the mean of FID at these sample sizes, whose bias in N it neither shows nor corrects.
    Args and errors are those of `leave_one_out`.
    """
    error = jackknife_error(*leave_one_out(real, synthetic))
    found = t_interval(frechet_distance(real, synthetic), error, min(len(real), len(synthetic)) - 1)
    return Estimate(found.value, max(found.low, 0.0), found.high)


def leave_one_out(real: np.ndarray, synthetic: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The Fréchet distance without each row in turn, float64 N and M, for the price of one decomposition.

    With A and B as in `frechet_distance`, M = A Bᵀ = U diag(σ) Vᵀ and c = m/(m−1), dropping row j of B turns
    MMᵀ into (m−1)/(m−2) (MMᵀ − c g gᵀ), g being column j of M. As √x = 1/2π ∫ ln(1 + x/s) ds/√s over s > 0,
    and by the determinant of a rank-one change, the trace of its root changes by

        1/2π ∫ ln(ρ + c Σₖ Vⱼₖ² s/(σₖ² + s)) ds/√s,   ρ = 1 − c Σₖ Vⱼₖ² ≥ 0,

    a sum of positive terms only. All rows share the nodes, so that the integral is one matrix product; the
    trapezoidal rule in ln s converges exponentially (Trefethen and Weideman 2014).

    Args:
        real, synthetic: N×D and M×D, any float dtype; computed in float64, of which this holds two copies

    Raises:
        UserError: widths differ, a set has fewer than three rows, or a value is not finite
    """
    real, synthetic = feature_pair(real, synthetic, METRIC, least=3)
    a, b = scaled(real), scaled(synthetic)
    shift = real.mean(0, dtype=np.float64) - synthetic.mean(0, dtype=np.float64)
    (q, r), (p, s) = _factors(a), _factors(b)
    u, sigma, vt = np.linalg.svd(r @ s.T, full_matrices=False)
    kept = sigma > sigma[0] * max(len(a), len(b)) * np.finfo(float).eps
    u, v, sigma = u[:, kept], vt[kept].T, sigma[kept]
    u, v = u if q is None else q @ u, v if p is None else p @ v
    traces = np.vdot(a, a), np.vdot(b, b)
    return (
        _without_each(a, shift, traces, u, sigma),
        _without_each(b, -shift, traces[::-1], v, sigma),
    )


def _factors(rows: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Q with orthonormal columns and R of D×D, whose product is `rows`; a set of D rows at most is its own R."""
    return np.linalg.qr(rows) if len(rows) > rows.shape[1] else (None, rows)


def _without_each(
    rows: np.ndarray, shift: np.ndarray, traces: tuple[float, float], vectors: np.ndarray, sigma: np.ndarray
) -> np.ndarray:
    """The distance without each of `rows`, scaled as in `scaled`; `shift` is their mean less the other's."""
    n = len(rows)
    norms = np.einsum("ij,ij->i", rows, rows)
    # Without row j the mean moves by −rows[j] / √(n−1).
    means = shift @ shift - 2 * (rows @ shift) / np.sqrt(n - 1) + norms / (n - 1)
    own = (n - 1) / (n - 2) * (traces[0] - n / (n - 1) * norms)
    overlap = np.sqrt((n - 1) / (n - 2)) * (sigma.sum() + _root_trace_change(vectors, sigma, n / (n - 1)))
    return means + own + traces[1] - 2 * overlap


def _root_trace_change(vectors: np.ndarray, sigma: np.ndarray, c: float) -> np.ndarray:
    """The integral of `leave_one_out` for each row of `vectors`, N×rank."""
    if not len(sigma):
        return np.zeros(len(vectors))
    weights = c * np.square(vectors)
    left = np.maximum(1 - weights.sum(1, keepdims=True), 0)
    eigenvalues = np.square(sigma / sigma[0])[:, None]
    below, above = np.exp(NODES[NODES < 0]), np.exp(NODES[NODES >= 0])
    # Neither form loses digits: the first where the logarithm's argument is near 0, the second where near 1.
    low = np.log(left + weights @ (below / (eigenvalues + below))) @ np.sqrt(below)
    high = np.log1p(-weights @ (eigenvalues / (eigenvalues + above))) @ np.sqrt(above)
    return sigma[0] * (NODES[1] - NODES[0]) / (2 * np.pi) * (low + high)
