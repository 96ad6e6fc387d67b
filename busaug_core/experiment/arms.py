"""The arms of an experiment: what each classifier is trained with, written as in `sd+trivial` or `sd@50%`."""

import re
from dataclasses import dataclass, field, replace
from typing import Any

from busaug_core.generate.recipes import RECIPES

TREATMENTS: dict[str, dict[str, Any]] = {
    "trivial": dict(augmentation="trivial"),
    "class_weights": dict(balance="class_weights"),
    "oversample": dict(balance="oversample"),
    "imagenet": dict(pretrained=True),
    "confidence": dict(weighting="confidence"),
    "alone": dict(synthetic_only=True),
}
"""What an arm may do besides taking synthetic images: fields of its classifier."""
FILTERED = "filtered"
"""The treatment of synthetic images by their scores, before any of them is taken."""
BEST = "best"
"""Stands for the variant that helps most within the training images, in the share in which it does."""
BEST_ARM = "best arm"
"""What the arm is called that does best within the training images and is trained as a network too."""
HELD_OUT = "val"
"""The split that every arm is tested on, which no generator has seen."""
UNTUNED = "base"
"""The variant that is measured beside those of the arms, to show what tuning gains."""
JOIN, AT = "+", "@"
RATIO = re.compile(r"(\d+(?:\.\d\d?)?) ?%")


@dataclass(frozen=True)
class Arm:
    """What a classifier is trained with.

    Attributes:
        name: as it was written
        include: the variants whose images it takes; `best` is chosen among those of plain arms
        fields: of `train_classifier`
        filtered: whether of these images it takes those alone that pass a filter
    """

    name: str
    include: tuple[str, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)
    filtered: bool = False

    @property
    def ratio(self) -> float | None:
        """The share of the real images that it takes of each variant; None where it fills the classes up."""
        return self.fields.get("ratio")

    @property
    def is_plain(self) -> bool:
        """Whether it takes images of one variant, so many as it may be, and does nothing else."""
        untreated = not self.filtered and self.fields.keys() <= {"ratio"}
        return len(self.include) == 1 and BEST not in self.include and untreated

    @property
    def differs_by_synthetic(self) -> bool:
        """Whether it differs from the original by its synthetic images and nothing else."""
        return bool(self.include) and self.fields.keys() <= {"ratio", "weighting"}

    def with_best(self, chosen: "Arm | None") -> "Arm":
        """The arm with the variant of the one chosen in the place of `best`, in its own share, else in that one's."""
        if chosen is None or BEST not in self.include:
            return self
        return replace(self, include=chosen.include, fields={**chosen.fields, **self.fields})

    @property
    def run_key(self) -> str:
        return f"clf_{re.sub('[^A-Za-z0-9]+', '_', self.name).strip('_')}"


ORIGINAL = Arm("original")


def parse_arm(text: str) -> Arm:
    """The arm of a text; raises ValueError where it is none.

    Variants and treatments are joined by `+` in any order. Behind a variant may stand, as in `sd@50%`, how many of its
    images are taken as a share of the real ones, which then holds for all variants of the arm.
    """
    variants = [*RECIPES, BEST]
    known = [*variants, *TREATMENTS, FILTERED]
    parts, shares = [], set()
    for part in text.split(JOIN):
        name, at, share = (piece.strip() for piece in part.partition(AT))
        parts.append(name)
        if at and not (name in variants and (found := RATIO.fullmatch(share)) and float(found[1])):
            raise ValueError(
                f"arm '{text}': behind a variant may stand a share above 0 with at most two decimals, as in sd@50%"
            )
        if name in variants:
            shares.add(float(found[1]) / 100 if at else None)
    if len(shares) > 1:
        raise ValueError(f"arm '{text}' takes its variants in different shares; give all of them one")
    if unknown := [part for part in parts if part not in known]:
        raise ValueError(f"arm '{text}': there is no '{unknown[0]}'; an arm joins by + some of {', '.join(known)}")
    if len(set(parts)) < len(parts):
        raise ValueError(f"arm '{text}' names one of its parts twice")
    parts.sort(key=known.index)
    include = tuple(part for part in parts if part in variants)
    if BEST in include and len(include) > 1:
        raise ValueError(f"arm '{text}': {BEST} may be any of the variants, so no other stands beside it")
    ratio = next(iter(shares), None)
    fields: dict[str, Any] = {} if ratio is None else {"ratio": ratio}
    for part in (part for part in parts if part in TREATMENTS):
        if taken := fields.keys() & TREATMENTS[part].keys():
            raise ValueError(f"arm '{text}' sets {', '.join(sorted(taken))} twice; make two arms of it")
        fields |= TREATMENTS[part]
    filtered = FILTERED in parts
    if ("weighting" in fields or filtered) and not include:
        raise ValueError(f"arm '{text}' chooses among synthetic images and takes none; name a variant too")
    if filtered and ratio is not None:
        raise ValueError(f"arm '{text}' takes all that passes the filter; leave out {FILTERED}, or the share")
    if "synthetic_only" in fields and ratio is None:
        raise ValueError(f"arm '{text}' takes no real images; say how many synthetic ones by a share, as in sd@100%")
    ending = "" if ratio is None else f"{AT}{f'{100 * ratio:.2f}'.rstrip('0').rstrip('.')}%"
    return Arm(JOIN.join(f"{part}{ending}" if part in variants else part for part in parts), include, fields, filtered)


def variants_of(arms: list[Arm]) -> list[str]:
    """The variants that arms take by name, each once, in their order."""
    return list(dict.fromkeys(slug for arm in arms for slug in arm.include if slug != BEST))
