"""The gray level size zone matrix (Thibault et al. 2009): how large patches of one level are."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from busaug_core.metrics.radiomics.levels import NEIGHBOURS, Levels
from busaug_core.metrics.radiomics.sizes import run_or_zone_features

NAMES = (
    "SmallAreaEmphasis",
    "LargeAreaEmphasis",
    "GrayLevelNonUniformity",
    "SizeZoneNonUniformity",
    "SizeZoneNonUniformityNormalized",
    "LowGrayLevelZoneEmphasis",
    "HighGrayLevelZoneEmphasis",
    "SmallAreaLowGrayLevelEmphasis",
    "SmallAreaHighGrayLevelEmphasis",
    "LargeAreaLowGrayLevelEmphasis",
    "LargeAreaHighGrayLevelEmphasis",
    "GrayLevelVariance",
    "ZoneVariance",
    "ZoneEntropy",
    "GrayLevelNonUniformityNormalized",
    "ZonePercentage",
)


def glszm(levels: Levels) -> dict[str, float]:
    """Features of the zones, pixels of one level that touch by a side or a corner."""
    found = run_or_zone_features(levels.values, *zones(levels), levels.rank.size)
    return dict(zip(NAMES, found.tolist(), strict=True))


def zones(levels: Levels) -> tuple[np.ndarray, np.ndarray]:
    """The rank and the number of pixels of each zone: the runs across, joined to those of the row below."""
    rank = levels.rank
    begins = np.ones(rank.shape, bool)
    begins[:, 1:] = rank[:, 1:] != rank[:, :-1]
    run = np.cumsum(begins).reshape(rank.shape) - 1
    # Two runs are joined where they first meet, and by a corner only where neither goes on beyond it.
    corner = begins[:-1, 1:] & begins[1:, 1:]
    ends = []
    for (one, other), meet in zip(NEIGHBOURS[1:], (begins[:-1] | begins[1:], corner, corner), strict=True):
        joined = meet & (rank[one] == rank[other])
        ends.append((run[one][joined], run[other][joined]))
    above, below = (np.concatenate(side) for side in zip(*ends, strict=True))
    n = run[-1, -1] + 1
    graph = coo_array((np.ones(len(above), bool), (above, below)), (n, n))
    count, zone = connected_components(graph, directed=False)
    of_zone = np.empty(count, np.int64)
    of_zone[zone] = rank[begins]
    return of_zone, np.bincount(zone[run.ravel()])
