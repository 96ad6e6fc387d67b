"""Which images are compared with which, and what may not be compared."""

import numpy as np

from busaug_core.errors import UserError
from busaug_core.records import Record, count_labels

ALL = "all"


def evaluation_sets(records: list[Record], variants: list[str] | None) -> dict[str, list[Record]]:
    """The images tagged `evaluation`, by variant; balancing images never count.

    Raises UserError where there is none, or a named variant has none.
    """
    sets: dict[str, list[Record]] = {}
    for record in records:
        if record.synthetic and "evaluation" in record.tags and (variants is None or record.variant in variants):
            sets.setdefault(record.variant, []).append(record)
    refuse_unknown_variants(records, variants)
    missing = sorted(set(variants or ()) - set(sets))
    if missing:
        raise UserError(f"Variant(s) {', '.join(missing)} have no evaluation set; run generate with mode 'evaluation'.")
    if not sets:
        raise UserError("There is no evaluation set to measure; run generate with mode 'evaluation' first.")
    return sets


def refuse_unknown_variants(records: list[Record], variants: list[str] | None) -> None:
    """Raises UserError where no synthetic record is of a named variant."""
    known = {r.variant for r in records if r.synthetic}
    if unknown := sorted(set(variants or ()) - known):
        there = f"there are {', '.join(sorted(known))}" if known else "generate some first"
        raise UserError(f"There is no synthetic image of variant(s) {', '.join(unknown)}; {there}.")


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


def refuse_shared_files(records: list[Record], hashes: list[str]) -> None:
    """Raises UserError where a synthetic file has the bytes of a real one."""
    real = {h: r.path for r, h in zip(records, hashes, strict=True) if not r.synthetic}
    for record, key in zip(records, hashes, strict=True):
        if record.synthetic and key in real:
            raise UserError(
                f"{record.path} is the same file as the real image {real[key]}; remove its sample (a file is never "
                "compared with itself, whatever on_copies says)."
            )
