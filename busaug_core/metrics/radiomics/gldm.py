"""The gray level dependence matrix (Sun and Wee 1983): how many neighbours have a pixel's own level."""

import numpy as np

from busaug_core.metrics.radiomics.levels import NEIGHBOURS, Levels
from busaug_core.metrics.radiomics.sizes import size_features

NAMES = (
    "SmallDependenceEmphasis",
    "LargeDependenceEmphasis",
    "GrayLevelNonUniformity",
    "DependenceNonUniformity",
    "DependenceNonUniformityNormalized",
    "LowGrayLevelEmphasis",
    "HighGrayLevelEmphasis",
    "SmallDependenceLowGrayLevelEmphasis",
    "SmallDependenceHighGrayLevelEmphasis",
    "LargeDependenceLowGrayLevelEmphasis",
    "LargeDependenceHighGrayLevelEmphasis",
    "GrayLevelVariance",
    "DependenceVariance",
    "DependenceEntropy",
)


def gldm(levels: Levels) -> dict[str, float]:
    """Features of the dependences: one more than those of a pixel's eight neighbours that have its level."""
    found = size_features(levels.values, levels.rank.ravel(), dependences(levels).ravel())
    return dict(zip(NAMES, found.tolist(), strict=True))


def dependences(levels: Levels) -> np.ndarray:
    """The dependence of each pixel, int64 H×W, 1 to 9."""
    found = np.ones(levels.rank.shape, np.int64)
    for one, other in NEIGHBOURS:
        same = levels.rank[one] == levels.rank[other]
        found[one] += same
        found[other] += same
    return found
