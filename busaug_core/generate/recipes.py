"""A variant is a recipe of components; its slug says which."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """Which components an image is made with; `refine` is img2img on the text2img image."""

    lora: bool = False
    token: bool = False
    refine: bool = False

    @property
    def source(self) -> "Recipe":
        """The recipe of the text2img image that this one refines (itself without `refine`)."""
        return Recipe(lora=self.lora, token=self.token)


RECIPES = {
    "base": Recipe(),
    "sd": Recipe(lora=True),
    "sd_img2img": Recipe(lora=True, refine=True),
    "sd_ti": Recipe(lora=True, token=True),
    "sd_ti_img2img": Recipe(lora=True, token=True, refine=True),
}
