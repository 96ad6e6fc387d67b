"""Settings of image generation; the fields that name components are those of `base.components`."""

import math
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, create_model, field_validator, model_validator

from busaug_core.base.components import COMPONENTS, Component
from busaug_core.base.defaults import BASE, HELP, MINI, defaults_of
from busaug_core.errors import UserError
from busaug_core.generate.recipes import RECIPES
from busaug_core.jobs.config import Choices, OnSamples, Precision
from busaug_core.jobs.execute import Job
from busaug_core.jobs.roles import TRAIN
from busaug_core.jobs.run import PRODUCTS
from busaug_core.prompts import ADJECTIVES, BUSI_PROMPTS, MODALITY, MODALITY_HELP, Modality, Prompts, named

AMOUNTS = ("balance_to", "ratio", "counts")
OF_TUNED = ("domain_guidance", "domain_guidance_width", "domain_guidance_widths")
"""Fields that act on the variants of a tuned UNet alone."""
STEP = "Generating images: step"
"""What the progress of a denoising step is called."""


class Generation(OnSamples):
    """Variants × classes of synthetic images: text2img, then img2img."""

    presets: ClassVar = {
        "hybrid": dict(steps=50, spacing=1.0, guidance_end=1.0, domain_guidance=1.0, strength=0.3, balance_to=350),
        "demo": dict(batch_size=16, steps=8),
    }
    before: ClassVar = {
        "guidance_end": 1.0,
        "domain_guidance": 1.0,
        "domain_guidance_width": 0.0,
        "domain_guidance_widths": {},
        "spacing": 1.0,
    }
    preset: Literal["hybrid", "demo"] | None = Field(
        None, description="Settings of a paper; what you set yourself goes before them."
    )
    base_model: Annotated[str, BASE] = Field(MINI, min_length=1, description=HELP)
    variants: Annotated[list[str], Choices(lambda: RECIPES)] = Field(
        ["sd", "sd_img2img"], min_length=1, description="Which recipes to generate, by their slugs."
    )
    mode: Literal["new", "evaluation"] = Field(
        "new",
        description="new: images to train with; evaluation: a set to measure, in the reference split's class counts.",
    )
    balance_to: int | None = Field(
        None, ge=1, description="Fill each class of the training split up to this many images (mode new)."
    )
    ratio: float | None = Field(
        None, gt=0, le=100, description="Images a class as a share of the training split's (mode new)."
    )
    counts: dict[str, int] | None = Field(None, description="Images of each class and variant, by class.")
    reference: Literal["train", "val", "test"] = Field(
        "val", description="The split whose class counts an evaluation set matches."
    )
    steps: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Sampling steps (empty: the base's own, or where all variants are of a tuned UNet, such a one's).",
    )
    spacing: float | None = Field(
        None,
        ge=1,
        le=3,
        description="Above 1 more of text2img's steps are noisy ones, where layouts are decided: after a share u of "
        "the steps the share u^spacing of the timesteps is gone; 1 leaves it to the scheduler (empty: the base's "
        "own, as of steps, or 1 with fewer steps, the last of which would be long).",
    )
    guidance_scale: float | None = Field(
        None,
        ge=1,
        le=30,
        description="Classifier-free guidance until guidance_end; 1 is none (empty: the base's own, "
        "or where all variants are of a tuned UNet, such a one's).",
    )
    guidance_end: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Until which share of the sampling steps they are guided, the noisiest first; a greater scale in "
        "the first half alone shows classes as well, costs less and leaves textures as they are (Kynkäänniemi et al. "
        "2024; empty: the base's own, which without guidance is 1).",
    )
    domain_guidance: float | None = Field(
        None,
        ge=1,
        le=10,
        description="How far, after guidance_end, a tuned UNet's predictions are moved away from what the base "
        "predicts without prompt, so that images lie nearer to those learned from and vary more, for a second pass in "
        "these steps (Zhong et al. 2025); 1 is none. At guidance_scale 1 it acts in all steps, where it is set. "
        "Empty: the base's own.",
    )
    domain_guidance_width: float | None = Field(
        None,
        ge=0,
        le=5,
        description="Each image's domain_guidance is drawn evenly from so much below to so much above it, so that "
        "textures differ from image to image as those of real scans do; below 1 it leads towards the base. 0 is the "
        "same for all (empty: the base's own, or 0 where domain_guidance is set).",
    )
    domain_guidance_widths: dict[str, Annotated[float, Field(ge=0, le=5, strict=True)]] | None = Field(
        None,
        description="Classes that have a domain_guidance_width of their own, by name: images without a lesion may "
        "differ more, since no texture makes them another class (empty: the base's own, or none where "
        "domain_guidance or domain_guidance_width is set).",
    )
    strength: float = Field(
        0.3,
        gt=0,
        le=1,
        description="Denoising strength of img2img: the share of the steps that is run again.",
    )
    handoff: Literal["latent", "image"] = Field(
        "latent",
        description="How text2img hands its image to img2img; latent spares a decoding and an encoding.",
    )
    negative_prompt: str = Field("", description="What the images should not show.")
    adjectives: list[str] = Field(
        list(ADJECTIVES), min_length=1, description="What the prompts of sd_adj begin with, in turn."
    )
    masks: Literal["train", "val", "test"] = Field(
        "train",
        description="The split whose lesion masks condition the variants that take one; mode new takes train's alone.",
    )
    samples_per_mask: int = Field(
        1, ge=1, le=1000, description="Images in a row that share a mask; masks that are used up begin anew."
    )
    resolution: int | None = Field(
        None,
        ge=64,
        le=2048,
        multiple_of=8,
        description="Side of the images in pixels (empty: the base's own).",
    )
    batch_size: int | None = Field(None, ge=1, le=256, description="Images at a time (empty: the base's own).")
    seed: int = Field(51, ge=0, lt=2**31, description="Seed of the run; each image's own is drawn from it.")
    precision: Precision = Field("auto", description="Arithmetic: auto is fp16 on CUDA, bf16 or fp32 elsewhere.")
    prompts: Prompts = Field(
        BUSI_PROMPTS,
        description="The prompt of each class, where it is not to be BUSI's; of several wordings, parted by |, the "
        "first is used.",
    )
    modality: Modality = Field(MODALITY, description=MODALITY_HELP)

    @classmethod
    def preset_values(cls, given: dict[str, Any]) -> dict[str, Any]:
        """The preset, less its amount where the user has set another or asks for an evaluation set."""
        values = dict(super().preset_values(given))
        if given.get("mode") == "evaluation" or any(amount in given for amount in AMOUNTS):
            values = {k: v for k, v in values.items() if k not in AMOUNTS}
        return values

    @field_validator("domain_guidance_widths")
    @classmethod
    def _of_different_classes(cls, widths: dict[str, float] | None) -> dict[str, float] | None:
        names = list(widths or {})
        if twice := [name for i, name in enumerate(names) if named(name, names[:i])]:
            raise ValueError(f"the class '{twice[0]}' is named twice; names of classes are told apart case aside")
        return widths

    @model_validator(mode="after")
    def _amounts_and_masks(self) -> "Generation":
        amounts = [n for n in AMOUNTS if getattr(self, n) is not None]
        if self.mode == "new" and len(amounts) != 1:
            raise ValueError(f"set one of balance_to, ratio and counts (set are: {', '.join(amounts) or 'none'})")
        if self.mode == "new" and self.masks != TRAIN:
            raise ValueError(
                f"images to train with (mode new) take their masks from '{TRAIN}'; those of '{self.masks}' may "
                "condition an evaluation set alone (mode evaluation)"
            )
        if self.mode == "evaluation" and amounts not in ([], ["counts"]):
            raise ValueError("an evaluation set takes its counts from the reference split (or from counts)")
        return self

    @model_validator(mode="after")
    def _components(self) -> "Generation":
        for slug in self.variants:
            for name in sorted(RECIPES[slug].components):
                if not getattr(self, name):
                    ready = [s for s, r in RECIPES.items() if all(getattr(self, part) for part in r.components)]
                    raise ValueError(
                        f"variant '{slug}' needs {COMPONENTS[name].called}: set {name}, or choose among "
                        f"{', '.join(ready)}"
                    )
        return self

    def resolve(self, runs: Path | None = None) -> "Generation":
        base = defaults_of(self.base_model, runs)
        tuned = [RECIPES[slug].is_tuned for slug in self.variants]
        sampling = base.sampling_of(is_tuned=all(tuned))
        open_fields = dict(
            steps=sampling.steps,
            guidance_scale=sampling.guidance_scale,
            guidance_end=1.0 if self.guidance_scale == 1 else sampling.guidance_end,
            resolution=base.resolution,
            batch_size=base.generate_batch_size,
        )
        config = self.fill(open_fields)
        config = config.fill(dict(spacing=sampling.spacing if config.steps >= sampling.steps else 1.0))
        guided = config.guided(config.steps)
        follows = any(tuned) and 0 < guided < config.steps
        usual = base.tuned_sampling if follows else base.sampling
        has_own = self.domain_guidance is None
        has_own_widths = has_own and self.domain_guidance_width is None
        open_fields = dict(
            domain_guidance=usual.domain_guidance,
            domain_guidance_width=usual.domain_guidance_width if has_own else 0.0,
            domain_guidance_widths=dict(usual.domain_guidance_widths) if has_own_widths else {},
        )
        config = config.fill(open_fields)
        config._refuse_unusable()
        return config

    def _refuse_unusable(self) -> None:
        """Raises UserError where a setting of a resolved config changes no image, or allows of none."""
        widths = {f"domain_guidance_widths of '{name}'": width for name, width in self.domain_guidance_widths.items()}
        widths |= {"domain_guidance_width": self.domain_guidance_width}
        given = [name for name, width in widths.items() if width]
        for name in [*(["domain_guidance"] if self.departs else []), *given]:
            if not any(RECIPES[slug].is_tuned for slug in self.variants):
                raise UserError(f"{name} is of the variants of a tuned UNet; choose one with unet, or leave it out.")
            if self.guided(self.steps) == self.steps:
                raise UserError(f"{name} begins after guidance_end, where no step is left; lower one of them.")
        for name in given:
            if not self.departs:
                raise UserError(f"{name} has no effect at domain_guidance 1; raise that, or leave it out.")
            if widths[name] > self.domain_guidance:
                raise UserError(
                    f"{name} must be at most domain_guidance, here {self.domain_guidance:g}, so that no image's scale "
                    "falls below 0."
                )
        if self.negative_prompt and self.guidance_scale == 1:
            raise UserError("negative_prompt has no effect at guidance_scale 1; raise guidance_scale, or leave it out.")
        if self.guidance_end < 1 and self.guidance_scale == 1:
            raise UserError("guidance_end has no effect at guidance_scale 1; raise guidance_scale, or leave it out.")
        if any(RECIPES[slug].refine for slug in self.variants) and self.refining_steps < 1:
            raise UserError(
                f"img2img at strength {self.strength} of {self.steps} steps has no step to run; "
                f"raise steps to at least {math.ceil(1 / self.strength)}."
            )

    @property
    def departs(self) -> bool:
        """Whether images of a tuned UNet are guided away from the base; of a resolved config."""
        return self.domain_guidance > 1

    def domain_guidance_of(self, label: str, seed: int) -> float:
        """The scale of the image of this class that has this seed."""
        name = named(label, self.domain_guidance_widths)
        width = self.domain_guidance_width if name is None else self.domain_guidance_widths[name]
        return self.domain_guidance + np.random.default_rng(seed).uniform(-1, 1) * width

    @property
    def refining_steps(self) -> int:
        """Denoising steps of img2img."""
        return int(self.steps * self.strength)

    def guided(self, count: int) -> int:
        """How many of the last `count` sampling steps are guided; img2img runs the last ones alone."""
        if self.guidance_scale == 1:
            return 0
        return max(0, math.ceil(self.steps * self.guidance_end) - (self.steps - count))

    @property
    def passes(self) -> int:
        """Denoising steps of a batch: text2img once for all variants that share it, and img2img of each."""
        return sum(steps for steps, _ in self._samplings)

    @property
    def forwards(self) -> int:
        """The UNet's forward passes for an image of each variant; a step that is guided has two."""
        return sum(
            2 * steps if self.departs and is_tuned else steps + self.guided(steps)
            for steps, is_tuned in self._samplings
        )

    @property
    def _samplings(self) -> list[tuple[int, bool]]:
        """The steps of each sampling, and whether of a tuned UNet: text2img, which variants may share, and img2img."""
        recipes = [RECIPES[slug] for slug in self.variants]
        shared = {recipe.text2img: recipe for recipe in recipes}
        return [
            *((self.steps, recipe.is_tuned) for recipe in shared.values()),
            *((self.refining_steps, recipe.is_tuned) for recipe in recipes if recipe.refine),
        ]

    def takes_mask(self, slug: str) -> bool:
        """Whether a variant's images are conditioned on lesion masks."""
        return any(c.takes_mask for c in self.components if c.field in self.parts(slug))

    def parts(self, slug: str) -> frozenset[str]:
        """The fields of the components that are on in a variant."""
        own = RECIPES[slug].components
        if not own:
            return own
        return own | {c.field for c in COMPONENTS.values() if c.for_all and getattr(self, c.field)}

    @property
    def components(self) -> list[Component]:
        """The components that some chosen variant needs, in the order in which they are attached."""
        needed = {name for slug in self.variants for name in self.parts(slug)}
        return [component for name, component in COMPONENTS.items() if name in needed]


def generate_config() -> type[Generation]:
    """The config with a field for each component that is registered by now."""
    return _with_fields(tuple(COMPONENTS.values()))


@lru_cache
def _with_fields(components: tuple[Component, ...]) -> type[Generation]:
    fields = {c.field: (Annotated[str | None, c.product], Field(None, description=c.description)) for c in components}
    return create_model("Generate", __base__=Generation, __doc__=Generation.__doc__, **fields)


GENERATE = Job(
    "generate",
    generate_config,
    "busaug_core.generate.generate:generate",
    "busaug_core.generate.plan:check",
    needs_classes=False,
    shared=True,
    files=(PRODUCTS,),
)
