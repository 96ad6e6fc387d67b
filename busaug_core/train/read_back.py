"""A product is read back when it is saved: whether it gives what was trained, and whether that changes anything."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from busaug_core.base.components import component_of
from busaug_core.base.offload import on_device
from busaug_core.errors import UserError
from busaug_core.jobs.device import autocast_to
from busaug_core.train.denoising import Denoising

ALIKE = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""How far two ways of computing one prediction may lie apart in an arithmetic, as a share of its norm."""
LOST = 0.1
"""How much of what was learned the saved product may lack."""
UNCHANGED = 1e-4
"""A change of the prediction, as a share of its norm, that no image shows."""
IMAGES = 2


@dataclass(frozen=True)
class ReadBack:
    """What a saved product does: norms over that of the prediction before the training.

    Attributes:
        change: of the base's prediction, when the product is put on it
        difference: from the prediction that the training ended with
    """

    change: float
    difference: float

    @property
    def remark(self) -> str | None:
        """What is to be said of it; None where all is well."""
        if self.change > UNCHANGED:
            return None
        return (
            f"What was saved changes the base's predictions by {100 * self.change:.1g} % of their size, which no image "
            "will show. More steps or a higher learning_rate would change more, and precision 'fp32' where half "
            "precision rounds small changes away."
        )


def fixed_prediction(method: Denoising, arithmetic: torch.dtype) -> Tensor:
    """The method's prediction as it would be kept now, float32 B×C×h×w, on a few training images at fixed noise."""
    batch = method.batches.fixed(_places(method), 0, 1)
    autocast = autocast_to(method.pipe.unet.device, arithmetic)
    with method.as_kept(), torch.no_grad(), autocast:
        return method.predict(batch).float()


def read_back(method: Denoising, weights: Path, begun: Tensor, arithmetic: torch.dtype) -> ReadBack | None:
    """Put what was saved on the base, by the component that `generate` would take, and compare predictions.

    The method is of no use afterwards: what was trained is taken off its pipeline, lest two bases be held at once.
    Returns None where no component takes such a product.

    Args:
        method: one that has been trained and saved
        weights: the file or folder
        begun: its `fixed_prediction` before the first step
        arithmetic: the dtype of matrix products and convolutions

    Raises:
        UserError: it cannot be put on the base, or does not give what was trained
    """
    component = component_of(method.product)
    if component is None:
        return None
    trained, places, pipe = fixed_prediction(method, arithmetic), _places(method), method.pipe
    method.take_off()
    batch = method.batches.fixed(places, 0, 1)
    autocast = autocast_to(pipe.unet.device, arithmetic)
    with on_device(pipe), torch.no_grad():
        attached = component.attach(pipe, weights)
        if component.takes_mask:
            attached.condition([method.batches.masks[place].numpy() for place in places])
        attached.switch(True)
        with autocast:  # a LoRA is merged without it
            states, _ = pipe.encode_prompt(batch.prompts, pipe.unet.device, 1, False)
            loaded = method.unet_on(batch, states).float()
        attached.switch(False)
    size = begun.norm()
    found = ReadBack(float((loaded - begun).norm() / size), float((loaded - trained).norm() / size))
    learned = float((trained - begun).norm() / size)
    if not found.difference <= LOST * learned + ALIKE[arithmetic]:
        raise UserError(
            f"{weights}, put on the base again, does not give what was trained: its predictions differ from the "
            f"training's by {100 * found.difference:.2g} % of their size, and the training has changed "
            f"{100 * learned:.2g} %. The file was damaged when it was written, or these versions of diffusers and "
            "peft read it otherwise."
        )
    return found


def _places(method: Denoising) -> list[int]:
    return list(range(min(IMAGES, method.batches.trained)))
