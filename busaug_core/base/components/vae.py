"""An autoencoder that was tuned; it takes the place of the base's, and what decodes latents is all that differs."""

from busaug_core.base.components.network import NetworkComponent
from busaug_core.jobs.lineage import Product

VAE = NetworkComponent(
    field="vae",
    title="Autoencoder",
    called="a tuned autoencoder",
    description="Tuned autoencoder, out of which the images of all variants but the base's come: a run, or a folder of "
    "diffusers'.",
    product=Product("vae", job="finetune_decoder"),
    for_all=True,
    network="AutoencoderKL",
    in_diffusers="""from diffusers import AutoencoderKL
pipe.vae = AutoencoderKL.from_pretrained("{path}")""",
)
