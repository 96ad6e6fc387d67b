"""The job `train_controlnet`: images steered by lesion masks (Zhang et al. 2023, arXiv 2302.05543)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, ModelMixin, StableDiffusionPipeline
from torch import Tensor

from busaug_core.base.components import CONTROLNET
from busaug_core.base.components.controlnet import AttachedControlNet, as_condition, residuals
from busaug_core.base.networks import put_beside
from busaug_core.files import write_whole
from busaug_core.jobs.events import Steps
from busaug_core.jobs.roles import masked_images
from busaug_core.jobs.run import Run
from busaug_core.records import Record
from busaug_core.train.batch import Batch
from busaug_core.train.config import TrainControlnet
from busaug_core.train.denoising import Denoising
from busaug_core.train.learned_images import learned_images
from busaug_core.train.training import compared_images, prepare_base, train_denoising
from busaug_core.words import counted

WIDTHS = (16, 32, 96, 256, 256)
"""Channels of the network that reads a mask; each beyond the first halves its sides."""


def train_controlnet(config: TrainControlnet, run: Run) -> Steps[dict[str, Any]]:
    """Train a ControlNet on the training split's images and lesion masks; base, LoRA and tuned UNet stay as they are.

    Images of a class that has no masks at all are trained with the empty one; where a class has some, those without
    are left out. Returns `weights` (a folder in diffusers' layout) beside what `train_denoising` returns. Raises
    UserError where no image has a mask, no sample trains, or a class has no prompt.
    """
    given = yield from learned_images(config, run)
    records = masked_images(given)
    method = ControlNetMethod(prepare_base(config, run), config.condition_dropout)
    held_out = masked_images(compared_images(config, run.records, given), like=given)
    return (yield from train_denoising(method, records, config, run, held_out, remarks=_remarks(given, records)))


def _remarks(given: list[Record], records: list[Record]) -> list[str]:
    """What is to be said of training images without a mask."""
    remarks = []
    if left_out := len(given) - len(records):
        remarks.append(
            f"{counted(left_out, 'image is', 'images are')} left out, without a mask in a class where others have one."
        )
    empty = sorted({r.label for r in records if not r.lesions})
    if empty:
        remarks.append(
            f"No image of {' and '.join(empty)} has a mask; they are trained with the empty one, which is right of "
            "images without a lesion alone."
        )
    return remarks


class ControlNetMethod(Denoising):
    """A copy of the UNet's encoder whose outputs pass through convolutions that are zero at first.

    Of the UNet's backward pass nothing but the decoder's is computed, since nothing before it is trained.
    """

    message = "Training the ControlNet"
    product = CONTROLNET.product.name
    takes_mask = True
    weight_decay = 1e-2
    clip = 1.0

    def __init__(self, pipe: StableDiffusionPipeline, condition_dropout: float):
        self.pipe, self.condition_dropout = pipe, condition_dropout
        # diffusers' own default divides by 8, whatever the autoencoder does.
        widths = WIDTHS[: pipe.vae_scale_factor.bit_length()]
        self.controlnet = ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=widths)
        put_beside(pipe, self.controlnet.to(torch.float32))

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        return dict(self.controlnet.named_parameters())

    @property
    def networks(self) -> list[ModelMixin]:
        return [self.pipe.unet, self.controlnet]

    def predict(self, batch: Batch) -> Tensor:
        masks = batch.masks & (batch.chances[1] >= self.condition_dropout)[:, None, None]
        states = self.encode_prompts(self.captions(batch))
        image = as_condition(self.controlnet, masks)
        added = residuals(self.network_for(self.controlnet), batch.noisy, batch.timesteps, states, image)
        return self.unet_on(batch, states, **added)

    @cached_property
    def _attached(self) -> AttachedControlNet:
        return AttachedControlNet(self.pipe, self.controlnet)

    @contextmanager
    def as_product(self, places: Sequence[int]) -> Iterator[None]:
        self._attached.condition([self.batches.masks[place].numpy() for place in places])
        self._attached.switch(True)
        try:
            yield
        finally:
            self._attached.switch(False)

    def save(self, folder: Path) -> None:
        write_whole(folder / self.product, self.controlnet.save_pretrained)
