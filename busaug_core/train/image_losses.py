"""What the autoencoder's trainings minimise: gradients, local statistics, spectrum, correlation of the latents."""

import torch
import torch.nn.functional as F
from torch import Tensor


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
