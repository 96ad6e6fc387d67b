"""Splits: which images train, which validate, which test."""

from collections import Counter, defaultdict

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from busaug_core.errors import UserError
from busaug_core.records import SPLITS
from busaug_core.words import counted


def class_sizes(counts: dict[str, int], split: str) -> dict[str, list[int]]:
    """How many images of each class go to each split.

    Args:
        counts: images by class
        split: percentages such as `80-20` or `70-15-15`, the roundings falling to the later splits (623 and
            157 images for BUSI at 80–20: 349/168/106 and 88/42/27); or numbers such as `545/115/120`, shared
            out to the classes by largest remainder

    Raises:
        UserError: the split does not sum to 100 or to the number of images, or leaves a class out of a split
    """
    total = sum(counts.values())
    if "/" in split:
        sizes = [int(size) for size in split.split("/")]
        if sum(sizes) != total:
            raise UserError(f"The split {split} sums to {sum(sizes)}, but the set has {counted(total, 'image')}.")
        later = [_shared_out(size, counts) for size in sizes[1:]]
        found = {c: [n - sum(part[c] for part in later), *(part[c] for part in later)] for c, n in counts.items()}
    else:
        shares = [int(share) for share in split.split("-")]
        if sum(shares) != 100:
            raise UserError(f"The split {split} sums to {sum(shares)}, not to 100.")
        found = {c: _by_shares(n, shares) for c, n in counts.items()}
    for label, sizes in found.items():
        if min(sizes) < 1:
            raise UserError(
                f"Class '{label}' has {counted(counts[label], 'image')}, too few for the split {split}; add some, or "
                "set on_error to 'skip' so that they all train."
            )
    return found


def too_few(counts: dict[str, int], split: str) -> list[str]:
    """The classes that have too few images for a split by percentages."""
    if "/" in split:
        return []
    shares = [int(share) for share in split.split("-")]
    return [c for c, n in counts.items() if min(_by_shares(n, shares)) < 1]


def grouped_split(labels: list[str], groups: list[str | None], split: str, seed: int) -> list[str]:
    """A split's name for each image, stratified by class, with no group in two splits.

    A group with two classes has a doubtful label and stays in the first split, training.

    Args:
        labels: the class of each image
        groups: the group of each image that must stay together, None for an image of its own
        split: see `class_sizes`
        seed: seed of the draw

    Splits by numbers are filled exactly; those by percentages as far as whole groups go.

    Raises:
        UserError: see `class_sizes`; or the groups of a class cannot fill the splits
    """
    members = _members(groups)
    names = [SPLITS[0]] * len(labels)
    rng = np.random.default_rng(seed)
    for label, sizes in class_sizes(dict(sorted(Counter(labels).items())), split).items():
        pure = [m for m in members if {labels[i] for i in m} == {label}]
        shuffled = [pure[i] for i in rng.permutation(len(pure))]
        for name, size in zip(SPLITS[1:], sizes[1:], strict=False):
            shuffled, short = _fill(names, name, size, shuffled)
            if short == size or (short and "/" in split):
                raise UserError(
                    f"The groups of copies in class '{label}' cannot fill the split '{name}' ({short} of {size} "
                    "short); choose another split or another seed."
                )
    return names


def fold_numbers(labels: list[str], groups: list[str | None], folds: int, seed: int) -> list[int | None]:
    """A fold, 1…folds, for each image: stratified by class, no group in two folds, as even as groups allow.

    Groups with two classes get none (None): they may train in every fold and validate in none.

    Raises UserError for a class of fewer groups than folds.
    """
    refuse_small(Counter(labels), folds)
    numbers: list[int | None] = [None] * len(labels)
    keys = np.empty(len(labels), int)
    clear = []
    for key, members in enumerate(_members(groups)):
        keys[members] = key
        if len({labels[i] for i in members}) == 1:
            clear += members
    scans = Counter(label for _, label in {(keys[i], labels[i]) for i in clear})
    for label in sorted(set(labels)):
        if scans[label] < folds:
            raise UserError(
                f"Class '{label}' has {counted(scans[label], 'scan')} of clear class, too few for {folds} folds."
            )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for number, (_, held_out) in enumerate(splitter.split(clear, [labels[i] for i in clear], keys[clear]), 1):
        for place in held_out:
            numbers[clear[place]] = number
    return numbers


def refuse_small(counts: dict[str, int], folds: int) -> None:
    """Raises UserError for a class of fewer images than folds."""
    for label, n in counts.items():
        if n < folds:
            raise UserError(f"Class '{label}' has {counted(n, 'image')}, too few for {folds} folds.")


def leaked(splits: list[str | None], groups: list[str | None]) -> int:
    """How many validation and test images have a group mate in training; images of no split count as neither."""
    trained = {g for s, g in zip(splits, groups, strict=True) if s == SPLITS[0] and g is not None}
    return sum(s in SPLITS[1:] and g in trained for s, g in zip(splits, groups, strict=True))


def _members(groups: list[str | None]) -> list[list[int]]:
    """The images of each group; one without a group is a group of its own."""
    members = defaultdict(list)
    for i, group in enumerate(groups):
        members[group if group is not None else i].append(i)
    return list(members.values())


def _by_shares(n: int, shares: list[int]) -> list[int]:
    """`n` by percentages, the roundings falling to the later parts."""
    return [int(size) for size in np.diff([0, *(n * sum(shares[: k + 1]) // 100 for k in range(len(shares)))])]


def _shared_out(size: int, counts: dict[str, int]) -> dict[str, int]:
    """`size` shared out in proportion to the counts, the largest remainders rounded up."""
    total = sum(counts.values())
    exact = {c: size * n / total for c, n in counts.items()}
    found = {c: int(x) for c, x in exact.items()}
    for c in sorted(exact, key=lambda c: found[c] - exact[c])[: size - sum(found.values())]:
        found[c] += 1
    return found


def _fill(names: list[str], name: str, size: int, groups: list[list[int]]) -> tuple[list[list[int]], int]:
    """Put groups into the split in turn while they fit; returns those left over, and how many images are short."""
    left = []
    for group in groups:
        if len(group) <= size:
            size -= len(group)
            for i in group:
                names[i] = name
        else:
            left.append(group)
    return left, size
