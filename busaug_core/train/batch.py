"""What a step of a diffusion training sees: latents, noise and timesteps, and how they were drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, StableDiffusionPipeline
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor

from busaug_core.images import resize_mask
from busaug_core.jobs.processes import join_processes
from busaug_core.records import Record

if TYPE_CHECKING:
    from busaug_core.train.config import DiffusionTraining

FIXED = 1
"""Sets the draws of validation apart from those of steps."""
CLASSES = 1
"""Sets the order of the classes apart from that of their images."""


@dataclass(frozen=True)
class Batch:
    """The draw of one step; all tensors are on the device.

    Attributes:
        chosen: the places of the B images among the records
        mirrored: bool B, which of them are left-right mirrored
        prompts: B prompts
        latents: float32 B×C×h×w, clean and scaled
        noise: float32 B×C×h×w
        timesteps: int64 B
        noisy: float32 B×C×h×w, the latents at their timesteps
        target: float32 B×C×h×w, what the base predicts: the noise, the velocity, or the clean latents
        chances: float32 2×B, uniform draws from [0, 1): whether an image loses its prompt, and its mask
        masks: bool B×S×S, their lesions, mirrored with them; None where nothing asks for them
    """

    chosen: list[int]
    mirrored: Tensor
    prompts: list[str]
    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    noisy: Tensor
    target: Tensor
    chances: Tensor
    masks: Tensor | None = None

    def part(self, places: slice) -> "Batch":
        """The draw of some of the images."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        cut = {name: v[:, places] if name == "chances" else v[places] for name, v in own.items() if v is not None}
        return Batch(**cut)


