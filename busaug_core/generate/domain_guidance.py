"""Guidance of a tuned UNet away from the base's own (Zhong et al. 2025, arXiv 2504.01521)."""

from typing import Any

from diffusers import UNet2DConditionModel
from torch import Tensor

from busaug_core.base.components import Attached


class DomainGuidance:
    """What a tuned UNet predicts is moved on by `scale - 1` times its difference from what the base's predicts.

    The base's has the empty prompt, and a ControlNet's residuals, where there are any, as the tuned one has them.

    Args:
        unet: the pipeline's
        tuned: what puts the tuned weights on it
        scale: 1 is none
        unconditional: text states of the empty prompt, tokens × width
    """

    def __init__(self, unet: UNet2DConditionModel, tuned: Attached, scale: float, unconditional: Tensor):
        self.tuned, self.scale, self.unconditional = tuned, scale, unconditional
        self.images = 0
        """How many tuned images are made at a time; of twice as many rows the prompt guides them, and these stay."""
        unet.register_forward_hook(self._depart, with_kwargs=True)

    def _depart(
        self, unet: UNet2DConditionModel, args: tuple[Tensor, Tensor], kwargs: dict[str, Any], output: tuple[Tensor]
    ) -> tuple[Tensor] | None:
        (predicted,) = output
        if len(predicted) != self.images:
            return None
        states = self.unconditional.expand(self.images, -1, -1)
        self.tuned.switch(False)
        try:
            (of_base,) = unet.forward(*args, **kwargs | {"encoder_hidden_states": states})
        finally:
            self.tuned.switch(True)
        return (predicted + (self.scale - 1) * (predicted - of_base),)
