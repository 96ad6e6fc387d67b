"""What the card reports of mini: reconstruction, prompt gap, samples and how they are recognised."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, StableDiffusionPipeline
from PIL import Image
from torch import Tensor, nn

from busaug_core.images import load_gray
from busaug_core.prompts import BUSI_PROMPTS

from .autoencoder import to_input
from .text import CLASSES, tokenize

BANDS = {".125-.25": (0.125, 0.25), ">.25": (0.25, 1.0)}  # cycles a pixel, radial


def read_folder(folder: Path, size: int = 128) -> tuple[Tensor, Tensor]:
    """All images of a folder in BUSI's layout, masks left out, squeezed to size×size.

    Returns uint8 N×size×size and N indices into `CLASSES`, class by class in order of name.
    """
    images, labels = [], []
    for index, label in enumerate(CLASSES):
        for path in sorted((folder / label).glob("*.png")):
            if "_mask" in path.name:
                continue
            images.append(load_gray(path, size))
            labels.append(index)
    return torch.from_numpy(np.stack(images)), torch.tensor(labels)


@torch.no_grad()
def reconstruct(vae, images: Tensor, device: torch.device, batch: int = 16) -> Tensor:
    """uint8 N×H×W through encoder (mean) and decoder in float32; float N×H×W in 0–1."""
    vae.to(device).eval()
    parts = []
    for part in images.split(batch):
        output = vae.decode(vae.encode(to_input(part.to(device))).latent_dist.mode()).sample
        parts.append((output.mean(1) / 2 + 0.5).clamp(0, 1).cpu())
    return torch.cat(parts)


def band_powers(images: Tensor) -> dict[str, float]:
    """Mean summed power of the Hann-windowed spectrum in each of `BANDS`; float N×H×W in 0–1."""
    h, w = images.shape[1:]
    window = torch.hann_window(h)[:, None] * torch.hann_window(w)[None]
    centred = images - images.mean((1, 2), keepdim=True)
    power = (torch.fft.fft2(centred * window).abs() ** 2).mean(0)
    radius = (torch.fft.fftfreq(h)[:, None] ** 2 + torch.fft.fftfreq(w)[None] ** 2).sqrt()
    return {k: float(power[(radius > lo) & (radius <= hi)].sum()) for k, (lo, hi) in BANDS.items()}


def reconstruction(vae, images: Tensor, device: torch.device) -> dict[str, float]:
    """Mean PSNR (dB, peak 1) and power of reconstruction over original in each of `BANDS`."""
    original = images.float() / 255
    again = reconstruct(vae, images, device)
    psnr = -10 * (again - original).square().mean((1, 2)).clamp(min=1e-8).log10()
    ours, theirs = band_powers(again), band_powers(original)
    return {
        "n": len(images),
        "psnr": round(psnr.mean().item(), 2),
        **{band: round(ours[band] / theirs[band], 3) for band in BANDS},
    }


@torch.no_grad()
def prompt_gap(unet, text_encoder, tokenizer, latents: Tensor, device) -> dict[str, float]:
    """How much the class prompt matters: ‖v(a) − v(b)‖ / ‖(v(a) + v(b)) / 2‖ for each pair.

    The norms run over all of `latents` (float N×4×h×w), each noised once with a fixed seed at
    each of the timesteps 999, 900, 800, 700 and 600, where large structure is decided.
    """
    unet.eval()
    text_encoder.eval()
    noising = DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        rescale_betas_zero_snr=True,
    )
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    text = {c: text_encoder(tokenize(tokenizer, [BUSI_PROMPTS[c]]).to(device))[0] for c in CLASSES}
    predicted: dict[str, list[Tensor]] = {c: [] for c in CLASSES}
    for t in (999, 900, 800, 700, 600):
        timesteps = torch.full((len(latents),), t)
        noisy = noising.add_noise(latents, noise, timesteps).to(device)
        for c in CLASSES:
            hidden = text[c].expand(len(latents), -1, -1)
            predicted[c].append(unet(noisy, timesteps.to(device), hidden).sample)
    v = {c: torch.stack(predicted[c]) for c in CLASSES}
    pairs = (("normal", "benign"), ("normal", "malignant"), ("benign", "malignant"))
    return {f"{a}/{b}": round(float((v[a] - v[b]).norm() / ((v[a] + v[b]) / 2).norm()), 4) for a, b in pairs}


def sample(
    pipe: StableDiffusionPipeline,
    each: int,
    steps: int,
    guidance_scale: float,
    seed: int,
    batch: int = 8,
) -> Iterator[tuple[str, Tensor]]:
    """`each` images of every class prompt; yields (class, uint8 n×H×W), image i from seed + i."""
    pipe.set_progress_bar_config(disable=True)
    for label in CLASSES:
        for start in range(0, each, batch):
            count = min(batch, each - start)
            generators = [torch.Generator().manual_seed(seed + start + i) for i in range(count)]
            with torch.autocast(pipe.device.type, torch.bfloat16):
                images = pipe(
                    [BUSI_PROMPTS[label]] * count,
                    num_inference_steps=steps,
                    guidance_scale=guidance_scale,
                    generator=generators,
                    output_type="np",
                ).images
            yield label, torch.from_numpy(images.mean(-1) * 255).round().to(torch.uint8)


def grid(rows: list[Tensor], columns: int) -> Image.Image:
    """Rows of uint8 n×H×W as one picture, the first `columns` of each, two pixels between."""
    lines = [F.pad(torch.cat([*F.pad(row[:columns], (1, 1))], 1), (0, 0, 1, 1)) for row in rows]
    return Image.fromarray(torch.cat(lines).numpy())


class Recogniser(nn.Module):
    """A small residual-free classifier of 128×128 images into `CLASSES`."""

    def __init__(self) -> None:
        super().__init__()
        layers, width = [], 1
        for wider in (24, 48, 96, 128, 160):
            layers += [
                nn.Conv2d(width, wider, 3, 1 if wider > 24 else 2, 1, bias=False),
                nn.BatchNorm2d(wider),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            width = wider
        self.features = nn.Sequential(*layers)
        self.classify = nn.Linear(2 * width, len(CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        """images: uint8 N×H×W. Returns logits N×3."""
        x = images.float()[:, None]
        x = (x - x.mean((1, 2, 3), keepdim=True)) / (x.std((1, 2, 3), keepdim=True) + 1)
        x = self.features(x)
        return self.classify(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))


def train_recogniser(images: Tensor, labels: Tensor, epochs: int, seed: int) -> Recogniser:
    """Train on uint8 N×128×128 images, mirrored, shifted and of varied contrast."""
    torch.manual_seed(seed)
    model = Recogniser()
    batches = max(1, len(images) // 32)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, epochs * batches)
    for _ in range(epochs):
        for part in torch.randperm(len(images)).split(32)[:batches]:
            x = images[part]
            if torch.rand(()) < 0.5:
                x = x.flip(-1)
            x = x.roll(tuple(torch.randint(-6, 7, (2,)).tolist()), (-2, -1))
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(x)
            loss = F.cross_entropy(logits.float(), labels[part], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def recognised(model: Recogniser, images: Tensor) -> list[float]:
    """Shares of uint8 N×H×W images taken for each of `CLASSES`."""
    votes = torch.cat([model(part).argmax(1) for part in images.split(64)])
    return [round((votes == i).float().mean().item(), 3) for i in range(len(CLASSES))]
