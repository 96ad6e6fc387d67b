"""text2img and img2img for a batch of images, each with a seed of its own."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from torch import Tensor

from busaug_core.base.autoencoder import decode
from busaug_core.base.components import UNET, Attached
from busaug_core.base.defaults import spaced_timesteps
from busaug_core.errors import UserError
from busaug_core.generate.config import Generation
from busaug_core.generate.domain_guidance import domain_guidance
from busaug_core.generate.steps import Denoised, denoise
from busaug_core.jobs.device import autocast_to


@dataclass
class Sampler:
    """A base with its components, and the settings of a run.

    Text states are kept by prompt, and apart for each set of components that reach the text encoder. The
    img2img noise comes from `seed + 1`: noise equal to that of text2img would add nothing new.
    """

    pipe: StableDiffusionPipeline
    config: Generation
    attached: dict[str, Attached]
    arithmetic: torch.dtype = torch.float32
    """What networks that are held in float32, as while they are trained, compute in."""

    def __post_init__(self) -> None:
        self.refiner = StableDiffusionImg2ImgPipeline(**self.pipe.components, requires_safety_checker=False)
        self.refiner.set_progress_bar_config(disable=True)
        self._states: dict[tuple[frozenset[str], str], Tensor] = {}
        self._changing_text: frozenset[str] = frozenset()

    def switch(self, on: Collection[str], masks: list[np.ndarray] | None = None) -> None:
        """Put the named components on and all others off; those that take masks get them, bool N×H×W."""
        # Those that go off put the base's weights back, so they come first.
        for name, attached in sorted(self.attached.items(), key=lambda item: item[0] in on):
            attached.switch(name in on)
            if name in on and masks is not None:
                attached.condition(masks)
        self._changing_text = frozenset(n for n in on if self.attached[n].changes_text)

    def text_to_image(self, prompts: list[str], seeds: list[int], scales: Sequence[float] = ()) -> Denoised[Tensor]:
        """Yield after each step; returns latents, batch × channels × height × width, of text2img.

        `scales` are the images' of domain guidance, where a tuned UNet is on.
        """
        output = yield from denoise(
            partial(self._call, self.pipe, scales),
            height=self.config.resolution,
            width=self.config.resolution,
            generator=_generators(seeds),
            **self._steps(),
            output_type="latent",
            **self._conditions(prompts, self.config.steps),
        )
        return output.images

    def image_to_image(
        self, latents: Tensor, prompts: list[str], seeds: list[int], scales: Sequence[float] = ()
    ) -> Denoised[Tensor]:
        """Yield after each step; returns latents of img2img on text2img's latents, at the config's strength."""
        image = latents
        if self.config.handoff == "image":
            image = torch.from_numpy(decode(self.pipe, latents)).to(latents.device, self.pipe.vae.dtype)[:, None] / 255
            image = image.expand(-1, 3, -1, -1)
        output = yield from denoise(
            partial(self._call, self.refiner, scales),
            image=image,
            strength=self.config.strength,
            num_inference_steps=self.config.steps,
            generator=_generators([seed + 1 for seed in seeds]),
            output_type="latent",
            **self._conditions(prompts, self.config.refining_steps),
        )
        return output.images

    def _steps(self) -> dict[str, Any]:
        """What a pipeline is told of its timesteps; raises UserError where its scheduler has only its own."""
        scheduler = self.pipe.scheduler
        if self.config.spacing == 1:
            return dict(num_inference_steps=self.config.steps)
        noisiest = scheduler.config.num_train_timesteps - 1
        timesteps = spaced_timesteps(self.config.steps, self.config.spacing, noisiest)
        try:
            type(scheduler).from_config(scheduler.config).set_timesteps(timesteps=timesteps)
        except (TypeError, ValueError):
            raise UserError(
                f"The base's scheduler ({type(scheduler).__name__}) spaces its steps in its own way alone; set spacing "
                "to 1."
            ) from None
        return dict(timesteps=timesteps)

    def _call(
        self, pipe: StableDiffusionPipeline | StableDiffusionImg2ImgPipeline, scales: Sequence[float], **options: Any
    ) -> Any:
        """Run a pipeline; autocast holds for a thread alone, so it is entered in that of the steps."""
        away: AbstractContextManager[None] = nullcontext()
        if scales:
            away = domain_guidance(pipe.unet, self.attached[UNET.field], scales, self._encode([""])[0])
        with away, autocast_to(pipe.device, self.arithmetic):
            return pipe(**options)

    def _conditions(self, prompts: list[str], steps: int) -> dict[str, Any]:
        """What `denoise` is told of the prompts and of how they guide the last `steps` of the sampling steps."""
        guided = self.config.guided(steps)
        conditions: dict[str, Any] = dict(guided=guided, prompt_embeds=self._encode(prompts), guidance_scale=1.0)
        if guided:
            negative = [self.config.negative_prompt] * len(prompts)
            conditions |= dict(guidance_scale=self.config.guidance_scale, negative_prompt_embeds=self._encode(negative))
        return conditions

    @torch.no_grad()
    def _encode(self, prompts: list[str]) -> Tensor:
        keys = [(self._changing_text, prompt) for prompt in prompts]
        for key in set(keys) - self._states.keys():
            with autocast_to(self.pipe.device, self.arithmetic):
                states, _ = self.pipe.encode_prompt(key[1], self.pipe.device, 1, False)
            self._states[key] = states[0]
        return torch.stack([self._states[key] for key in keys])


def _generators(seeds: list[int]) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]
