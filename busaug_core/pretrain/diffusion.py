"""The UNet of mini and its training with the text encoder on cached latents."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from busaug_core.prompts import BUSI_PROMPTS

from .autoencoder import Stage, encode
from .steps import averaged, resumable_steps, set_rate
from .text import ADJECTIVES, CLASSES, caption, tokenize

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

    def batch(self, count: int, seed: int, class_weights: tuple[float, float, float]) -> tuple[Tensor, list[str]]:
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


def train_diffusion(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    corpus: Corpus,
    stage: Stage,
    class_weights: tuple[float, float, float],
    high_noise: float,
    path: Path,
    device: torch.device,
) -> Iterator[dict]:
    """Train UNet and text encoder to predict v; yield the loss and the running averages.

    Timesteps are t = 999·u^(1/high_noise) for uniform u: above 1 the noisy end, where it is
    decided whether there is a lesion, is seen more often. Each event carries `average`, the
    module list of averaged UNet and text encoder, to be exported or sampled from.
    """
    if device.type == "cpu":  # the backward pass of fused attention is slow there: 20 % of a step
        unet.set_attn_processor(AttnProcessor())
    models = nn.ModuleList([unet, text_encoder]).to(device)
    models.train()
    average = averaged(models, 0.999)
    optimizer = torch.optim.AdamW(
        [
            {"params": list(unet.parameters()), "peak": stage.learning_rate},
            {"params": list(text_encoder.parameters()), "peak": stage.learning_rate / 2},
        ],
        lr=0.0,
        weight_decay=0.01,
        fused=True,
    )
    noising = DDPMScheduler.from_config(build_scheduler().config)
    ids: dict[str, Tensor] = {}
    state = {"models": models, "average": average, "optimizer": optimizer}
    for step in resumable_steps(path, stage.steps, stage.seed, state, stage.checkpoint_every):
        set_rate(optimizer, step, stage.steps, stage.hold)
        latents, prompts = corpus.batch(stage.batch_size, stage.seed + step, class_weights)
        for prompt in set(prompts) - ids.keys():
            ids[prompt] = tokenize(tokenizer, [prompt])[0]
        tokens = torch.stack([ids[p] for p in prompts]).to(device)
        uniform = torch.rand(stage.batch_size).pow(1 / high_noise)
        timesteps = (uniform * 1000).long().clamp(max=999)
        noise = torch.randn(latents.shape)
        noisy = noising.add_noise(latents, noise, timesteps)
        target = noising.get_velocity(latents, noise, timesteps).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            text = text_encoder(tokens).last_hidden_state
            noisy = noisy.to(device)
            predicted = unet(noisy, timesteps.to(device), text).sample
        loss = F.mse_loss(predicted.float(), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(models.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(models)
        yield {"step": step + 1, "loss": loss.item(), "average": average.module}
