"""A variant is a recipe: components on the base, the prompt, and the stages; its slug says which."""

from collections.abc import Iterable
from dataclasses import dataclass

from busaug_core.prompts import ADJECTIVES

IN_TURN = "in turn"
"""In the place of an adjective: those of the config."""
SHADES = (
    "#803028", "#e89888", "#786018", "#c8c080", "#68f090", "#185840", "#d0b8f8", "#782078", "#f05068",
)  # fmt: skip
"""Colours of the variants of one adjective each."""


@dataclass(frozen=True)
class Recipe:
    """How the images of a variant are made.

    Attributes:
        components: the config fields of the components that are on
        refine: whether img2img follows text2img
        adjective: what the prompt begins with: an adjective, or `IN_TURN` for each of the config's in turn
        title: its heading in a grid of images, a line for each part
        color: its colour in the App, as #rrggbb
    """

    components: frozenset[str] = frozenset()
    refine: bool = False
    adjective: str | None = None
    title: str = ""
    color: str = "#8a8f98"

    def __post_init__(self) -> None:
        if {"lora", "unet"} <= self.components:
            raise ValueError("a LoRA and a tuned UNet change the same weights; a LoRA on one names it as base_model")

    @property
    def text2img(self) -> tuple[frozenset[str], str | None]:
        """What decides the text2img image, so that recipes that differ by a later stage share it."""
        return self.components, self.adjective

    @property
    def is_tuned(self) -> bool:
        """Whether its UNet was tuned as a whole."""
        return "unet" in self.components


def _recipe(*components: str, **options) -> Recipe:
    return Recipe(frozenset(components), **options)


RECIPES = {
    "base": _recipe(title="base model", color="#8a8f98"),
    "sd": _recipe("lora", title="LoRA", color="#f2b134"),
    "sd_img2img": _recipe("lora", refine=True, title="LoRA\n+ img2img", color="#f07f2f"),
    "sd_ti": _recipe("lora", "token", title="LoRA + token", color="#b07cf0"),
    "sd_ti_img2img": _recipe("lora", "token", refine=True, title="LoRA + token\n+ img2img", color="#5b3fe0"),
    "sd_adj": _recipe("lora", adjective=IN_TURN, title="LoRA\n+ adjective", color="#2fb8a8"),
    **{
        f"sd_adj_{word.lower().replace('-', '_')}": _recipe("lora", adjective=word, title=f"LoRA\n{word}", color=color)
        for word, color in zip(ADJECTIVES, SHADES, strict=True)
    },
    "base_mask": _recipe("controlnet", title="base + mask", color="#314e6b"),
    "sd_mask": _recipe("lora", "controlnet", title="LoRA + mask", color="#4ea5df"),
    "sd_mask_img2img": _recipe("lora", "controlnet", refine=True, title="LoRA + mask\n+ img2img", color="#146bc2"),
    "ft": _recipe("unet", title="tuned UNet", color="#c2df4e"),
    "ft_mask": _recipe("unet", "controlnet", title="tuned UNet\n+ mask", color="#4e8831"),
}
"""The variants by slug; a new one is an entry here and nothing else."""


def by_sampling(variants: Iterable[str]) -> list[list[str]]:
    """The variants of the base's own UNet and those of a tuned one, apart; each has a sampling of its own."""
    kinds: dict[bool, list[str]] = {}
    for slug in variants:
        kinds.setdefault(RECIPES[slug].is_tuned, []).append(slug)
    return [kinds[is_tuned] for is_tuned in sorted(kinds)]
