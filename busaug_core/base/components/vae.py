"""An autoencoder that was tuned; it takes the place of the base's, and what decodes latents is all that differs."""

from pathlib import Path
from typing import TYPE_CHECKING

from busaug_core.base.components.change import AttachedChanges, Change
from busaug_core.base.components.component import Component
from busaug_core.jobs.lineage import Product

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline


class VaeComponent(Component):
    """An autoencoder's folder in diffusers' layout, of the base's own shape."""

    def attach(self, pipe: "StableDiffusionPipeline", path: Path) -> AttachedChanges:
        """Load the weights beside the base's; raises UserError where they are none of such an autoencoder."""
        from diffusers import AutoencoderKL

        from busaug_core.base.networks import load_network, put_beside, refuse_other_shape

        vae = load_network(path, AutoencoderKL, pipe.vae.dtype)
        refuse_other_shape(path, vae, pipe.vae)
        put_beside(pipe, vae)
        tuned = vae.state_dict()
        changes = [Change(weight, weight.data, tuned[name]) for name, weight in pipe.vae.named_parameters()]
        return AttachedChanges(changes, changes_text=False)


VAE = VaeComponent(
    field="vae",
    title="Autoencoder",
    called="a tuned autoencoder",
    description="Tuned autoencoder, out of which the images of all variants but the base's come: a run, or a folder of "
    "diffusers'.",
    product=Product("vae", job="finetune_decoder"),
    for_all=True,
    in_diffusers="""from diffusers import AutoencoderKL
pipe.vae = AutoencoderKL.from_pretrained("{path}")""",
)
