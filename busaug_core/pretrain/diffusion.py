"""The UNet of mini and its training with the text encoder on cached latents."""

import random
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from busaug_core.base.on_cpu import attend_plainly
from busaug_core.files import write_whole
from busaug_core.jobs.device import bfloat16_where_fast, dtype_of
from busaug_core.pretrain.autoencoder import encode
from busaug_core.pretrain.config import PretrainMini
from busaug_core.pretrain.text import ADJECTIVES, CLASSES, caption, tokenize
from busaug_core.prompts import BUSI_PROMPTS
from busaug_core.train.seeded import SeededMethod, averaged

DIFFUSION = "diffusion.safetensors"
"""The averaged UNet and text encoder, as a module list of the two."""
STYLES = ("", *ADJECTIVES)


def build_unet(seed: int) -> UNet2DConditionModel:
    """7.45 M parameters: 32×32 without, 16×16 and 8×8 with attention to the text."""
    torch.manual_seed(seed)
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 96, 160),
        layers_per_block=1,
        attention_head_dim=(2, 3, 5),
        cross_attention_dim=128,
        norm_num_groups=16,
    )


def build_scheduler() -> DPMSolverMultistepScheduler:
    """SD 1.5's betas with zero terminal SNR (arXiv 2305.08891), v-prediction, trailing steps."""
    return DPMSolverMultistepScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        steps_offset=1,
    )


class Corpus:
    """Latents of simulated images with class and style, and the captions that go with them.

    latents: float16 N×4×32×32; labels: N indices into `CLASSES`; styles: N into `STYLES`.
    """

    def __init__(self, latents: Tensor, labels: Tensor, styles: Tensor) -> None:
        self.latents, self.labels, self.styles = latents, labels, styles
        self.members = {
            (c, s): torch.nonzero((labels == c) & (styles == s)).flatten()
            for c in range(len(CLASSES))
            for s in range(len(STYLES))
        }

    def batch(self, count: int, seed: int, class_weights: list[float]) -> tuple[Tensor, list[str]]:
        """`count` latents (float32) and captions: 70 % class prompt, 20 % varied, 10 % empty."""
        draw = random.Random(seed)
        chosen, prompts = [], []
        for _ in range(count):
            index = draw.choices(range(len(CLASSES)), class_weights)[0]
            label, kind, style = CLASSES[index], draw.random(), 0
            if kind < 0.7:
                prompts.append(BUSI_PROMPTS[label])
            elif kind < 0.9:
                if draw.random() < 0.6:
                    style = draw.randrange(1, len(STYLES))
                prompts.append(caption(label, STYLES[style], draw))
            else:
                prompts.append("")
            chosen.append(int(draw.choice(self.members[index, style])))
        return self.latents[chosen].float(), prompts


def restyle(images: Tensor, adjective: str) -> Tensor:
    """uint8 images with the contrast and brightness that `adjective` stands for."""
    gain, gamma = ADJECTIVES[adjective]
    x = (images.float() / 255).pow(gamma)
    return ((x - 0.5) * gain + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)


def latent_corpus(
    vae, images: Tensor, labels: Tensor, styled: int, device: torch.device
) -> Iterator[dict[str, Tensor]]:
    """Encode images and their mirror images, then `styled` of them in each adjective.

    images: uint8 N×H×W in random order of class; labels: N. Yields parts as they are done, each
    a dict of `latents`, `labels` and `styles` to be concatenated.
    """
    jobs = [(0, images, labels)]
    for style, adjective in enumerate(STYLES[1:], 1):
        some = slice((style - 1) * styled, style * styled)
        part = images[some] if len(images) >= style * styled else images[:styled]
        mark = labels[some] if len(images) >= style * styled else labels[:styled]
        jobs.append((style, restyle(part, adjective), mark))
    for style, pictures, marks in jobs:
        for part, mark in zip(pictures.split(64), marks.split(64), strict=True):
            latents = encode(vae, torch.cat([part, part.flip(-1)]), device)
            yield {
                "latents": latents.half(),
                "labels": mark.repeat(2),
                "styles": torch.full((2 * len(mark),), style),
            }


class UNetAndText(SeededMethod):
    """UNet and text encoder together, which learn to predict v.

    Timesteps are t = 999·u^(1/high_noise) for uniform u: above 1 the noisy end, where it is decided whether there is
    a lesion, is seen more often.
    """

    message = "Training UNet and text encoder"
    hold = 0.5

    def __init__(
        self,
        unet: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        corpus: Corpus,
        config: PretrainMini,
        device: torch.device,
    ):
        self.unet, self.text_encoder, self.tokenizer, self.corpus = unet, text_encoder, tokenizer, corpus
        self.config, self.seed, self.device = config, config.seed + 3, device
        self.models = nn.ModuleList([unet, text_encoder]).to(device).train()
        attend_plainly([unet, text_encoder], dtype_of("auto", device), unet.config.sample_size**2)
        self.average = averaged(self.models, 0.999)
        self.noising = DDPMScheduler.from_config(build_scheduler().config)
        self._ids: dict[str, Tensor] = {}

    def parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.models.named_parameters())

    def optimizers(self, learning_rate: float) -> list[torch.optim.Optimizer]:
        groups = [
            {"params": list(self.unet.parameters())},
            {"params": list(self.text_encoder.parameters()), "lr": learning_rate / 2},
        ]
        return [torch.optim.AdamW(groups, learning_rate, weight_decay=0.01, fused=True)]

    def state(self) -> dict[str, Tensor]:
        return {f"average.{name}": t for name, t in self.average.state_dict().items()}

    def draw(self, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Noisy latents, their velocity, timesteps and prompts' ids."""
        self.reseed(step)
        latents, prompts = self.corpus.batch(self.config.diffusion_batch, self.seed + step, self.config.class_weights)
        for prompt in set(prompts) - self._ids.keys():
            self._ids[prompt] = tokenize(self.tokenizer, [prompt])[0]
        ids = torch.stack([self._ids[p] for p in prompts])
        uniform = torch.rand(len(latents)).pow(1 / self.config.high_noise)
        timesteps = (uniform * 1000).long().clamp(max=999)
        noise = torch.randn(latents.shape)
        noisy = self.noising.add_noise(latents, noise, timesteps)
        target = self.noising.get_velocity(latents, noise, timesteps)
        return tuple(t.to(self.device) for t in (noisy, target, timesteps, ids))

    def loss(self, batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        noisy, target, timesteps, ids = batch
        with bfloat16_where_fast(self.device):
            text = self.text_encoder(ids).last_hidden_state
            predicted = self.unet(noisy, timesteps, text).sample
        return F.mse_loss(predicted.float(), target)

    def after_step(self) -> None:
        self.average.update_parameters(self.models)

    def save(self, folder: Path) -> None:
        weights = {name: t.cpu().contiguous() for name, t in self.average.module.state_dict().items()}
        write_whole(folder / DIFFUSION, lambda partial: save_file(weights, partial))
