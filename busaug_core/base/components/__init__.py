"""What can be put on a base model: one file a component. Importing this loads no torch."""

from collections.abc import Collection

from busaug_core.base.components.component import Attached, Component
from busaug_core.base.components.controlnet import CONTROLNET
from busaug_core.base.components.lora import LORA
from busaug_core.base.components.token import TOKEN
from busaug_core.base.components.unet import UNET
from busaug_core.base.components.vae import VAE

__all__ = [
    "COMPONENTS",
    "CONTROLNET",
    "LORA",
    "TOKEN",
    "UNET",
    "VAE",
    "Attached",
    "Component",
    "component_of",
    "has_tuned_unet",
    "register",
]

COMPONENTS: dict[str, Component] = {}
"""The components by the config field that names them, in the order in which they are attached."""


def component_of(name: str) -> Component | None:
    """The component whose products are files or folders of that name."""
    return next((c for c in COMPONENTS.values() if c.product.name == name), None)


def has_tuned_unet(used: Collection[str], product: str) -> bool:
    """Whether a tuned UNet draws what comes of a file or folder of that name beside the components `used`."""
    return UNET.field in used or component_of(product) is UNET


def register(component: Component) -> None:
    """Add a component; configs, provenance, forms and colours know it from then on."""
    COMPONENTS[component.field] = component


for component in (LORA, TOKEN, UNET, CONTROLNET, VAE):
    register(component)
