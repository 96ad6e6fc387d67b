"""A UNet that was tuned as a whole; it takes the place of the base's."""

from pathlib import Path
from typing import TYPE_CHECKING

from busaug_core.base.components.change import AttachedChanges, Change
from busaug_core.base.components.component import Component
from busaug_core.base.defaults import BASE
from busaug_core.jobs.lineage import Product

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline


class UnetComponent(Component):
    """A UNet's folder in diffusers' layout, of the base's own shape."""

    def attach(self, pipe: "StableDiffusionPipeline", path: Path) -> AttachedChanges:
        """Load the weights beside the base's; raises UserError where they are none of such a UNet."""
        from diffusers import UNet2DConditionModel

        from busaug_core.base.networks import load_network, put_beside, refuse_other_shape

        unet = load_network(path, UNet2DConditionModel, pipe.unet.dtype)
        refuse_other_shape(path, unet, pipe.unet)
        put_beside(pipe, unet)
        tuned = unet.state_dict()
        changes = [Change(weight, weight.data, tuned[name]) for name, weight in pipe.unet.named_parameters()]
        return AttachedChanges(changes, changes_text=False)


UNET = UnetComponent(
    field="unet",
    title="UNet",
    called="a tuned UNet",
    description="Tuned UNet of the ft variants: a run, or a folder of diffusers'.",
    product=Product(BASE.name, job=BASE.job),
    in_diffusers="""from diffusers import UNet2DConditionModel
pipe.unet = UNet2DConditionModel.from_pretrained("{path}")""",
)
