"""Sets of features like a network's, and what a metric's tests do with them."""

import numpy as np


def features(n, width, seed, shift=0.0):
    """Like a network's: correlated, of a decaying spectrum, never negative; float32."""
    spectrum = np.arange(1, width + 1) ** -0.6
    mixing = np.random.default_rng(99).normal(size=(width, width)) / width**0.5
    noise = np.random.default_rng(seed).normal(size=(n, width))
    return np.maximum((noise * spectrum) @ mixing + 0.3 + shift, 0).astype(np.float32)


def by_deletion(metric, real, synthetic):
    return (
        np.array([metric(np.delete(real, i, 0), synthetic) for i in range(len(real))]),
        np.array([metric(real, np.delete(synthetic, i, 0)) for i in range(len(synthetic))]),
    )


def share_covered(metric, draw, truth, repetitions):
    """How often the interval holds `truth`; None: the mean of the metric over these repetitions."""
    estimates = [metric(*draw(np.random.default_rng(seed))) for seed in range(repetitions)]
    truth = np.mean([e.value for e in estimates]) if truth is None else truth
    return np.mean([e.low <= truth <= e.high for e in estimates])


def gaussians(n, width, shift=0.0, scale=1.0):
    """A function that draws two sets, and the squared 2-Wasserstein distance of what they are drawn from."""
    spread = np.arange(1, width + 1) ** -0.5

    def draw(rng):
        one, other = rng.normal(size=(2, n, width))
        return one * spread, (other * scale + shift) * spread

    return draw, np.square(spread).sum() * (shift**2 + (1 - scale) ** 2)


def correlated(n, width, seed, shift=0.0):
    """Gaussian, correlated and of either sign; float32."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, width)) @ rng.normal(size=(width, width)) / width**0.5 + shift).astype(np.float32)
