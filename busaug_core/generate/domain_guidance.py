"""Guidance of a tuned UNet away from the base's own (Zhong et al. 2025, arXiv 2504.01521)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffusers import UNet2DConditionModel
from torch import Tensor

from busaug_core.base.components import Attached


@contextmanager
def domain_guidance(
    unet: UNet2DConditionModel, tuned: Attached, scale: float, unconditional: Tensor, images: int
) -> Iterator[None]:
    """A block in which predictions are moved on by `scale - 1` times their difference from the base's.

    The base's has the empty prompt, and a ControlNet's residuals, where there are any, as the tuned one has them.

    Args:
        unet: the pipeline's, on which the tuned weights are
        tuned: what puts them on it and off
        scale: 1 is none
        unconditional: text states of the empty prompt, tokens × width
        images: rows of a call that no prompt guides; one that a prompt guides has twice as many, and stays as it is
    """

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
        return (predicted + (scale - 1) * (predicted - of_base),)

    hook = unet.register_forward_hook(depart, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
