"""Methods that learn to denoise: the objective, and what of it they share."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from itertools import pairwise
from threading import Lock
from typing import Any

import torch
from diffusers import ModelMixin, StableDiffusionPipeline
from torch import Tensor

from busaug_core.errors import UserError, first_sentence
from busaug_core.train.batch import Batch, Batches
from busaug_core.train.loop import Method
from busaug_core.train.side_by_side import workers_for


class Denoising(Method):
    """A method that trains something on or in a frozen base; a subclass says what.

    Attributes:
        pipe: the base
        product: the file or folder of the run that `save` writes
        takes_mask: whether its batches must hold the images' masks
        batches: what the steps see
        trains_text: whether prompts are encoded otherwise after each step
        draws_in_loss: whether the loss draws random numbers, so that parts must be computed in order
    """

    pipe: StableDiffusionPipeline
    product: str
    takes_mask: bool = False
    batches: Batches
    trains_text: bool = False
    draws_in_loss: bool = False
    _in_step: bool = False
    _encoding = Lock()
    """A tokenizer serves one thread at a time."""

    @property
    def networks(self) -> list[ModelMixin]:
        """Those whose inner values are kept for the gradients."""
        return [self.pipe.unet]

    @cached_property
    def _compiled(self) -> dict[ModelMixin, Callable[..., Any]]:
        """The networks as PyTorch compiles them at their first call, once for each size of a step's parts."""
        return {network: torch.compile(network, dynamic=False) for network in self.networks}

    def network_for(self, network: ModelMixin) -> Callable[..., Any]:
        """What to call for a network: within a step the compiled one, where that is asked for.

        What is looked at between steps, in other sizes, is computed by the networks as they are.
        """
        return self._compiled[network] if self._in_step else network

    def as_kept(self) -> AbstractContextManager[None]:
        """A block within which the weights are those that would be saved now."""
        return nullcontext()

    def as_product(self, places: Sequence[int]) -> AbstractContextManager[None]:
        """A block within which the pipeline makes images as with what would be saved now put on it.

        `places` are those of the images whose masks the next ones are to follow, where it takes masks.
        """
        return self.as_kept()

    def take_off(self) -> None:
        """Take what is trained off the pipeline, so that a saved one can be put on it; the training is over."""

    def draw(self, step: int) -> Batch:
        return self.batches.draw(step)

    @cached_property
    def workers(self) -> int:
        config = self.batches.config
        # Compiled networks are called by one thread.
        return 1 if self.draws_in_loss or config.compile else workers_for(config.part_size, self.networks)

    def parts(self, batch: Batch) -> list[tuple[Batch, float]]:
        size, count = len(batch.chosen), self.batches.config.accumulation * self.workers
        cuts = [size * i // count for i in range(count + 1)]
        return [(batch.part(slice(a, b)), (b - a) / size) for a, b in pairwise(cuts)]

    def rate(self, done: float) -> float:
        config = self.batches.config
        rate = min(1.0, done * config.steps / config.warmup_steps) if config.warmup_steps else 1.0
        before = done - 1 / config.steps
        return rate * (1 + math.cos(math.pi * before)) / 2 if config.schedule == "cosine" else rate

    def encode_prompts(self, prompts: list[str]) -> Tensor:
        """Text states, batch × tokens × width; each prompt is encoded once, in a training that leaves them alone."""
        states = {} if self.trains_text else self._states
        if new := [prompt for prompt in dict.fromkeys(prompts) if prompt not in states]:
            with self._encoding, torch.set_grad_enabled(self.trains_text and torch.is_grad_enabled()):
                found, _ = self.pipe.encode_prompt(new, self.pipe.text_encoder.device, 1, False)
            states.update(zip(new, found.to(self.pipe.unet.device), strict=True))
        return torch.stack([states[p] for p in prompts])

    @cached_property
    def _dtype(self) -> torch.dtype:
        """The UNet's, which diffusers looks up in all of its modules, in a hundredth of a second."""
        return self.pipe.unet.dtype

    @cached_property
    def _states(self) -> dict[str, Tensor]:
        return {}

    def captions(self, batch: Batch) -> list[str]:
        """The prompts of a batch, some of them dropped."""
        chances, dropout = batch.chances[0].tolist(), self.batches.config.caption_dropout
        return ["" if chance < dropout else p for p, chance in zip(batch.prompts, chances, strict=True)]

    def unet_on(self, batch: Batch, states: Tensor, **more: Any) -> Tensor:
        """The UNet's prediction on a batch, B×C×h×w; `more` are its keywords."""
        states = states.to(self._dtype)
        unet = self.network_for(self.pipe.unet)
        return unet(batch.noisy.to(self._dtype), batch.timesteps, encoder_hidden_states=states, **more).sample

    def predict(self, batch: Batch) -> Tensor:
        """The prediction, B×C×h×w."""
        return self.unet_on(batch, self.encode_prompts(self.captions(batch)))

    def errors(self, batch: Batch, weights: Tensor | None = None) -> Tensor:
        """The mean squared error of each image's prediction, float32 B; `weights` are those of its places, B×1×h×w."""
        squares = (self.predict(batch).float() - batch.target).square()
        return (squares if weights is None else squares * weights).mean((1, 2, 3))

    def loss(self, batch: Batch) -> Tensor:
        """The squared error of the prediction at uniform timesteps (Ho et al. 2020; or as the base predicts).

        It is a mean over the images, since a batch may be given in parts.
        """
        errors = self.errors(batch, self.batches.weights_within(batch))
        return (errors * self.batches.weights(batch.timesteps)).mean()

    def step_loss(self, batch: Batch) -> Tensor:
        """The loss, of compiled networks where that was asked for.

        Raises UserError where they cannot be compiled on this machine.
        """
        if not self.batches.config.compile:
            return self.loss(batch)
        from torch._dynamo.exc import TorchDynamoException

        self._in_step = True
        try:
            return self.loss(batch)
        except TorchDynamoException as error:
            if "out of memory" in str(error):
                raise torch.OutOfMemoryError(str(error)) from None
            cause = getattr(error, "inner_exception", error)
            raise UserError(
                f"PyTorch cannot compile the networks here ({first_sentence(cause)}); it needs a C compiler, and for a "
                "GPU Triton. Set compile to False."
            ) from None
        finally:
            self._in_step = False
