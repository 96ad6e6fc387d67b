"""What a training will take: parameters, memory and steps before the first one, and the time after a few."""

import time
from collections.abc import Iterable
from itertools import pairwise
from statistics import median

import torch
from torch import Tensor

from busaug_core.jobs.device import autocast_to
from busaug_core.jobs.events import Notice, Steps
from busaug_core.jobs.processes import is_main_process
from busaug_core.train.denoising import Denoising
from busaug_core.train.loop import Check
from busaug_core.words import counted, lasting

WARM_UP, TIMED = 1, 3
"""Steps that are not timed, and those that are."""


class Outlook(Check):
    """Tells what the steps to come will take, once before the first of them, and their time when a few are done.

    Attributes:
        trained: numbers that are trained
        share: these over the numbers of the base's UNet
        memory: see `estimate_memory`; empty until it is known
    """

    def __init__(self, method: Denoising, arithmetic: torch.dtype, kept: Iterable[Tensor]):
        """`kept` are tensors that others keep meanwhile, such as the weights of the best step."""
        self.method, self.arithmetic, self.kept = method, arithmetic, list(kept)
        self.steps = range(method.batches.config.steps)
        self.trained = sum(p.numel() for p in method.parameters().values())
        # An adapter's weights lie within the UNet.
        self.share = self.trained / sum(p.numel() for n, p in method.pipe.unet.named_parameters() if "lora_" not in n)
        self.memory: dict[str, int] = {}
        self._times: list[float] = []

    def look(self, step: int) -> Steps[bool]:
        if is_main_process() and len(self._times) <= WARM_UP + TIMED:
            if not self._times:
                self.memory = estimate_memory(self.method, self.arithmetic, self.kept)
                yield Notice(self._plan(step))
            self._times.append(time.monotonic())
            if len(self._times) == WARM_UP + TIMED + 1:
                # The median, since samples and validation lie between some of them.
                pace = median(b - a for a, b in pairwise(self._times[WARM_UP:]))
                left = len(self.steps) - step
                yield Notice(f"At the pace of the first steps the {left} that are left take {lasting(pace * left)}.")
        return False

    def _plan(self, step: int) -> str:
        """The training in words."""
        config, parts = self.method.batches.config, self.memory
        share = f"{100 * self.share:.3g} %" if self.share >= 1e-4 else "less than 0.01 %"
        told = ", ".join(f"{_size(size)} for {name}" for name, size in parts.items())
        more = ""
        if self.method.pipe.unet.device.type == "cpu":
            more = " On a CPU the process takes up to twice that, with the programs and what single operations need."
        if config.compile:
            more += " Compiled networks need less."
        return (
            f"{self.trained:,} numbers are trained, {share} as many as the base's UNet has, in "
            f"{counted(config.steps - step, 'step')} of {counted(config.batch_size, 'image')}. Estimated memory of "
            f"its tensors: {_size(sum(parts.values()))} ({told}).{more}"
        )


def estimate_memory(method: Denoising, arithmetic: torch.dtype, kept: Iterable[Tensor] = ()) -> dict[str, int]:
    """The bytes of all tensors that a step holds at once, by what they are for; not of the programs themselves.

    Weights are those of the base and of what is put on it, with copies such as a moving average. What is trained
    has, in float32, AdamW's two means and a gradient for each part that is worked on at once. What the backward pass
    needs of the forward one is measured on one image and on two, without a backward pass, and extended to the batch:
    weights that are cast or merged on the way come once for each part that is worked on at once. On a CPU the encoded
    images count too, and on a GPU only what lies there. Compiled networks need less.
    """
    pipe, trained = method.pipe, list(method.parameters().values())
    parts = (pipe.unet, pipe.vae, pipe.text_encoder)
    held = [*trained, *method.state().values(), *kept, *(t for m in parts for t in (*m.parameters(), *m.buffers()))]
    if pipe.unet.device.type == "cpu":
        held.append(method.batches.moments)
    device, config = pipe.unet.device, method.batches.config
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in held if t.device == device}
    size = config.part_size
    one = _saved_for_backward(method, 1, arithmetic, storages.keys())
    two = _saved_for_backward(method, 2, arithmetic, storages.keys()) if size > 1 else one
    an_image = max(0, two - one)
    return {
        "weights": sum(storages.values()),
        "gradients and optimizer": (2 + method.workers) * 4 * sum(p.numel() for p in trained),
        "intermediate results": method.workers * (one - an_image) + size * an_image,
    }


def _saved_for_backward(method: Denoising, images: int, arithmetic: torch.dtype, known: Iterable[int]) -> int:
    """The bytes that the forward pass of so many images keeps for the backward one, less `known` storages."""
    known, saved = set(known), {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch = method.batches.fixed([0] * images, 0, 1)
    autocast = autocast_to(method.pipe.unet.device, arithmetic)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), autocast:
        loss = method.loss(batch)
    total = sum(saved.values())
    del loss  # until here, lest a storage be freed and another take its address
    return total


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB"
