"""The autoencoder of mini: an AutoencoderKL, 128×128 → 32×32×4, and the whitening of its latents."""

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from busaug_core.jobs.device import bfloat16_where_fast


def build_autoencoder(seed: int) -> AutoencoderKL:
    """1.4 M parameters. Residual blocks start as identities and the latents' noise at .05."""
    torch.manual_seed(seed)
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 48, 96),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=128,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )
    for name, module in vae.named_modules():
        if name.endswith("conv2"):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    with torch.no_grad():
        vae.quant_conv.weight[4:] = 0
        vae.quant_conv.bias[4:] = -6.0
    return vae


def to_input(images: Tensor) -> Tensor:
    """uint8 N×H×W gray → float N×3×H×W in −1…1."""
    return (images.float() / 127.5 - 1)[:, None].expand(-1, 3, -1, -1)


def whitening(latents: Tensor) -> dict[str, Tensor]:
    """Mean (C) and covariance (C×C) of the channels over N×C×h×w latents, float64."""
    flat = latents.transpose(0, 1).flatten(1).double()
    return {"mean": flat.mean(1), "covariance": torch.cov(flat)}


@torch.no_grad()
def fold_whitening(vae: AutoencoderKL, mean: Tensor, covariance: Tensor) -> None:
    """Make latents of this `mean` and `covariance` white (mean 0, covariance I), in the weights.

    The transform z → W(z − μ) goes into quant_conv and its inverse into post_quant_conv, so the
    decoded image is unchanged and the result is still a plain AutoencoderKL with scaling
    factor 1. The output layer's three filters are averaged: decoded images are exactly gray.
    """
    values, vectors = torch.linalg.eigh(covariance)
    whiten = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    colour = vectors @ torch.diag(values.sqrt()) @ vectors.T
    into, back = vae.quant_conv, vae.post_quant_conv
    dtype, n = into.weight.dtype, len(mean)

    kernel = into.weight[:n, :, 0, 0].double()
    into.weight[:n, :, 0, 0] = (whiten @ kernel).to(dtype)
    into.bias[:n] = (whiten @ (into.bias[:n].double() - mean)).to(dtype)
    into.bias[n:] += whiten.square().sum(1).log().to(dtype)

    kernel = back.weight[:, :, 0, 0].double()
    back.weight[:, :, 0, 0] = (kernel @ colour).to(dtype)
    back.bias += (kernel @ mean).to(dtype)

    out = vae.decoder.conv_out
    out.weight.copy_(out.weight.mean(0, keepdim=True).expand_as(out.weight))
    out.bias.copy_(out.bias.mean().expand_as(out.bias))


@torch.no_grad()
def encode(vae: AutoencoderKL, images: Tensor, device: torch.device, batch: int = 16) -> Tensor:
    """Posterior means of uint8 N×H×W images: float32 N×4×H/4×W/4 on the CPU."""
    vae.to(device).eval()
    means = []
    for part in images.split(batch):
        with bfloat16_where_fast(device):
            means.append(vae.encode(to_input(part.to(device))).latent_dist.mean.float().cpu())
    return torch.cat(means)
