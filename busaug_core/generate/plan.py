"""How many images of which class a run makes, and the seed of each."""

import hashlib
import math
from dataclasses import dataclass

from busaug_core.errors import UserError
from busaug_core.generate.config import Generate
from busaug_core.records import Record, count_labels, of_split


@dataclass(frozen=True)
class Item:
    """One text2img image to make, with the variants that grow from it; `index` counts within its class."""

    label: str
    index: int
    seed: int


def class_counts(config: Generate, records: list[Record]) -> dict[str, int]:
    """Images a variant of each class, as the config's mode and amount say.

    Raises UserError where the split that they refer to is empty, or nothing is left to make.
    """
    if config.counts is not None:
        counts = dict(config.counts)
    elif config.mode == "evaluation":
        counts = _counts_of(records, config.reference)
    else:
        training = _counts_of(records, "train")
        if config.balance_to is not None:
            counts = {label: max(0, config.balance_to - n) for label, n in training.items()}
        else:
            # rounded first: 1.1 · 110 is a little more than 121 in binary
            counts = {label: math.ceil(round(config.ratio * n, 6)) for label, n in training.items()}
    negative = [label for label, n in counts.items() if n < 0]
    if negative:
        raise UserError(f"counts of {', '.join(negative)} are negative.")
    if not sum(counts.values()):
        reason = f"every class has {config.balance_to} images already" if config.balance_to else "counts are all 0"
        raise UserError(f"Nothing to generate: {reason}.")
    return counts


def work_list(counts: dict[str, int], mode: str, seed: int) -> list[Item]:
    """All items, class by class; an item's seed depends on the run's mode and seed, its class and index alone."""
    return [Item(label, i, item_seed(mode, seed, label, i)) for label, n in sorted(counts.items()) for i in range(n)]


def item_seed(mode: str, seed: int, label: str, index: int) -> int:
    """The first 31 bits of SHA-256 of mode, run seed, class and index: no image is in both kinds of set."""
    digest = hashlib.sha256(f"{mode}/{seed}/{label}/{index}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _counts_of(records: list[Record], split: str) -> dict[str, int]:
    counts = count_labels(of_split(records, split))
    if not counts:
        raise UserError(f"No real sample is tagged '{split}', which the number of images refers to; set counts.")
    return counts
