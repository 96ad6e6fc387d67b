"""The autoencoder of mini: an AutoencoderKL, 128×128 → 32×32×4, and how it is trained.

Two stages. First encoder and decoder together, by pixels, gradients and local statistics; then
the decoder alone, held to the pixels only where the latents can carry them, to local statistics
and spectrum above that, and to a relativistic patch discriminator for what texture looks like.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from .steps import averaged, resumable_steps, set_rate


@dataclass(frozen=True)
class Stage:
    """How long and how fast a stage is trained; `hold` is the share at the peak rate."""

    steps: int
    learning_rate: float
    batch_size: int
    hold: float
    seed: int
    checkpoint_every: int


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


def crops(images: Tensor, count: int, size: int) -> Tensor:
    """`count` random crops of uint8 N×H×W, half of them mirrored, gain and offset jittered.

    Returns float count×1×size×size in −1…1, on the images' device.
    """
    n, height, width = images.shape
    which = torch.randint(n, (count,)).tolist()
    tops = torch.randint(height - size + 1, (count,)).tolist()
    lefts = torch.randint(width - size + 1, (count,)).tolist()
    parts = [images[i, t : t + size, x : x + size] for i, t, x in zip(which, tops, lefts, strict=True)]
    batch = torch.stack(parts).float()[:, None] / 127.5 - 1
    flip = (torch.rand(count, 1, 1, 1) < 0.5).to(batch.device)
    batch = torch.where(flip, batch.flip(-1), batch)
    gain = torch.empty(count, 1, 1, 1).uniform_(0.8, 1.25).to(batch.device)
    offset = torch.empty(count, 1, 1, 1).uniform_(-0.15, 0.15).to(batch.device)
    return (batch * gain + offset).clamp(-1, 1)


def gradient_loss(x: Tensor, y: Tensor) -> Tensor:
    """L1 between horizontal and vertical differences."""
    return F.l1_loss(x.diff(dim=-1), y.diff(dim=-1)) + F.l1_loss(x.diff(dim=-2), y.diff(dim=-2))


def low_pass(x: Tensor) -> Tensor:
    """Gaussian of σ = 1 pixel: half of the amplitude is left at .19 cycles a pixel."""
    taps = torch.exp(-0.5 * torch.arange(-3.0, 4.0, device=x.device) ** 2)
    taps = (taps / taps.sum()).to(x.dtype)
    c = x.shape[1]
    x = F.pad(x, (3, 3, 3, 3), mode="reflect")
    x = F.conv2d(x, taps.view(1, 1, 1, 7).expand(c, -1, -1, -1), groups=c)
    return F.conv2d(x, taps.view(1, 1, 7, 1).expand(c, -1, -1, -1), groups=c)


def statistic_loss(x: Tensor, y: Tensor) -> Tensor:
    """L1 between log local variances of three Laplacian bands in windows of 4 and 8 pixels."""
    loss = x.new_zeros(())
    for _ in range(3):
        small = [F.avg_pool2d(i, 2) for i in (x, y)]
        wide = [F.interpolate(s, scale_factor=2, mode="bilinear") for s in small]
        bands = [i - w for i, w in zip((x, y), wide, strict=True)]
        for window in (4, 8):
            a, b = (F.avg_pool2d(i**2, window, window // 2).add(4e-4).log() for i in bands)
            loss = loss + F.l1_loss(a, b) / 6
        x, y = small
    return loss


def spectral_loss(x: Tensor, y: Tensor, bands: int = 8, tile: int = 32) -> Tensor:
    """L1 between log powers of half-overlapping Hann tiles in `bands` radial bands.

    The bands lie evenly between .1 cycles a pixel and the corner of the spectrum; the floor of
    1e-5 a coefficient (1.3 gray levels) keeps black regions out of it.
    """
    window = torch.hann_window(tile, device=x.device)
    window = window[:, None] * window[None]
    frequency = torch.fft.fftfreq(tile, device=x.device)
    radius = (frequency[:, None] ** 2 + frequency[None, : tile // 2 + 1] ** 2).sqrt()
    band = ((radius - 0.1) / (0.708 - 0.1) * bands).floor().long().clamp(-1, bands - 1) + 1
    member = F.one_hot(band.flatten(), bands + 1)[:, 1:].float()

    def powers(image: Tensor) -> Tensor:
        tiles = image.float().unfold(-2, tile, tile // 2).unfold(-2, tile, tile // 2)
        power = torch.fft.rfft2(tiles * window).abs() ** 2 / window.square().sum()
        return (power.flatten(-2) @ member / member.sum(0) + 1e-5).log()

    return F.l1_loss(powers(x), powers(y))


def decorrelation_loss(latents: Tensor) -> Tensor:
    """Mean squared distance of the channels' covariance over the batch from the identity."""
    flat = latents.transpose(0, 1).flatten(1)
    covariance = torch.cov(flat)
    return (covariance - torch.eye(len(flat), device=flat.device)).square().mean()


