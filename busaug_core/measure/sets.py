"""Sets of equal class counts, so that what is compared is alike in everything else."""

import numpy as np

from busaug_core.records import Record, count_labels

ALL = "all"


def of_class(records: list[Record], label: str) -> list[Record]:
    """The records of a class, or all of them for the label `all`."""
    return [r for r in records if label in (ALL, r.label)]


def common_counts(sides: list[list[Record]]) -> dict[str, int]:
    """Of each class of the first side, how many images every side has."""
    counts = [count_labels(side) for side in sides]
    return {label: min(of_side.get(label, 0) for of_side in counts) for label in counts[0]}


def draw(side: list[Record], counts: dict[str, int], rng: np.random.Generator) -> list[Record]:
    """So many random images of each class, in the side's order."""
    chosen = []
    for label, n in counts.items():
        members = [r for r in side if r.label == label]
        chosen += [members[i] for i in np.sort(rng.choice(len(members), n, replace=False))]
    return chosen


def matched(left: list[Record], right: list[Record], rng: np.random.Generator) -> tuple[list[Record], list[Record]]:
    """Random subsets of two sets with equal class counts: of each class as many as both sides have."""
    counts = common_counts([left, right])
    return draw(left, counts, rng), draw(right, counts, rng)
