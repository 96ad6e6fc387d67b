"""All metrics between two sets of features, by the name that a table gives them."""

import numpy as np

from busaug_core.measure.config import ComputeFid
from busaug_core.measure.rows import Outcome, tried
from busaug_core.metrics.extrapolation import frechet_at_infinity
from busaug_core.metrics.influence import frechet_interval
from busaug_core.metrics.kid import kid
from busaug_core.metrics.prdc import prdc
from busaug_core.metrics.two_sample import real_vs_synthetic_auc

PRDC = ("precision", "recall", "density", "coverage")
TWO_SAMPLE = "AUC real vs synthetic"


def compare(
    real: np.ndarray, synthetic: np.ndarray, groups: list[str], config: ComputeFid, frechet: str
) -> dict[str, Outcome]:
    """The outcome of each metric that the config names.

    Args:
        real, synthetic: features, N×D and M×D
        groups: which of the N + M rows belong together, the real ones first
        config: the metrics and their settings
        frechet: what a Fréchet distance in these features is called
    """
    found: dict[str, Outcome] = {}
    asked, seed = config.metrics, config.seed
    if "fid" in asked:
        found[frechet] = tried(lambda: frechet_interval(real, synthetic))
    if "fid_infinity" in asked:
        found[f"{frechet}∞"] = tried(lambda: frechet_at_infinity(real, synthetic, seed=seed))
    if "kid" in asked:
        found["KID"] = tried(lambda: kid(real, synthetic, config.kid_subset_size, config.kid_subsets, seed))
    if "prdc" in asked:
        overlap = tried(lambda: prdc(real, synthetic, config.neighbors))
        found |= {name: overlap if isinstance(overlap, str) else getattr(overlap, name) for name in PRDC}
    if "two_sample" in asked:
        found[TWO_SAMPLE] = tried(lambda: real_vs_synthetic_auc(real, synthetic, groups=groups, seed=seed))
    return found
