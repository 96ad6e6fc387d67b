"""The job `finetune_unet`: all weights of the UNet, as in the ControlNet paper's first stage."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from busaug_core.base.defaults import BASE
from busaug_core.files import write_whole
from busaug_core.jobs.events import Steps
from busaug_core.jobs.run import Run
from busaug_core.train.config import FinetuneUnet
from busaug_core.train.denoising import Denoising
from busaug_core.train.learned_images import learned_images
from busaug_core.train.training import compared_images, prepare_base, train_denoising


def finetune_unet(config: FinetuneUnet, run: Run) -> Steps[dict[str, Any]]:
    """Tune the UNet on the training split's images and class prompts; its moving average is what is kept.

    Returns `weights` (a folder in diffusers' layout) beside what `train_denoising` returns. Raises UserError where no
    sample trains or a class has no prompt.
    """
    records = yield from learned_images(config, run)
    method = UnetMethod(prepare_base(config, run, torch.float32), config.ema_decay)
    return (yield from train_denoising(method, records, config, run, compared_images(config, run.records, records)))


class UnetMethod(Denoising):
    """All weights of the UNet, in float32, and their exponential moving average.

    The average follows the weights fast at first, min(decay, (1 + n) / (10 + n)) after n updates, so that a short
    training is not mostly what it began with.
    """

    message = "Tuning the UNet"
    product = BASE.name
    weight_decay = 1e-2
    clip = 1.0

    def __init__(self, pipe: StableDiffusionPipeline, ema_decay: float):
        self.pipe, self.decay = pipe, ema_decay
        pipe.unet.to(torch.float32).requires_grad_(True)
        self._average = {name: p.detach().clone() for name, p in self.parameters().items()}
        self._updates = torch.zeros((), dtype=torch.int64)

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        return dict(self.pipe.unet.named_parameters())

    def state(self) -> dict[str, Tensor]:
        return {**{f"average.{name}": tensor for name, tensor in self._average.items()}, "updates": self._updates}

    @torch.no_grad()
    def after_step(self) -> None:
        n = int(self._updates.add_(1))
        decay = min(self.decay, (1 + n) / (10 + n))
        weights = self.parameters()
        torch._foreach_lerp_(list(self._average.values()), [weights[name] for name in self._average], 1 - decay)

    @contextmanager
    def as_kept(self) -> Iterator[None]:
        weights = self.parameters()
        own = {name: p.data for name, p in weights.items()}
        try:
            for name, p in weights.items():
                p.data = self._average[name]
            yield
        finally:
            for name, p in weights.items():
                p.data = own[name]

    def save(self, folder: Path) -> None:
        self.pipe.unet.load_state_dict(self._average, strict=False)
        write_whole(folder / self.product, self.pipe.unet.save_pretrained)
