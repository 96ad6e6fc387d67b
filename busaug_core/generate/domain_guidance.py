"""Guidance of a tuned UNet away from the base's own (Zhong et al. 2025, arXiv 2504.01521)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from diffusers import UNet2DConditionModel
from torch import Tensor

from busaug_core.base.components import Attached


@contextmanager
def domain_guidance(
    unet: UNet2DConditionModel, tuned: Attached, scales: Sequence[float], unconditional: Tensor
) -> Iterator[None]:
    """A block in which each image's prediction is moved on by its scale − 1 times its difference from the base's.

    The base's has the empty prompt, and a ControlNet's residuals, where there are any, as the tuned one has them.

    Args:
        unet: the pipeline's, on which the tuned weights are
        tuned: what puts them on it and off
        scales: one an image; 1 is none. A call that a prompt guides has two rows an image, and stays as it is
        unconditional: text states of the empty prompt, tokens × width
    """
    images = len(scales)

    def depart(
        unet: UNet2DConditionModel, args: tuple[Tensor, Tensor], kwargs: dict[str, Any], output: tuple[Tensor]
    ) -> tuple[Tensor] | None:
        (predicted,) = output
        if len(predicted) != images:
            return None
        tuned.switch(False)
        try:
            states = unconditional.expand(images, -1, -1)
            (of_base,) = unet.forward(*args, **kwargs | {"encoder_hidden_states": states})
        finally:
            tuned.switch(True)
        further = predicted.new_tensor([scale - 1 for scale in scales]).view(-1, 1, 1, 1)
        return (predicted + further * (predicted - of_base),)

    hook = unet.register_forward_hook(depart, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
