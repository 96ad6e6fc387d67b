"""The arms of an experiment: what each classifier is trained with, written as in `sd+trivial`."""

from dataclasses import dataclass, field
from typing import Any

from busaug_core.errors import UserError
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
    """The arm of a text: variants and treatments joined by `+`; raises UserError where it is none."""
    parts = [part.strip() for part in text.split(JOIN)]
    include = tuple(part for part in parts if part in RECIPES)
    fields: dict[str, Any] = {}
    for part in parts:
        if part in RECIPES:
            continue
        if part not in TREATMENTS:
            raise UserError(
                f"arm '{text}': there is no '{part}'; an arm joins by + some of {', '.join([*RECIPES, *TREATMENTS])}."
            )
        if taken := fields.keys() & TREATMENTS[part].keys():
            raise UserError(f"arm '{text}' sets {', '.join(sorted(taken))} twice; make two arms of it.")
        fields |= TREATMENTS[part]
    if len(set(include)) < len(include):
        raise UserError(f"arm '{text}' names a variant twice.")
    if "weighting" in fields and not include:
        raise UserError(f"arm '{text}' weighs synthetic images and takes none; name a variant too.")
    return Arm(JOIN.join(parts), include, fields)
