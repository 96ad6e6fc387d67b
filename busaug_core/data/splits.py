"""Splits: which images train, which validate, which test."""

import numpy as np

from busaug_core.errors import UserError

NAMES = ("train", "val", "test")


def stratified_split(labels: list[str], shares: list[int], seed: int) -> list[str]:
    """A split's name for each image, class by class at random.

    The first split takes the rounded-down share of each class and the last ones the rest, which gives
    623 and 157 images for BUSI at 80–20 (349/168/106 and 88/42/27).

    Args:
        labels: the class of each image
        shares: percentages that sum to 100, two or three
        seed: seed of the draw

    Raises:
        UserError: the shares do not sum to 100, or a class is too small to be in every split
    """
    if sum(shares) != 100:
        raise UserError(f"The split {'-'.join(map(str, shares))} sums to {sum(shares)}, not to 100.")
    rng = np.random.default_rng(seed)
    split = [""] * len(labels)
    for label in sorted(set(labels)):
        members = rng.permutation([i for i, other in enumerate(labels) if other == label])
        bounds = [len(members) * sum(shares[: k + 1]) // 100 for k in range(len(shares))]
        sizes = np.diff([0, *bounds])
        if 0 in sizes:
            raise UserError(f"Class '{label}' has {len(members)} image(s), too few for the split {shares}.")
        for name, part in zip(NAMES, np.split(members, bounds[:-1]), strict=False):
            for i in part:
                split[i] = name
    return split