def train_autoencoder(
    vae: AutoencoderKL, images: Tensor, stage: Stage, path: Path, device: torch.device
) -> Iterator[dict]:
    """Train encoder and decoder on crops of uint8 N×H×W `images`; yield losses each step."""
    vae.to(device).train()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=0.0, weight_decay=0.01, fused=True)
    optimizer.param_groups[0]["peak"] = stage.learning_rate
    state = {"vae": vae, "optimizer": optimizer}
    for step in resumable_steps(path, stage.steps, stage.seed, state, stage.checkpoint_every):
        set_rate(optimizer, step, stage.steps, stage.hold)
        target = crops(images, stage.batch_size, 64)
        with torch.autocast(device.type, torch.bfloat16):
            posterior = vae.encode(target.expand(-1, 3, -1, -1)).latent_dist
            output = vae.decode(posterior.sample()).sample
        output, mean = output.float(), posterior.mean.float()
        target = target.expand_as(output)
        pixel = F.l1_loss(output, target)
        statistic = statistic_loss(output, target)
        loss = (
            pixel
            + 0.5 * gradient_loss(output, target)
            + 0.1 * statistic
            + 0.05 * decorrelation_loss(mean)
            + 1e-6 * posterior.kl().float().mean()
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        yield {"step": step + 1, "pixel": pixel.item(), "statistic": statistic.item()}


class Discriminator(nn.Module):
    """Real or decoded? A logit for each 4×4 patch of a gray image, told its 8× low-pass."""

    def __init__(self) -> None:
        super().__init__()
        layers, width = [], 2
        for wider, kernel, stride in ((32, 3, 1), (64, 4, 2), (96, 4, 2), (96, 3, 1)):
            layers += [nn.Conv2d(width, wider, kernel, stride, 1), nn.LeakyReLU(0.2)]
            width = wider
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 1, 1))

    def forward(self, image: Tensor, coarse: Tensor) -> Tensor:
        """image, coarse: N×1×H×W in −1…1. Returns logits N×1×H/4×W/4."""
        return self.layers(torch.cat([4 * (image - coarse), coarse], 1))


def train_decoder(vae: AutoencoderKL, images: Tensor, stage: Stage, path: Path, device: torch.device) -> Iterator[dict]:
    """Train the decoder alone on what pixels cannot teach; the latents stay what they are.

    The relativistic pairing loss and R1 + R2 follow Huang et al. 2024 (arXiv 2501.05441); the
    adversarial gradient is scaled to half of the pixels' at the last layer as in Esser et al.
    2021 (arXiv 2012.09841, eq. 7).
    """
    vae.to(device).train().requires_grad_(False)
    decoder = nn.ModuleList([vae.post_quant_conv, vae.decoder]).requires_grad_(True)
    average = averaged(decoder, 0.995)
    judge = Discriminator().to(device)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=0.0, betas=(0.5, 0.99), fused=True)
    judging = torch.optim.AdamW(judge.parameters(), lr=0.0, betas=(0.0, 0.99), fused=True)
    optimizer.param_groups[0]["peak"] = stage.learning_rate
    judging.param_groups[0]["peak"] = 2 * stage.learning_rate
    state = dict(vae=vae, average=average, judge=judge, optimizer=optimizer, judging=judging)
    last = vae.decoder.conv_out.weight
    for step in resumable_steps(path, stage.steps, stage.seed, state, stage.checkpoint_every):
        set_rate(optimizer, step, stage.steps, stage.hold)
        set_rate(judging, step, stage.steps, stage.hold)
        real = crops(images, stage.batch_size, 64)
        with torch.autocast(device.type, torch.bfloat16):
            latents = vae.encode(real.expand(-1, 3, -1, -1)).latent_dist.sample()
            output = vae.decode(latents).sample
        fake = output.float().mean(1, keepdim=True)
        coarse = F.interpolate(F.avg_pool2d(real, 8), scale_factor=8, mode="bilinear")

        penalty = step % 6 == 0
        truth = real.clone().requires_grad_(penalty)
        guess = fake.detach().requires_grad_(penalty)
        with torch.autocast(device.type, torch.bfloat16, enabled=not penalty):
            logits = judge(torch.cat([truth, guess]), coarse.repeat(2, 1, 1, 1)).float()
        on_real, on_fake = logits.chunk(2)
        judged = F.softplus(on_fake - on_real).mean()
        if penalty:
            slopes = torch.autograd.grad(logits.mean((1, 2, 3)).sum(), [truth, guess], create_graph=True)
            judged = judged + 0.3 * sum(s.square().sum((1, 2, 3)).mean() for s in slopes)
        judging.zero_grad(set_to_none=True)
        judged.backward()
        judging.step()

        judge.requires_grad_(False)
        with torch.autocast(device.type, torch.bfloat16):
            on_fake = judge(fake, coarse).float()
        judge.requires_grad_(True)
        adversarial = F.softplus(on_real.detach() - on_fake).mean()
        pixel = F.l1_loss(low_pass(fake), low_pass(real)) + 0.4 * F.l1_loss(fake, real)
        statistic, spectral = statistic_loss(fake, real), spectral_loss(fake, real)
        loss = pixel + 0.05 * statistic + 0.1 * spectral
        slope = torch.autograd.grad(pixel, last, retain_graph=True)[0].norm()
        against = torch.autograd.grad(adversarial, last, retain_graph=True)[0].norm()
        weight = 0.5 * (slope / (against + 1e-6)).clamp(max=10.0) * min(1.0, step / 100)
        optimizer.zero_grad(set_to_none=True)
        (loss + weight * adversarial).backward()
        nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(decoder)
        yield {
            "step": step + 1,
            "pixel": pixel.item(),
            "statistic": statistic.item(),
            "spectral": spectral.item(),
            "judge": judged.item(),
            "weight": weight.item(),
        }
    decoder.load_state_dict(average.module.state_dict())
    vae.requires_grad_(True)


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
        with torch.autocast(device.type, torch.bfloat16):
            means.append(vae.encode(to_input(part.to(device))).latent_dist.mean.float().cpu())
    return torch.cat(means)
