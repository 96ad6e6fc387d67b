"""Trainings whose random numbers are the global ones, seeded step by step; with a fall of their learning rate."""

import math

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from busaug_core.train.loop import Method


class SeededMethod(Method):
    """A method of which a step's random numbers, those of its loss too, are the global ones, seeded by its number.

    The networks run in bfloat16 by an autocast of their own, where the device is fast at it, the losses in float32.
    """

    clip = 1.0
    seed: int
    hold: float
    """The share of the steps that is done when the learning rate begins to fall."""

    def rate(self, done: float) -> float:
        """Warm-up over 2 % of the steps, the peak until `hold`, then a cosine to zero."""
        factor = min(1.0, done / 0.02)
        if done > self.hold:
            factor *= 0.5 + 0.5 * math.cos(math.pi * (done - self.hold) / (1 - self.hold))
        return factor

    def reseed(self, step: int) -> None:
        """Called first in `draw`."""
        torch.manual_seed(self.seed * 1_000_003 + step)


def averaged(module: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of `module`'s weights, of short memory at first."""

    def update(average, current, count):
        d = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(average, current, 1 - d)

    return AveragedModel(module, multi_avg_fn=update)
