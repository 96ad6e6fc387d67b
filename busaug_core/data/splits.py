"""Splits: which images train, which validate, which test."""

from collections import defaultdict

import numpy as np

from busaug_core.errors import UserError

NAMES = ("train", "val", "test")


def grouped_split(labels: list[str], groups: list[str | None], shares: list[int], seed: int) -> list[str]:
    """A split's name for each image, stratified by class, with no group in two splits.

    Of each class the first split gets the rounded-down share and the others the rest, which gives 623
    and 157 images for BUSI at 80–20 (349/168/106 and 88/42/27). A group with two classes has a doubtful
    label and stays in the first split, training.

    Args:
        labels: the class of each image
        groups: the group of each image that must stay together, None for an image of its own
        shares: percentages that sum to 100, two or three
        seed: seed of the draw

    Raises:
        UserError: the shares do not sum to 100, a class is too small to be in every split, or its groups
            cannot fill the splits exactly
    """
    if sum(shares) != 100:
        raise UserError(f"The split {'-'.join(map(str, shares))} sums to {sum(shares)}, not to 100.")
    members = defaultdict(list)
    for i, group in enumerate(groups):
        members[group if group is not None else i].append(i)
    split = [NAMES[0]] * len(labels)
    rng = np.random.default_rng(seed)
    for label in sorted(set(labels)):
        pure = [m for m in members.values() if {labels[i] for i in m} == {label}]
        sizes = split_sizes(labels.count(label), shares)
        if 0 in sizes:
            raise UserError(f"Class '{label}' has {labels.count(label)} image(s), too few for the split {shares}.")
        shuffled = [pure[i] for i in rng.permutation(len(pure))]
        for name, size in zip(NAMES[1:], sizes[1:], strict=False):
            shuffled = _fill(split, name, size, shuffled, label)
    return split


def split_sizes(n: int, shares: list[int]) -> list[int]:
    """How many of n images each split gets; the roundings fall to the later splits."""
    bounds = [n * sum(shares[: k + 1]) // 100 for k in range(len(shares))]
    return [int(size) for size in np.diff([0, *bounds])]


def _fill(split: list[str], name: str, size: int, groups: list[list[int]], label: str) -> list[list[int]]:
    """Put groups into the split in turn while they fit; returns those left over."""
    left = []
    for group in groups:
        if len(group) <= size:
            size -= len(group)
            for i in group:
                split[i] = name
        else:
            left.append(group)
    if size:
        raise UserError(
            f"The groups of copies in class '{label}' cannot fill the split '{name}' exactly ({size} short); "
            "choose other percentages or another seed."
        )
    return left
