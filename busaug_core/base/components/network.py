"""Components that are a whole network, which takes the place of the base's own."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from busaug_core.base.components.change import AttachedChanges, Change
from busaug_core.base.components.component import Component

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline


@dataclass(frozen=True)
class NetworkComponent(Component):
    """A network's folder in diffusers' layout, of the base's own shape; `field` is its name in a pipeline too.

    Attributes:
        network: its class in diffusers
    """

    network: str = ""

    def attach(self, pipe: "StableDiffusionPipeline", path: Path) -> AttachedChanges:
        """Load the weights beside the base's; raises UserError where they are none of such a network."""
        import diffusers

        from busaug_core.base.networks import load_network, put_beside, refuse_other_shape

        own = getattr(pipe, self.field)
        network = load_network(path, getattr(diffusers, self.network), own.dtype)
        refuse_other_shape(path, network, own)
        put_beside(pipe, network)
        tuned = network.state_dict()
        changes = [Change(weight, weight.data, tuned[name]) for name, weight in own.named_parameters()]
        return AttachedChanges(changes, changes_text=False)
