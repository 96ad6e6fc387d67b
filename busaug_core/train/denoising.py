"""What all diffusion trainings share: the base, its images as batches, and the denoising objective."""

from abc import abstractmethod
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from torch.nn.functional import mse_loss

from busaug_core.base.loading import fingerprint, load_pipeline, refuse_long
from busaug_core.jobs.device import describe, dtype_of, pick_device
from busaug_core.jobs.events import Notice, Steps
from busaug_core.jobs.roles import remarks_on_training
from busaug_core.jobs.run import Run
from busaug_core.records import Record
from busaug_core.train.batch import Batch, Batches, encode_images
from busaug_core.train.config import DiffusionTraining
from busaug_core.train.loop import Method, train


class Denoising(Method):
    """A method that trains something on or in a frozen base; a subclass says what, and how prompts are encoded."""

    pipe: StableDiffusionPipeline
    batches: Batches

    def draw(self, step: int) -> Batch:
        return self.batches.draw(step)

    @abstractmethod
    def encode_prompts(self, prompts: list[str]) -> Tensor:
        """Text states, batch × tokens × width."""

    def predict(self, batch: Batch) -> Tensor:
        """The UNet's prediction, B×C×h×w."""
        dtype = self.pipe.unet.dtype
        states = self.encode_prompts(batch.prompts)
        return self.pipe.unet(batch.noisy.to(dtype), batch.timesteps, states.to(dtype)).sample

    def loss(self, batch: Batch) -> Tensor:
        """The squared error of the prediction at uniform timesteps (Ho et al. 2020; or as the base predicts)."""
        return mse_loss(self.predict(batch).float(), batch.target)


def load_base(config: DiffusionTraining, run: Run) -> StableDiffusionPipeline:
    """The config's base, frozen, its weights held in the dtype of the arithmetic; noted in the run.

    Raises UserError where it cannot be loaded.
    """
    device = pick_device()
    pipe = load_pipeline(config.base_model, device, dtype_of(config.precision, device))
    torch.manual_seed(config.seed)
    run.pin(base_weights=fingerprint(config.base_model))
    run.record_environment(device=describe(device))
    return pipe


def train_denoising(
    method: Denoising, records: list[Record], prompts: list[str], config: DiffusionTraining, run: Run
) -> Steps[float]:
    """Train a method on records and their prompts; returns the mean loss of the last tenth.

    Raises UserError where a prompt is too long for the base, or the loss is not finite any more.
    """
    pipe = method.pipe
    refuse_long(pipe, dict.fromkeys(prompts))
    yield from map(Notice, remarks_on_training(records))
    moments = yield from encode_images(pipe, [r.path for r in records], config.resolution)
    method.batches = Batches(pipe, moments, prompts, config)
    settings: dict[str, Any] = dict(steps=config.steps, learning_rate=config.learning_rate)
    settings["arithmetic"] = dtype_of(config.precision, pipe.device)
    return (yield from train(method, run, checkpoint_seconds=config.checkpoint_seconds, **settings))
