"""Gray images to what a base's autoencoder takes, and back."""

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from busaug_core.errors import UserError


def as_input(pipe: StableDiffusionPipeline, gray: np.ndarray) -> Tensor:
    """Images as the autoencoder takes them, N×3×S×S in [−1, 1] on its device, from uint8 N×S×S."""
    images = torch.from_numpy(gray).to(pipe.device, pipe.vae.dtype)[:, None] / 127.5 - 1
    return images.expand(-1, 3, -1, -1)


@torch.no_grad()
def decode(pipe: StableDiffusionPipeline, latents: Tensor) -> np.ndarray:
    """Images as uint8 N×H×W from scaled latents N×C×h×w: the luma of what the pipeline would give as RGB.

    Raises UserError where an image is one flat gray, as an overflow of half precision makes it.
    """
    vae = pipe.vae
    decoded = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor).sample
    pictures = pipe.image_processor.postprocess(decoded, output_type="pil")
    gray = np.stack([np.asarray(picture.convert("L")) for picture in pictures])
    if (gray.min((1, 2)) == gray.max((1, 2))).any():
        raise UserError("An image came out blank, as half precision can do; set precision to 'fp32' or 'bf16'.")
    return gray


@torch.no_grad()
def reconstruct(pipe: StableDiffusionPipeline, gray: np.ndarray) -> np.ndarray:
    """Images through encoder and decoder: uint8 N×S×S from the same, S a multiple of 8.

    The latents are the posterior's modes.
    """
    latents = pipe.vae.encode(as_input(pipe, gray)).latent_dist.mode()
    return decode(pipe, latents * pipe.vae.config.scaling_factor)
