"""What the card reports of mini: reconstruction, prompt gap, power of the samples; and their picture."""

from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from busaug_core.errors import UserError
from busaug_core.images import load_batch
from busaug_core.jobs.device import bfloat16_where_fast
from busaug_core.pretrain.autoencoder import to_input
from busaug_core.pretrain.diffusion import build_scheduler
from busaug_core.pretrain.text import CLASSES, tokenize
from busaug_core.prompts import BUSI_PROMPTS

BANDS = {".125-.25": (0.125, 0.25), ">.25": (0.25, 1.0)}  # cycles a pixel, radial


def read_folder(folder: Path, size: int = 128) -> tuple[Tensor, Tensor]:
    """All images of a folder in BUSI's layout, masks left out, squeezed to size×size.

    Returns uint8 N×size×size and N indices into `CLASSES`, class by class in order of name.
    Raises UserError where a class has no image.
    """
    paths = [sorted(p for p in (folder / c).glob("*.png") if "_mask" not in p.name) for c in CLASSES]
    if not all(paths):
        raise UserError(f"{folder} needs the folders {', '.join(CLASSES)}, each with PNG files; name BUSI's folder.")
    labels = [index for index, members in enumerate(paths) for _ in members]
    return torch.from_numpy(load_batch([p for members in paths for p in members], size)), torch.tensor(labels)


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
    noising = DDPMScheduler.from_config(build_scheduler().config)
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
            with bfloat16_where_fast(pipe.device):
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
