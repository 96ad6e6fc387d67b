"""The job `finetune_decoder`: the autoencoder's decoder alone, so that latents stay what they are.

A decoder that has never seen a scan paints another texture than a scanner does, whatever the latents say: on BUSI that
is most of the distance between real images and the same out of the autoencoder. It is held to the pixels only where
the latents can carry them, to local statistics and spectrum above that, and to a relativistic patch discriminator for
what texture looks like.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import Tensor, nn

from busaug_core.base.autoencoder import reconstruct
from busaug_core.base.components import VAE
from busaug_core.base.on_cpu import use_fast_norms
from busaug_core.errors import UserError
from busaug_core.files import write_whole
from busaug_core.images import load_batch
from busaug_core.jobs.device import bfloat16_where_fast, dtype_of
from busaug_core.jobs.events import Notice, Progress, Steps
from busaug_core.jobs.roles import held_out_images, remarks_on_training
from busaug_core.jobs.run import Run
from busaug_core.metrics.estimate import Estimate
from busaug_core.metrics.speckle import spectrum
from busaug_core.prompts import proposed
from busaug_core.records import Record, count_labels
from busaug_core.train.card import write_card
from busaug_core.train.config import FinetuneDecoder
from busaug_core.train.image_losses import low_pass, spectral_loss, statistic_loss
from busaug_core.train.learned_images import LEFT_OUT, learned_images, remarks_on_left_out
from busaug_core.train.loop import train
from busaug_core.train.seeded import SeededMethod, averaged
from busaug_core.train.training import prepare_base
from busaug_core.train.validation import membership_area, remarks_on_membership, spaced

LATENTS = 16
"""Latents that a crop is wide and high."""
FINE = 0.25
"""Cycles a pixel above which lies what pixels cannot teach: speckle, thin lines."""
PART = 8
"""Images that pass through the autoencoder at once."""
COMPARED = 200
"""At most so many images tell what the decoder is like."""
UNCHANGED = 0.5
"""Mean change of a decoded image, in gray levels, that nobody sees."""
ALIKE = 0.05
"""Gray levels by which the decoder may differ, in the mean, once it has been saved and loaded."""


def finetune_decoder(config: FinetuneDecoder, run: Run) -> Steps[dict[str, Any]]:
    """Tune the decoder on the training split's images; the moving average of its weights is what is kept.

    Returns `weights` (a folder in diffusers' layout), the mean `loss` of the last tenth, `images` by class and
    `remarks`; `trained_parameters` and their `share_of_unet`; `reconstruction`, what images out of the autoencoder are
    like before and after, held-out ones where there are some, see `fidelity`; `read_back`, the mean change of these in
    gray levels and the difference once the file is loaded; `membership` where it is asked for, by how near images are
    to themselves.
    Raises UserError where no sample trains, the loss is not finite any more, or what was saved does not give what was
    trained.
    """
    records = yield from learned_images(config, run)
    pipe = prepare_base(config, run, torch.float32)
    left_out = run.environment.get(LEFT_OUT, [])
    remarks = [*remarks_on_training(records), *remarks_on_left_out(left_out)]
    yield from map(Notice, remarks)
    told = len(remarks)
    pixels = load_batch([r.path for r in records], config.resolution)
    held_out = held_out_images(run.records, records)
    # Without any, training images tell at least whether something changed.
    chosen = spaced(held_out or records, min(COMPARED, len(held_out or records)))
    shown = load_batch([r.path for r in chosen], config.resolution)
    before = yield from _decoded(pipe, shown)
    original = {name: weight.clone() for name, weight in pipe.vae.state_dict().items()}
    use_fast_norms([pipe.vae], dtype_of("auto", pipe.device))
    method = DecoderAlone(pipe.vae, torch.from_numpy(pixels), config.batch_size, config.seed, pipe.device)
    settings = config.steps, config.learning_rate, torch.float32, config.checkpoint_seconds
    loss = yield from train(method, run, *settings)
    pipe.vae.eval()
    after = yield from _decoded(pipe, shown)
    trained = sum(parameter.numel() for parameter in method.parameters().values())
    result = {
        "weights": str(run.folder / VAE.product.name),
        "loss": loss,
        "images": count_labels(records),
        "trained_parameters": trained,
        "share_of_unet": trained / sum(p.numel() for p in pipe.unet.parameters()),
        "reconstruction": {
            "of": f"{len(chosen)} {'held-out' if held_out else 'training'} images",
            "before": fidelity(shown, before),
            "after": fidelity(shown, after),
        },
    }
    if config.datasets:
        result[LEFT_OUT] = left_out
    if config.membership and held_out:
        area = yield from _membership(pipe, records, held_out, config.resolution)
        if area is not None:
            result["membership"] = asdict(area)
            remarks += remarks_on_membership(area)
    pipe.vae.load_state_dict(original)
    VAE.attach(pipe, Path(result["weights"])).switch(True)
    loaded = yield from _decoded(pipe, shown)
    change, difference = _distance(before, loaded), _distance(after, loaded)
    if difference > ALIKE:
        raise UserError(
            f"{result['weights']}, put on the base again, does not give what was trained: decoded images differ by "
            f"{difference:.2g} gray levels. The file was damaged when it was written."
        )
    if change < UNCHANGED:
        remarks.append(
            f"Decoded images change by {change:.2g} gray levels in the mean, which nobody sees; train for more steps."
        )
    yield from map(Notice, remarks[told:])
    result |= {"read_back": {"change": change, "difference": difference}, "remarks": remarks}
    if run.writes and run.has_begun:
        compared = len(held_out) if config.membership else len(chosen) if held_out else 0
        write_card(run, config, result, records, compared, proposed(records[0].label))
    return result


def fidelity(images: np.ndarray, decoded: np.ndarray) -> dict[str, float]:
    """What images out of the autoencoder, uint8 N×S×S, keep of those that went in.

    Returns the mean `psnr` in dB, and `fine_power`, their power above a quarter of a cycle a pixel over that of these.
    """
    error = np.square(images.astype(float) - decoded).mean((1, 2))
    frequencies, power = spectrum(decoded)
    _, own = spectrum(images)
    fine = frequencies > FINE
    return {
        "psnr": float(np.mean(10 * np.log10(255**2 / np.maximum(error, 1e-3)))),
        "fine_power": float(power[:, fine].sum() / own[:, fine].sum()),
    }


def _decoded(pipe: StableDiffusionPipeline, images: np.ndarray) -> Steps[np.ndarray]:
    """Images, uint8 N×S×S, through the autoencoder."""
    found = []
    for i in range(0, len(images), PART):
        found.append(reconstruct(pipe, images[i : i + PART]))
        yield Progress(min(i + PART, len(images)), len(images), "Passing images through the autoencoder")
    return np.concatenate(found)


def _distance(images: np.ndarray, others: np.ndarray) -> float:
    return float(np.abs(images.astype(float) - others).mean())


def _membership(
    pipe: StableDiffusionPipeline, records: list[Record], held_out: list[Record], side: int
) -> Steps[Estimate | None]:
    """How well the error of the decoded images tells training from held-out ones."""
    images = load_batch([r.path for r in records + held_out], side)
    decoded = yield from _decoded(pipe, images)
    errors = np.abs(images.astype(float) - decoded).mean((1, 2))
    return membership_area(errors, records + held_out, len(records))


class OnCrops(SeededMethod):
    """A training on crops of uint8 N×H×W images, 16 latents wide: 64 pixels on mini, 128 on Stable Diffusion."""

    def __init__(self, vae: AutoencoderKL, images: Tensor, batch_size: int, seed: int, device: torch.device):
        self.vae, self.images, self.batch_size, self.seed = vae.to(device).train(), images, batch_size, seed
        factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.device, self.side = device, min(LATENTS * factor, *images.shape[1:])

    def draw(self, step: int) -> tuple[int, Tensor]:
        """The step and its crops, float N×1×S×S in −1…1."""
        self.reseed(step)
        return step, crops(self.images, self.batch_size, self.side).to(self.device)

    def autocast(self, enabled: bool = True) -> torch.autocast:
        """The networks' bfloat16, where the device is fast at it."""
        return bfloat16_where_fast(self.device, enabled)


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


class DecoderAlone(OnCrops):
    """The decoder, taught what pixels cannot teach; the latents stay what they are.

    The relativistic pairing loss and R1 + R2 follow Huang et al. 2024 (arXiv 2501.05441); the adversarial gradient is
    scaled to half of the pixels' at the last layer as in Esser et al. 2021 (arXiv 2012.09841, eq. 7).
    """

    message = "Training the decoder"
    hold = 0.6

    def __init__(self, vae: AutoencoderKL, images: Tensor, batch_size: int, seed: int, device: torch.device):
        super().__init__(vae.requires_grad_(False), images, batch_size, seed, device)
        self.decoder = nn.ModuleList(filter(None, [vae.post_quant_conv, vae.decoder])).requires_grad_(True)
        self.average = averaged(self.decoder, 0.995)
        self.discriminator = Discriminator().to(device)

    def parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.decoder.named_parameters())

    def optimizers(self, learning_rate: float) -> list[torch.optim.Optimizer]:
        decoder, discriminator = self.decoder.parameters(), self.discriminator.parameters()
        self.discriminating = torch.optim.AdamW(discriminator, 2 * learning_rate, betas=(0.0, 0.99), fused=True)
        return [torch.optim.AdamW(decoder, learning_rate, betas=(0.5, 0.99), fused=True), self.discriminating]

    def state(self) -> dict[str, Tensor]:
        parts = {"average": self.average, "discriminator": self.discriminator}
        return {f"{part}.{name}": t for part, module in parts.items() for name, t in module.state_dict().items()}

    def loss(self, batch: tuple[int, Tensor]) -> Tensor:
        step, real = batch
        with self.autocast():
            latents = self.vae.encode(real.expand(-1, 3, -1, -1)).latent_dist.sample()
            output = self.vae.decode(latents).sample
        fake = output.float().mean(1, keepdim=True)
        coarse = F.interpolate(F.avg_pool2d(real, 8), scale_factor=8, mode="bilinear")
        adversarial, discriminated = self._compare(real, fake, coarse, penalty=step % 6 == 0)
        pixel = F.l1_loss(low_pass(fake), low_pass(real)) + 0.4 * F.l1_loss(fake, real)
        statistic, spectral = statistic_loss(fake, real), spectral_loss(fake, real)
        last = self.vae.decoder.conv_out.weight
        slope = torch.autograd.grad(pixel, last, retain_graph=True)[0].norm()
        against = torch.autograd.grad(adversarial, last, retain_graph=True)[0].norm()
        weight = 0.5 * (slope / (against + 1e-6)).clamp(max=10.0) * min(1.0, step / 100)
        parts = dict(pixel=pixel, statistic=statistic, spectral=spectral, discriminator=discriminated, weight=weight)
        self.values = {name: value.item() for name, value in parts.items()}
        return pixel + 0.05 * statistic + 0.1 * spectral + weight * adversarial

    def _compare(self, real: Tensor, fake: Tensor, coarse: Tensor, penalty: bool) -> tuple[Tensor, Tensor]:
        """A step of the discriminator; returns the decoder's adversarial loss and the discriminator's own."""
        truth = real.clone().requires_grad_(penalty)
        guess = fake.detach().requires_grad_(penalty)
        with self.autocast(not penalty):
            logits = self.discriminator(torch.cat([truth, guess]), coarse.repeat(2, 1, 1, 1)).float()
        on_real, on_fake = logits.chunk(2)
        loss = F.softplus(on_fake - on_real).mean()
        if penalty:
            slopes = torch.autograd.grad(logits.mean((1, 2, 3)).sum(), [truth, guess], create_graph=True)
            loss = loss + 0.3 * sum(s.square().sum((1, 2, 3)).mean() for s in slopes)
        self.discriminating.zero_grad()
        loss.backward()
        self.discriminating.step()

        self.discriminator.requires_grad_(False)
        with self.autocast():
            on_fake = self.discriminator(fake, coarse).float()
        self.discriminator.requires_grad_(True)
        return F.softplus(on_real.detach() - on_fake).mean(), loss

    def after_step(self) -> None:
        self.average.update_parameters(self.decoder)

    def keep_average(self) -> None:
        """Put the average of the weights in their place."""
        self.decoder.load_state_dict(self.average.module.state_dict())

    def save(self, folder: Path) -> None:
        self.keep_average()
        write_whole(folder / VAE.product.name, self.vae.save_pretrained)


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
