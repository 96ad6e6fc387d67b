"""The loaded model with its components, what it makes of a batch, and the provenance of that."""

from collections.abc import Iterator

import numpy as np

from busaug_core.base.autoencoder import decode
from busaug_core.base.loading import refuse_long
from busaug_core.base.tuned import fingerprint_of, load_base
from busaug_core.generate.config import Generation
from busaug_core.generate.plan import Item
from busaug_core.generate.recipes import RECIPES
from busaug_core.generate.sampler import Sampler
from busaug_core.jobs.device import describe, dtype_of, pick_device
from busaug_core.jobs.run import Run
from busaug_core.prompts import prompt_of, with_adjective
from busaug_core.records import Synthesis


class Producer:
    """A base with the components that the config's variants need.

    Raises UserError where base or components cannot be loaded, or a prompt is too long.
    """

    def __init__(self, config: Generation, run: Run, items: list[Item]):
        self.config, self.run = config, run
        device = pick_device()
        pipe = load_base(run, config.base_model, device, dtype_of(config.precision, device))
        self.attached = {c.field: c.attach(pipe, run.used[c.field].path) for c in config.components}
        prompts = {self.prompt(item, slug) for item in items for slug in config.variants}
        refuse_long(pipe, [config.negative_prompt, *sorted(prompts)])
        self.sampler = Sampler(pipe, config, self.attached)
        run.pin(base_weights=fingerprint_of(run, config.base_model))
        run.record_environment(device=describe(device))

    def produce(
        self, batch: list[Item], masks: list[np.ndarray] | None = None
    ) -> Iterator[tuple[str, np.ndarray] | None]:
        """Yield each variant's slug and images (uint8 N×H×W); text2img runs once for all that grow from it.

        In between comes None after each of the batch's `Generation.passes`. `masks`, bool N×H×W, are those of the
        items where a component takes one.
        """
        recipes = {slug: RECIPES[slug] for slug in self.config.variants}
        for source in dict.fromkeys(recipe.text2img for recipe in recipes.values()):
            growing = {slug: recipe for slug, recipe in recipes.items() if recipe.text2img == source}
            slug = next(iter(growing))
            self.sampler.switch(self.config.parts(slug), masks)
            prompts = [self.prompt(item, slug) for item in batch]
            seeds = [item.seed for item in batch]
            departs = self.config.departs and RECIPES[slug].is_tuned
            scales = [self._domain_guidance(item, slug) for item in batch] if departs else []
            latents = yield from self.sampler.text_to_image(prompts, seeds, scales)
            for slug, recipe in growing.items():
                refined = latents
                if recipe.refine:
                    refined = yield from self.sampler.image_to_image(latents, prompts, seeds, scales)
                yield slug, decode(self.sampler.pipe, refined)

    def _domain_guidance(self, item: Item, slug: str) -> float | None:
        """The scale of an item's image in a variant; None where its UNet is not tuned."""
        return self.config.domain_guidance_of(item.label, item.seed) if RECIPES[slug].is_tuned else None

    def prompt(self, item: Item, slug: str) -> str:
        """The prompt of an item in a variant: the class's, as adjective and components turn it."""
        parts = self.config.parts(slug)
        prompt = prompt_of(item.label, self.config.prompts, self.config.modality)
        if adjective := item.adjective_of(slug):
            prompt = with_adjective(prompt, adjective)
        for name, attached in self.attached.items():
            if name in parts:
                prompt = attached.prompt(prompt, self.config.modality)
        return prompt

    def synthesis(self, slug: str, item: Item, mask_sample_id: str | None = None) -> Synthesis:
        """The provenance of an image, as stored in the sample and in the PNG."""
        config, recipe, parts = self.config, RECIPES[slug], self.config.parts(slug)
        return Synthesis(
            run=self.run.key,
            index=item.index,
            prompt=self.prompt(item, slug),
            negative_prompt=config.negative_prompt,
            adjective=item.adjective_of(slug),
            seed=item.seed,
            scheduler=type(self.sampler.pipe.scheduler).__name__,
            steps=config.steps,
            spacing=config.spacing,
            guidance_scale=config.guidance_scale,
            guidance_end=config.guidance_end,
            domain_guidance=self._domain_guidance(item, slug),
            strength=config.strength if recipe.refine else None,
            width=config.resolution,
            height=config.resolution,
            batch_size=config.batch_size,
            base_model=config.base_model,
            mask_sample_id=mask_sample_id,
            handoff=config.handoff if recipe.refine else None,
            components={name: self.run.used[name].given for name in self.attached if name in parts},
        )
