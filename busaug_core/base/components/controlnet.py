"""ControlNet: a copy of the UNet's encoder that steers it by lesion masks (Zhang et al. 2023, arXiv 2302.05543)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from busaug_core.base.components.component import Attached, Component
from busaug_core.errors import UserError
from busaug_core.jobs.lineage import Product

if TYPE_CHECKING:
    import numpy as np
    from diffusers import ControlNetModel, StableDiffusionPipeline
    from torch import Tensor


class ControlNetComponent(Component):
    """A ControlNet's folder in diffusers' layout, of the base's own shape."""

    def attach(self, pipe: "StableDiffusionPipeline", path: Path) -> "AttachedControlNet":
        """Load the network beside the UNet; raises UserError where it is none, or one of another base."""
        from diffusers import ControlNetModel

        from busaug_core.base.networks import load_network, put_beside, refuse_other_shape

        controlnet = load_network(path, ControlNetModel, pipe.unet.dtype)
        refuse_other_shape(path, controlnet, pipe.unet)
        factor = 2 ** (len(controlnet.config.conditioning_embedding_out_channels) - 1)
        if factor != pipe.vae_scale_factor:
            raise UserError(
                f"{path} reduces a mask {factor} times, and this base's autoencoder an image {pipe.vae_scale_factor} "
                "times; was it trained on another base?"
            )
        controlnet.requires_grad_(False).eval()
        put_beside(pipe, controlnet)
        return AttachedControlNet(pipe, controlnet)


class AttachedControlNet(Attached):
    """A ControlNet whose residuals are added in the UNet's every call while it is on."""

    def __init__(self, pipe: "StableDiffusionPipeline", controlnet: "ControlNetModel"):
        self.controlnet, self.on = controlnet, False
        self._image: Tensor | None = None
        pipe.unet.register_forward_pre_hook(self._steer, with_kwargs=True)

    def switch(self, on: bool) -> None:
        self.on = on

    def condition(self, masks: "list[np.ndarray]") -> None:
        import numpy as np
        import torch

        self._image = as_condition(self.controlnet, torch.from_numpy(np.stack(masks)))

    def _steer(self, _unet: Any, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
        if not self.on:
            return None
        sample, timestep = args
        # Guidance doubles the batch; both halves see the masks.
        image = self._image.repeat(len(sample) // len(self._image), 1, 1, 1)
        return args, kwargs | residuals(self.controlnet, sample, timestep, kwargs["encoder_hidden_states"], image)


def as_condition(controlnet: "ControlNetModel", masks: "Tensor") -> "Tensor":
    """Masks, bool N×H×W, as the network takes them: N×C×H×W of its dtype on its device, 1 within a lesion."""
    image = masks[:, None].to(controlnet.device, controlnet.dtype)
    return image.expand(-1, controlnet.config.conditioning_channels, -1, -1)


def residuals(
    controlnet: "ControlNetModel", sample: "Tensor", timestep: "Tensor", states: "Tensor", image: "Tensor"
) -> dict[str, Any]:
    """What a ControlNet adds to the UNet's skip connections and middle, as the UNet's keywords."""
    down, middle = controlnet(sample, timestep, states, controlnet_cond=image, return_dict=False)
    return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}


CONTROLNET = ControlNetComponent(
    field="controlnet",
    title="ControlNet",
    called="a ControlNet",
    description="ControlNet of the _mask variants: a run, or a folder of diffusers'.",
    product=Product("controlnet", job="train_controlnet"),
    takes_mask=True,
    in_diffusers="""from diffusers import ControlNetModel, StableDiffusionControlNetPipeline
controlnet = ControlNetModel.from_pretrained("{path}")
pipe = StableDiffusionControlNetPipeline(**pipe.components, controlnet=controlnet, requires_safety_checker=False)""",
)
