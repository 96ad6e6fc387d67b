"""The arms of an experiment: what each classifier is trained with, written as in `sd+trivial`."""

from dataclasses import dataclass, field
from typing import Any

from busaug_core.generate.recipes import RECIPES

TREATMENTS: dict[str, dict[str, Any]] = {
    "trivial": dict(augmentation="trivial"),
    "class_weights": dict(balance="class_weights"),
    "oversample": dict(balance="oversample"),
    "imagenet": dict(pretrained=True),
    "confidence": dict(weighting="confidence"),
}
"""What an arm may do besides taking synthetic images: fields of its classifier."""
JOIN = "+"


@dataclass(frozen=True)
class Arm:
    """What a classifier is trained with besides the real images.

    Attributes:
        name: as it was written
        include: the variants whose images it takes
        fields: of `train_classifier`
    """

    name: str
    include: tuple[str, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def run_key(self) -> str:
        return f"clf_{self.name.replace(JOIN, '_')}"


ORIGINAL = Arm("original")


def parse_arm(text: str) -> Arm:
    """The arm of a text, variants and treatments joined by `+` in any order; raises ValueError where it is none."""
    known = [*RECIPES, *TREATMENTS]
    parts = [part.strip() for part in text.split(JOIN)]
    if unknown := [part for part in parts if part not in known]:
        raise ValueError(f"arm '{text}': there is no '{unknown[0]}'; an arm joins by + some of {', '.join(known)}")
    if len(set(parts)) < len(parts):
        raise ValueError(f"arm '{text}' names one of its parts twice")
    parts.sort(key=known.index)
    include = tuple(part for part in parts if part in RECIPES)
    fields: dict[str, Any] = {}
    for part in parts[len(include) :]:
        if taken := fields.keys() & TREATMENTS[part].keys():
            raise ValueError(f"arm '{text}' sets {', '.join(sorted(taken))} twice; make two arms of it")
        fields |= TREATMENTS[part]
    if "weighting" in fields and not include:
        raise ValueError(f"arm '{text}' weighs synthetic images and takes none; name a variant too")
    return Arm(JOIN.join(parts), include, fields)
