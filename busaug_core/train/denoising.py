"""What all diffusion trainings share: the base, its images as batches, and the denoising objective."""

import math
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from busaug_core.base.components import COMPONENTS
from busaug_core.base.loading import refuse_long
from busaug_core.base.tuned import fingerprint_of, load_base
from busaug_core.jobs.device import describe, dtype_of, pick_device
from busaug_core.jobs.events import Notice, Steps
from busaug_core.jobs.roles import remarks_on_training
from busaug_core.jobs.run import Run
from busaug_core.prompts import prompt_of
from busaug_core.records import Record, count_labels
from busaug_core.train.batch import Batch, Batches, encode_images
from busaug_core.train.config import DiffusionTraining
from busaug_core.train.loop import Method, train


class Denoising(Method):
    """A method that trains something on or in a frozen base; a subclass says what.

    Attributes:
        pipe: the base
        product: the file or folder of the run that `save` writes
        caption_dropout: the share of images that are shown without their prompt
        batches: what the steps see
    """

    pipe: StableDiffusionPipeline
    product: str
    caption_dropout: float = 0.0
    batches: Batches

    def draw(self, step: int) -> Batch:
        return self.batches.draw(step)

    def rate(self, done: float) -> float:
        config = self.batches.config
        rate = min(1.0, done * config.steps / config.warmup_steps) if config.warmup_steps else 1.0
        return rate * (1 + math.cos(math.pi * done)) / 2 if config.schedule == "cosine" else rate

    def encode_prompts(self, prompts: list[str]) -> Tensor:
        """Text states, batch × tokens × width; each prompt is encoded once, where the text encoder is not trained."""
        known: dict[str, Tensor] = self.__dict__.setdefault("_states", {})
        with torch.no_grad():
            for prompt in set(prompts) - known.keys():
                states, _ = self.pipe.encode_prompt(prompt, self.pipe.device, 1, False)
                known[prompt] = states[0]
        return torch.stack([known[p] for p in prompts])

    def captions(self, batch: Batch) -> list[str]:
        """The prompts of a batch, some of them dropped."""
        chances = batch.chances[0].tolist()
        return ["" if chance < self.caption_dropout else p for p, chance in zip(batch.prompts, chances, strict=True)]

    def unet_on(self, batch: Batch, states: Tensor, **more: Any) -> Tensor:
        """The UNet's prediction on a batch, B×C×h×w; `more` are its keywords."""
        dtype = self.pipe.unet.dtype
        return self.pipe.unet(batch.noisy.to(dtype), batch.timesteps, states.to(dtype), **more).sample

    def predict(self, batch: Batch) -> Tensor:
        """The prediction, B×C×h×w."""
        return self.unet_on(batch, self.encode_prompts(self.captions(batch)))

    def loss(self, batch: Batch) -> Tensor:
        """The squared error of the prediction at uniform timesteps (Ho et al. 2020; or as the base predicts)."""
        errors = (self.predict(batch).float() - batch.target).square().mean((1, 2, 3))
        return (errors * self.batches.weights(batch.timesteps)).mean()


def prepare_base(config: DiffusionTraining, run: Run) -> StableDiffusionPipeline:
    """The config's base with the components that it names, frozen, held in the arithmetic's dtype; noted in the run.

    Raises UserError where something cannot be loaded.
    """
    device = pick_device()
    pipe = load_base(run, config.base_model, device, dtype_of(config.precision, device))
    for component in (c for name, c in COMPONENTS.items() if name in run.used):
        component.attach(pipe, run.used[component.field].path).switch(True)
    pipe.unet.requires_grad_(False)
    torch.manual_seed(config.seed)
    run.pin(base_weights=fingerprint_of(run, config.base_model))
    run.record_environment(device=describe(device))
    return pipe


def train_denoising(
    method: Denoising, records: list[Record], config: DiffusionTraining, run: Run, prompts: list[str] | None = None
) -> Steps[dict[str, Any]]:
    """Train a method on records and their prompts, which are those of the classes where others are not given.

    Returns `weights` (the file or folder), the mean `loss` of the last tenth, `images` by class and `remarks` on
    them. Raises UserError where a class has no prompt, a prompt is too long for the base, or the loss is not finite
    any more.
    """
    pipe = method.pipe
    prompts = prompts or [prompt_of(r.label, config.prompts) for r in records]
    refuse_long(pipe, dict.fromkeys(prompts))
    remarks = remarks_on_training(records)
    yield from map(Notice, remarks)
    moments = yield from encode_images(pipe, [r.path for r in records], config.resolution)
    method.batches = Batches(pipe, moments, prompts, config)
    settings: dict[str, Any] = dict(steps=config.steps, learning_rate=config.learning_rate)
    settings["arithmetic"] = dtype_of(config.precision, pipe.device)
    loss = yield from train(method, run, checkpoint_seconds=config.checkpoint_seconds, **settings)
    weights = str(run.folder / method.product)
    return {"weights": weights, "loss": loss, "images": count_labels(records), "remarks": remarks}
