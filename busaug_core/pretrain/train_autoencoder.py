"""How the autoencoder of mini is trained, in two stages.

First encoder and decoder together, by pixels, gradients and local statistics; then the decoder alone, held to the
pixels only where the latents can carry them, to local statistics and spectrum above that, and to a relativistic patch
discriminator for what texture looks like.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor, nn

from busaug_core.files import write_whole
from busaug_core.jobs.device import bfloat16_where_fast
from busaug_core.pretrain.losses import decorrelation_loss, gradient_loss, low_pass, spectral_loss, statistic_loss
from busaug_core.pretrain.method import PartMethod, averaged

ENCODER, DECODER = "encoder.safetensors", "decoder.safetensors"
"""The whole autoencoder after either stage, not yet whitened."""


class OnCrops(PartMethod):
    """A training on 64×64 crops of uint8 N×128×128 images."""

    def __init__(self, vae: AutoencoderKL, images: Tensor, batch_size: int, seed: int, device: torch.device):
        self.vae, self.images, self.batch_size, self.seed = vae.to(device).train(), images, batch_size, seed
        self.device = device

    def draw(self, step: int) -> tuple[int, Tensor]:
        """The step and its crops, float N×1×64×64 in −1…1."""
        self.reseed(step)
        return step, crops(self.images, self.batch_size, 64).to(self.device)

    def autocast(self, enabled: bool = True) -> torch.autocast:
        """The networks' bfloat16, where the device is fast at it."""
        return bfloat16_where_fast(self.device, enabled)


class WholeAutoencoder(OnCrops):
    """Encoder and decoder together."""

    message = "Training the autoencoder"
    hold = 0.3

    def parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.vae.named_parameters())

    def optimizers(self, learning_rate: float) -> list[torch.optim.Optimizer]:
        return [torch.optim.AdamW(self.vae.parameters(), learning_rate, weight_decay=0.01, fused=True)]

    def loss(self, batch: tuple[int, Tensor]) -> Tensor:
        _, target = batch
        with self.autocast():
            posterior = self.vae.encode(target.expand(-1, 3, -1, -1)).latent_dist
            output = self.vae.decode(posterior.sample()).sample
        output, mean = output.float(), posterior.mean.float()
        target = target.expand_as(output)
        pixel = F.l1_loss(output, target)
        statistic = statistic_loss(output, target)
        self.values = {"pixel": pixel.item(), "statistic": statistic.item()}
        return (
            pixel
            + 0.5 * gradient_loss(output, target)
            + 0.1 * statistic
            + 0.05 * decorrelation_loss(mean)
            + 1e-6 * posterior.kl().float().mean()
        )

    def save(self, folder: Path) -> None:
        write_whole(folder / ENCODER, lambda partial: save_file(self.vae.state_dict(), partial))


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
        self.decoder = nn.ModuleList([vae.post_quant_conv, vae.decoder]).requires_grad_(True)
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

    def save(self, folder: Path) -> None:
        self.decoder.load_state_dict(self.average.module.state_dict())
        write_whole(folder / DECODER, lambda partial: save_file(self.vae.state_dict(), partial))


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
