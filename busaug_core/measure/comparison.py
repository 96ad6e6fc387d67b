"""All metrics between two sets of features, by the name that a table gives them."""

from collections.abc import Callable, Iterator

import numpy as np

from busaug_core.errors import UserError
from busaug_core.measure.config import ComputeFid
from busaug_core.measure.detector import real_vs_synthetic_auc
from busaug_core.measure.estimate import Estimate
from busaug_core.measure.extrapolation import frechet_at_infinity
from busaug_core.measure.influence import frechet_interval
from busaug_core.measure.kid import kid
from busaug_core.measure.prdc import prdc

PRDC = ("precision", "recall", "density", "coverage")
DETECTOR = "AUC real vs synthetic"

Outcome = Estimate | str
"""A metric's value with its interval, or the reason why there is none."""


class Comparison:
    """Compares two sets of features by the metrics that a config names."""

    def __init__(self, config: ComputeFid, frechet: str):
        self.config = config
        self.frechet = frechet
        """What a Fréchet distance in these features is called."""

    def __call__(self, real: np.ndarray, synthetic: np.ndarray, groups: list[str]) -> Iterator[tuple[str, Outcome]]:
        """Yield each metric's name and outcome for two N×D sets; `groups` say which rows belong together."""
        asked = self.config.metrics
        if "fid" in asked:
            yield self.frechet, _tried(lambda: frechet_interval(real, synthetic))
        if "fid_infinity" in asked:
            yield f"{self.frechet}∞", _tried(lambda: frechet_at_infinity(real, synthetic, seed=self.config.seed))
        if "kid" in asked:
            options = (self.config.kid_subset_size, self.config.kid_subsets, self.config.seed)
            yield "KID", _tried(lambda: kid(real, synthetic, *options))
        if "prdc" in asked:
            found = _tried(lambda: prdc(real, synthetic, self.config.neighbors))
            for name in PRDC:
                yield name, found if isinstance(found, str) else getattr(found, name)
        if "detector" in asked:
            yield DETECTOR, _tried(lambda: real_vs_synthetic_auc(real, synthetic, groups=groups, seed=self.config.seed))


def _tried(metric: Callable[[], Outcome]) -> Outcome:
    try:
        return metric()
    except UserError as reason:
        return str(reason)
