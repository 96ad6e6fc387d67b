"""The loop that every diffusion training shares: latents once, the denoising objective, checkpoints.

What differs between methods (which parameters, how the prompt is encoded, what is saved) is a `Method`.
Order, noise and timesteps of a step are drawn from (seed, step, process) alone, so that a resumed run
goes on exactly as if it had never stopped.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from accelerate.utils import reduce
from diffusers import DDPMScheduler, StableDiffusionPipeline
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor
from torch.nn.functional import mse_loss

from busaug_core.base.loading import refuse_long
from busaug_core.errors import UserError
from busaug_core.images import load_batch
from busaug_core.jobs.checkpoint import restore_checkpoint, save_checkpoint
from busaug_core.jobs.device import join_processes
from busaug_core.jobs.events import Event, Progress
from busaug_core.jobs.interrupts import held_interrupts
from busaug_core.jobs.run import CHECKPOINT, Run
from busaug_core.records import Record
from busaug_core.train.config import DiffusionTraining

ENCODE_BATCH = 8
NO_TRAINING = "None of the chosen samples is tagged 'train'; choose others, tag some, or load a dataset with a split."


class Method(Protocol):
    """What a training method adds to the loop."""

    message: str
    pipe: StableDiffusionPipeline
    weight_decay: float

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """What is trained, by name."""

    def encode_prompts(self, prompts: list[str]) -> Tensor:
        """Text states, batch × tokens × width."""

    def after_step(self) -> None:
        """Called when the parameters have been updated."""

    def save(self, folder: Path) -> None:
        """Write the product."""


def train(
    method: Method, records: list[Record], prompts: list[str], config: DiffusionTraining, run: Run
) -> Iterator[Event]:
    """Train `method` on the records and their prompts; returns the mean loss of the last tenth.

    The objective is the denoising one of Ho et al. 2020 (or its v-parametrisation, as the base has it):
    the squared error of the UNet's prediction at a uniform timestep. A checkpoint is left every
    `checkpoint_every` steps and when the training is stopped.

    Raises:
        UserError: a prompt is too long for the base, or the loss is not finite any more
    """
    processes = join_processes()
    run.record_environment(processes=processes.num_processes)
    pipe, device = method.pipe, method.pipe.device
    refuse_long(pipe, dict.fromkeys(prompts))
    noise_scheduler = DDPMScheduler.from_config(pipe.scheduler.config)
    noise_levels = noise_scheduler.config.num_train_timesteps
    latents = yield from encode_images(pipe, [r.path for r in records], config)
    parameters = method.parameters()
    optimizer = torch.optim.AdamW(parameters.values(), lr=config.learning_rate, weight_decay=method.weight_decay)
    half = pipe.unet.dtype != torch.float32
    scaler = torch.amp.GradScaler(device.type, enabled=pipe.unet.dtype == torch.float16)
    losses = torch.zeros(config.steps)
    kept = {**parameters, "losses": losses}
    start = done = restore_checkpoint(run.folder / CHECKPOINT, kept, optimizer, scaler)

    def learn(step: int) -> None:
        generator = _generator(config.seed, step, processes.process_index)
        chosen = _draw(len(records), config, step, processes.process_index, processes.num_processes)
        clean = latents.sample(chosen, config.flip, generator).to(device)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        timesteps = torch.randint(noise_levels, (len(chosen),), generator=generator).to(device)
        noisy = noise_scheduler.add_noise(clean, noise, timesteps)
        with torch.autocast(device.type, pipe.unet.dtype, enabled=half):
            states = method.encode_prompts([prompts[i] for i in chosen])
            prediction = pipe.unet(noisy.to(pipe.unet.dtype), timesteps, states.to(pipe.unet.dtype)).sample
        loss = mse_loss(prediction.float(), _target(noise_scheduler, clean, noise, timesteps))
        if not torch.isfinite(loss):
            raise UserError(f"The loss is {loss.item()} at step {step + 1}; lower learning_rate, or set precision.")
        scaler.scale(loss).backward()
        for parameter in parameters.values():
            parameter.grad = reduce(parameter.grad, "mean")
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        method.after_step()
        losses[step] = loss.item()

    try:
        for step in range(start, config.steps):
            with held_interrupts():
                learn(step)
                done = step + 1
            if done % config.checkpoint_every == 0 and processes.is_main_process:
                save_checkpoint(run.folder / CHECKPOINT, done, kept, optimizer, scaler)
            yield Progress(done, config.steps, method.message, {"loss": float(losses[step])})
    except (GeneratorExit, KeyboardInterrupt):
        if processes.is_main_process:
            save_checkpoint(run.folder / CHECKPOINT, done, kept, optimizer, scaler)
        raise
    if processes.is_main_process:
        method.save(run.folder)
    return float(losses[-max(1, config.steps // 10) :].mean())


class Latents:
    """The autoencoder's posterior of each image and of its mirror image; drawn from afresh each step."""

    def __init__(self, moments: Tensor, scale: float):
        self.moments = moments
        """N × 2 (as is, mirrored) × 2·channels × height × width, float32 on the CPU."""
        self.scale = scale

    def sample(self, chosen: list[int], flip: bool, generator: torch.Generator) -> Tensor:
        """Latents of the chosen images, half of them mirrored at random where `flip`."""
        mirrored = torch.randint(2, (len(chosen),), generator=generator) * int(flip)
        moments = self.moments[torch.tensor(chosen), mirrored]
        return DiagonalGaussianDistribution(moments).sample(generator) * self.scale


def encode_images(pipe: StableDiffusionPipeline, paths: list[str], config: DiffusionTraining) -> Iterator[Event]:
    """Pass every image and its mirror image through the autoencoder once; returns `Latents`."""
    moments = []
    for i in range(0, len(paths), ENCODE_BATCH):
        gray = load_batch(paths[i : i + ENCODE_BATCH], config.resolution)
        images = torch.from_numpy(gray).to(pipe.device, pipe.vae.dtype)[:, None] / 127.5 - 1
        both = torch.stack([images, images.flip(-1)], 1).flatten(0, 1).expand(-1, 3, -1, -1)
        with torch.no_grad():  # not around the yield: the App may take the next event in another thread
            parameters = pipe.vae.encode(both).latent_dist.parameters.float().cpu()
        moments.append(parameters.unflatten(0, (-1, 2)))
        yield Progress(min(i + ENCODE_BATCH, len(paths)), len(paths), "Encoding images")
    return Latents(torch.cat(moments), pipe.vae.config.scaling_factor)


def _draw(n: int, config: DiffusionTraining, step: int, process: int, processes: int) -> list[int]:
    """The images of a step: each epoch is a fresh permutation, dealt out to the processes in turn."""
    first = (step * processes + process) * config.batch_size
    places = range(first, first + config.batch_size)
    orders = {p // n: np.random.default_rng([config.seed, p // n]).permutation(n) for p in places}
    return [int(orders[p // n][p % n]) for p in places]


def _generator(*entropy: int) -> torch.Generator:
    seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator().manual_seed(seed)


def _target(scheduler: DDPMScheduler, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    if scheduler.config.prediction_type == "v_prediction":
        return scheduler.get_velocity(latents, noise, timesteps)
    return noise