class Batches:
    """The draws of a training: each depends on (seed, step) alone, so that a resumed run goes on alike.

    Several processes share one draw, as large as all their batches; what they train is what one would on all of it.
    """

    def __init__(
        self,
        pipe: StableDiffusionPipeline,
        moments: Tensor,
        prompts: list[list[str]],
        config: "DiffusionTraining",
        trained: int | None = None,
        labels: list[str] | None = None,
        masks: Tensor | None = None,
    ):
        """What is drawn from; the first `trained` images, or all, are drawn in steps, the others are held out.

        Args:
            pipe: the base
            moments: those of the autoencoder's posterior, float32 N × 2 (as is, mirrored) × 2C × h × w
            prompts: the wordings of each image's prompt
            config: the training's
            trained: how many images are trained on
            labels: the images' classes, where `config.balance` is to draw from each equally often
            masks: bool N×S×S, where the method or `config.lesion_weight` asks for them
        """
        self.trained = len(prompts) if trained is None else trained
        self.moments, self.prompts, self.config, self.masks = moments, prompts, config, masks
        self.groups: list[Sequence[int]] = [range(self.trained)]
        if config.balance == "oversample":
            own = labels[: self.trained]
            self.groups = [[i for i, of in enumerate(own) if of == label] for label in sorted(set(own))]
        self.device, self.scale = pipe.unet.device, pipe.vae.config.scaling_factor
        self.schedule = DDPMScheduler.from_config(pipe.scheduler.config)

    def draw(self, step: int) -> Batch:
        """The batch of a step for this process."""
        processes = join_processes()
        # Dropout takes its numbers from torch's own generator.
        torch.manual_seed(_seed(self.config.seed, step, processes.process_index))
        generator = _generator(self.config.seed, step, 0)
        chosen = draw_order(self.groups, self.config, step, processes.process_index, processes.num_processes)
        size, every = len(chosen), len(chosen) * processes.num_processes
        own = slice(processes.process_index * size, (processes.process_index + 1) * size)
        mirrored = torch.randint(2, (every,), generator=generator)[own] * int(self.config.flip)
        posterior = DiagonalGaussianDistribution(self.moments[torch.tensor(chosen), mirrored])
        shape = (every, *posterior.mean.shape[1:])
        drawn = posterior.mean + posterior.std * torch.randn(shape, generator=generator)[own]
        latents = (drawn * self.scale).to(self.device)
        noise = torch.randn(shape, generator=generator)
        if self.config.noise_offset:
            noise += self.config.noise_offset * torch.randn((*shape[:2], 1, 1), generator=generator)
        noise = noise[own].to(self.device)
        levels = self.schedule.config.num_train_timesteps
        timesteps = torch.randint(levels, (every,), generator=generator)[own].to(self.device)
        chances = torch.rand((2, every), generator=generator)[:, own].to(self.device)
        wordings = torch.rand(every, generator=generator)[own].tolist()
        return Batch(
            chosen,
            mirrored.bool().to(self.device),
            [self.prompts[i][int(u * len(self.prompts[i]))] for i, u in zip(chosen, wordings, strict=True)],
            latents,
            noise,
            timesteps,
            self.schedule.add_noise(latents, noise, timesteps),
            self._target(latents, noise, timesteps),
            chances,
            self._masks(chosen, mirrored.bool()),
        )

    def fixed(self, places: Sequence[int], draw: int, draws: int) -> Batch:
        """Images at noise and a timestep that depend on the seed, their places and the draw's number alone.

        The latents are the posterior's modes, prompts in their first wording; the draws of an image lie in as many
        equal parts of the timesteps.
        """
        generators = [_generator(self.config.seed, draw, place, FIXED) for place in places]
        posterior = DiagonalGaussianDistribution(self.moments[torch.tensor(places), 0])
        latents = (posterior.mode() * self.scale).to(self.device)
        noise = torch.stack([torch.randn(latents.shape[1:], generator=g) for g in generators]).to(self.device)
        levels = self.schedule.config.num_train_timesteps
        shares = torch.stack([torch.rand((), generator=g) for g in generators])
        timesteps = ((draw + shares) / draws * levels).long().clamp(max=levels - 1).to(self.device)
        return Batch(
            list(places),
            torch.zeros(len(places), dtype=torch.bool, device=self.device),
            [self.prompts[i][0] for i in places],
            latents,
            noise,
            timesteps,
            self.schedule.add_noise(latents, noise, timesteps),
            self._target(latents, noise, timesteps),
            torch.ones((2, len(places)), device=self.device),
            self._masks(places, torch.zeros(len(places), dtype=torch.bool)),
        )

    def weights(self, timesteps: Tensor) -> Tensor:
        """What the error at each timestep counts, float32 B: min(SNR, γ) by what is predicted, or one.

        Hang et al. 2023, arXiv 2303.09556, equation 8 for the noise; for the velocity over SNR + 1, not over SNR.
        """
        if self.config.snr_gamma is None:
            return torch.ones(timesteps.shape, device=timesteps.device)
        signal = self.schedule.alphas_cumprod.to(timesteps.device)[timesteps]
        ratio = signal / (1 - signal)
        clipped = ratio.clamp(max=self.config.snr_gamma)
        match self.schedule.config.prediction_type:
            case "v_prediction":
                return clipped / (ratio + 1)
            case "sample":
                return clipped
        return clipped / ratio

    def weights_within(self, batch: Batch) -> Tensor | None:
        """What the error at each place of an image counts, float32 B×1×h×w, one on average; None where all count alike.

        A place counts by the share of it that lies in a lesion: `lesion_weight` times as much where all of it does.
        """
        if self.config.lesion_weight == 1:
            return None
        inside = F.adaptive_avg_pool2d(batch.masks[:, None].float(), batch.latents.shape[-2:])
        weights = 1 + (self.config.lesion_weight - 1) * inside
        return weights / weights.mean((2, 3), keepdim=True)

    def _masks(self, places: Sequence[int], mirrored: Tensor) -> Tensor | None:
        if self.masks is None:
            return None
        masks = self.masks[torch.tensor(places)]
        return torch.where(mirrored[:, None, None], masks.flip(-1), masks).to(self.device)

    def _target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the base predicts; of another kind than these `load_pipeline` lets no base through."""
        match self.schedule.config.prediction_type:
            case "v_prediction":
                return self.schedule.get_velocity(latents, noise, timesteps)
            case "sample":
                return latents
        return noise


def read_masks(records: list[Record], size: int) -> Tensor:
    """The lesions of each image, bool N×size×size."""
    return torch.from_numpy(np.stack([resize_mask(r.lesion_mask(), size) for r in records]))


def draw_order(
    groups: Sequence[Sequence[int]], config: "DiffusionTraining", step: int, process: int, processes: int
) -> list[int]:
    """The images of a step, from each group equally often, dealt out to the processes in turn.

    Each turn takes an image of every group, the groups in an order of its own; each epoch of a group is a fresh
    permutation.
    """
    first, drawn = (step * processes + process) * config.batch_size, []
    for place in range(first, first + config.batch_size):
        turn, at = divmod(place, len(groups))
        group = _shuffled(len(groups), config.seed, turn, 0, CLASSES)[at]
        epoch, at = divmod(turn, len(groups[group]))
        # NumPy takes no notice of zeros at the end, so that a group alone has the order of versions without groups.
        drawn.append(groups[group][_shuffled(len(groups[group]), config.seed, epoch, group)[at]])
    return drawn


@lru_cache(64)
def _shuffled(n: int, *entropy: int) -> list[int]:
    return np.random.default_rng(entropy).permutation(n).tolist()


def _generator(*entropy: int) -> torch.Generator:
    return torch.Generator().manual_seed(_seed(*entropy))


def _seed(*entropy: int) -> int:
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)
