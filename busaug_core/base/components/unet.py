"""A UNet that was tuned as a whole; it takes the place of the base's."""

from busaug_core.base.components.network import NetworkComponent
from busaug_core.base.defaults import BASE
from busaug_core.jobs.lineage import Product

UNET = NetworkComponent(
    field="unet",
    title="UNet",
    called="a tuned UNet",
    description="Tuned UNet of the ft variants: a run, or a folder of diffusers'.",
    product=Product(BASE.name, job=BASE.job),
    network="UNet2DConditionModel",
    in_diffusers="""from diffusers import UNet2DConditionModel
pipe.unet = UNet2DConditionModel.from_pretrained("{path}")""",
)
