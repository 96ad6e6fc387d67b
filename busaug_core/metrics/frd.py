"""What makes a Fréchet distance in radiomic features the Fréchet Radiomic Distance (Konz, Osuala et al. 2026).

FRD is the Fréchet distance d² of `fid`, in features that are z-scored on the reference set: its rows leave mean 0 and
standard deviation 1 in each. This project says d², as for every other extractor, so that intervals, floors and
influences hold for it. The package frd-score takes the same features to the same d² and prints ln d², half of which,
ln d, is the paper's equation 3: d² = exp(what it prints).

The emphases of large areas and long runs have heavy tails, so that a few scans of the reference set the units: between
random halves of 314 scans of BUSI d² is 74 to 1,196 in units of the half that is the reference, 73 to 189 in units of
all. Compare what was measured against one reference only.
"""

from collections.abc import Mapping

import numpy as np

from busaug_core.errors import UserError


def z_scores(features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Features less the reference's mean, over its standard deviation, float64 N×D.

    A feature that is the same in the whole reference has no such unit, and is 0 for all: it counts nothing.

    Args:
        features, reference: N×D and M×D, any float dtype; computed in float64

    Raises:
        UserError: the reference has fewer than two rows
    """
    if len(reference) < 2:
        raise UserError(
            f"Radiomic features are z-scored on the real images of the reference, of which there are {len(reference)}; "
            "at least 2 are needed. Split the dataset, or name another reference."
        )
    reference = reference.astype(np.float64)
    varies = reference.min(0) < reference.max(0)
    scale = np.where(varies, reference.std(0), 1)
    return np.where(varies, (features - reference.mean(0)) / scale, 0)


def family_shifts(
    reference: np.ndarray, features: np.ndarray, families: Mapping[str, slice | np.ndarray]
) -> dict[str, float]:
    """How far a set has moved from the reference in each family of features, the furthest first.

    The mean over the family's features of the difference of the two sets' means, whatever its sign: in standard
    deviations of the reference where the features are z-scored on it.

    Args:
        reference, features: M×D and N×D
        families: each one's columns
    """
    moved = np.abs(features.mean(0) - reference.mean(0))
    shifts = {family: float(moved[columns].mean()) for family, columns in families.items()}
    return dict(sorted(shifts.items(), key=lambda item: -item[1]))
