"""Which synthetic samples to keep, so that together they stand for the real ones."""

import numpy as np

from busaug_core.metrics.neighbours import blocks, squared_distances
from busaug_core.metrics.realism import TINY

MOST = 2000
"""Real samples, evenly spaced, that the kernel's width is taken from."""


def herding(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """The rows of the synthetic samples in the order of kernel herding, int64 M.

    Each is the sample by which those before it and itself come nearest to the real ones in mean kernel, so that the
    first n are a good choice of n, whatever n (Chen, Welling & Smola 2010, equation 8, over the samples at hand). The
    kernel is Gaussian, exp(−d²/w), where w is the median d² between real samples, or to the synthetic ones where real
    ones do not differ. Features are N×D and M×D.
    """
    real, synthetic = real.astype(np.float64), synthetic.astype(np.float64)
    some = real[:: -(-len(real) // MOST)]
    apart = squared_distances(some, some)[np.triu_indices(len(some), 1)]
    width = float(np.median(apart)) if len(apart) else 0.0
    width = width or max(float(np.median(squared_distances(synthetic, some))), TINY)
    nearness = np.concatenate(
        [np.exp(-squared_distances(synthetic[rows], real) / width).mean(1) for rows in blocks(len(synthetic))]
    )
    norms = np.einsum("ij,ij->i", synthetic, synthetic)
    order, taken = np.empty(len(synthetic), np.int64), np.zeros(len(synthetic))
    for place in range(len(synthetic)):
        order[place] = one = int(np.argmax(nearness - taken / (place + 1)))
        taken += np.exp(-np.maximum(norms + norms[one] - 2 * (synthetic @ synthetic[one]), 0) / width)
        nearness[one] = -np.inf
    return order
