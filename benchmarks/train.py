"""The four diffusion trainings beside diffusers' plain loop: step time, images a second, peak memory.

    python benchmarks/train.py                                                        # `mini` at 128 px
    python benchmarks/train.py --base stable-diffusion --batches 4 16 --steps 20      # on a GPU: 512 px, bf16
    python benchmarks/train.py --base stable-diffusion --batches 16 --set compile=True
    python benchmarks/train.py --only train_lora --set gradient_checkpointing=True

Plain is the loop of diffusers' example scripts: every step reads its images, encodes them and their prompts; batch,
dtypes, layers, optimizer and (of the UNet) moving average are ours. Both run in turns, each time in a process of its
own; the numbers are medians over the rounds, of the steps after the first. `start` is the time from the call to the
end of the first step; ours encodes all images in it in the first round, and finds them on disk in later ones. TFLOP/s
are those of UNet and ControlNet, and on a GPU stand beside those of a product of large matrices. Images
are simulated scans; `stable-diffusion` is v1-5's architecture with random weights.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

TRAININGS = ("train_lora", "train_textual_inversion", "finetune_unet", "train_controlnet")
WAYS = ("plain", "ours")
DATASET = "benchmark-train"


def main() -> None:
    """Print a line for each training, batch size and way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="mini", help="mini, a base of your own, or stable-diffusion (random weights)")
    parser.add_argument("--size", type=int, help="pixels; the base's own")
    parser.add_argument("--batches", type=int, nargs="+", help="batch sizes; the base's own")
    parser.add_argument("--steps", type=int, default=6, help="of each process, the first of which is not counted")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=TRAININGS, default=TRAININGS)
    parser.add_argument("--precision", choices=["fp32", "bf16"], help="of both; bf16 on a GPU, else fp32")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="further settings of ours")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        measure(**json.loads(options.run))
    with tempfile.TemporaryDirectory() as home:
        os.environ["BUSAUG_HOME"] = home
        compare(options, Path(home))


def compare(options: argparse.Namespace, home: Path) -> None:
    """Measure both ways in turns."""
    import torch

    from busaug_core.base.defaults import defaults_of

    base = options.base
    if base == "stable-diffusion":
        from _random_stable_diffusion import write_random_stable_diffusion

        write_random_stable_diffusion(home / base)
        base = str(home / base)
    defaults, cuda = defaults_of(base), torch.cuda.is_available()
    size, precision = options.size or defaults.resolution, options.precision or ("bf16" if cuda else "fp32")
    prepare(options.images, size)
    device = torch.cuda.get_device_name() if cuda else f"{torch.get_num_threads()} threads of a CPU"
    print(f"{options.base}, {size} px, {precision}, {device}, {options.rounds} rounds of {options.steps} steps")
    if cuda:
        print(f"a product of large matrices in bf16: {rate_of_matrices():.0f} TFLOP/s")
    columns = f"{'s/step':>8} {'CPU s':>8} {'images/s':>9} {'MiB':>7} {'TFLOP/s':>7} {'start':>6}  loss"
    print(f"{'training':24} {'batch':>5} {'way':6} {columns}", flush=True)
    more = dict(item.split("=", 1) for item in options.set)
    for name in options.only:
        flops = flops_of(name, base, size, more)
        for batch in options.batches or [defaults.train_batch_size]:
            given = dict(name=name, base=base, size=size, batch=batch, steps=options.steps, precision=precision)
            found: dict[str, list[dict[str, float]]] = {way: [] for way in options.ways}
            for number in range(options.rounds):
                for way in options.ways:
                    turn = json.dumps(dict(given, way=way, more=more, number=number))
                    command = [sys.executable, __file__, "--run", turn]
                    done = subprocess.run(command, capture_output=True, text=True)
                    if done.returncode:
                        print(f"{name:24} {batch:5} {way:6} failed: {done.stderr.strip()[-200:]}", flush=True)
                        break
                    found[way].append(json.loads(done.stdout.splitlines()[-1]))
            if all(found.values()):
                show(name, batch, found, flops * batch)


def show(name: str, batch: int, found: dict[str, list[dict[str, float]]], flops: float) -> None:
    """A line for each way, and the ratios of plain to ours."""
    middle = {way: {key: median(row[key] for row in rows) for key in rows[0]} for way, rows in found.items()}
    for way, row in middle.items():
        print(
            f"{name:24} {batch:5} {way:6} {row['wall']:8.3f} {row['cpu']:8.3f} {batch / row['wall']:9.2f} "
            f"{row['peak']:7.0f} {flops / row['wall'] / 1e12:7.2f} {row['start']:6.1f}  {row['loss']:.4f}",
            flush=True,
        )
    if len(middle) == len(WAYS):
        ratios = {key: middle["plain"][key] / middle["ours"][key] for key in ("wall", "cpu", "peak")}
        ratio = f"{ratios['wall']:8.2f} {ratios['cpu']:8.2f} {ratios['wall']:9.2f} {ratios['peak']:7.2f}"
        print(f"{'':24} {'':5} ratio  {ratio}", flush=True)


def prepare(images: int, size: int) -> None:
    """Simulated scans with masks, four fifths of them for training."""
    from _runs import run

    source = dict(source="simulated", images=images, image_size=min(size, 512), dataset_name=DATASET)
    run("load_busi", [], DATASET, run_key="load", **source)


def rate_of_matrices(size: int = 8192, times: int = 20) -> float:
    """What the GPU does in bfloat16 at its best, TFLOP/s."""
    import torch

    one, other = torch.randn((2, size, size), device="cuda", dtype=torch.bfloat16)
    for _ in range(times):
        one @ other
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(times):
        one @ other
    torch.cuda.synchronize()
    return times * 2 * size**3 / (time.perf_counter() - begun) / 1e12


def flops_of(name: str, base: str, size: int, more: dict[str, str]) -> float:
    """Floating-point operations of a forward and backward pass of UNet and ControlNet on one image."""
    import torch
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
    from peft import LoraConfig
    from torch.utils.flop_counter import FlopCounterMode

    from busaug_core.base.defaults import MINI, MINI_FOLDER, defaults_of
    from busaug_core.train.controlnet import WIDTHS
    from busaug_core.train.lora import LAYERS

    folder = MINI_FOLDER if base == MINI else Path(base)
    factor = 2 ** (len(AutoencoderKL.load_config(folder / "vae")["block_out_channels"]) - 1)
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder / "unet"))
        unet.requires_grad_(name == "finetune_unet")
        if name == "train_lora":
            defaults = defaults_of(base)
            rank, layers = more.get("rank", defaults.lora_rank), more.get("layers", defaults.lora_layers)
            unet.add_adapter(LoraConfig(r=int(rank), target_modules=LAYERS[layers]))
        states = torch.zeros(1, 77, unet.config.cross_attention_dim)
        states.requires_grad_(name == "train_textual_inversion")
        given = (torch.zeros(1, unet.config.in_channels, size // factor, size // factor), torch.zeros(1), states)
        with FlopCounterMode(display=False) as counter:
            added = {}
            if name == "train_controlnet":
                widths = WIDTHS[: factor.bit_length()]
                controlnet = ControlNetModel.from_unet(
                    unet, conditioning_embedding_out_channels=widths, load_weights_from_unet=False
                )
                controlnet.requires_grad_(True)
                down, middle = controlnet(*given, torch.zeros(1, 3, size, size), return_dict=False)
                added = dict(down_block_additional_residuals=down, mid_block_additional_residual=middle)
            unet(*given, **added).sample.sum().backward()
    return counter.get_total_flops()


def measure(way: str, name: str, steps: int, **settings: Any) -> None:
    """Train in this process, and end it; prints a JSON document.

    It holds `wall` and `cpu` seconds a step after the first, MiB of `peak`, seconds to the end of the first step
    (`start`), and the last `loss`.
    """
    import torch

    begun = time.perf_counter()
    marks, losses = [], []
    running = {"plain": plain, "ours": ours}[way](name=name, steps=steps, **settings)
    for loss in running:
        losses.append(loss)
        marks.append((time.perf_counter(), time.process_time()))
        if len(losses) == steps:
            break
    (first, first_cpu), (last, last_cpu) = marks[0], marks[-1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated() / 2**20
    counted = steps - 1
    wall, cpu = (last - first) / counted, (last_cpu - first_cpu) / counted
    print(json.dumps(dict(wall=wall, cpu=cpu, peak=peak, start=first - begun, loss=losses[-1])), flush=True)
    os._exit(0)  # neither a checkpoint nor a product is wanted


def ours(
    name: str, base: str, size: int, batch: int, steps: int, precision: str, more: dict[str, Any], number: int
) -> Iterator[float]:
    """The losses of the job's steps, as they are done."""
    from busaug_core.jobs.events import Progress
    from busaug_core.jobs.runs import run_of
    from busaug_core.registry import job

    values = dict(base_model=base, resolution=size, batch_size=batch, steps=steps, precision=precision)
    values |= dict(membership=False, checkpoint_seconds=1e9, run_key=f"{name}_{batch}_{number}", **more)
    for event in job(name).run(values, run_of(DATASET, "load").products, DATASET):
        if isinstance(event, Progress) and "loss" in event.values:
            yield event.values["loss"]


def plain(
    name: str, base: str, size: int, batch: int, steps: int, precision: str, more: dict[str, Any], number: int
) -> Iterator[float]:
    """The losses of a loop as diffusers' example scripts have it."""
    import numpy as np
    import torch
    from diffusers import ControlNetModel, DDPMScheduler, StableDiffusionPipeline
    from diffusers.training_utils import EMAModel, cast_training_params
    from peft import LoraConfig
    from PIL import Image
    from torch.nn.functional import mse_loss

    from busaug_core.base.defaults import MINI, MINI_FOLDER, defaults_of
    from busaug_core.jobs.roles import masked_images, training_images
    from busaug_core.jobs.runs import run_of
    from busaug_core.prompts import BUSI_PROMPTS, prompt_of, with_token
    from busaug_core.train.controlnet import WIDTHS
    from busaug_core.train.lora import LAYERS

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype, defaults = dict(fp32=torch.float32, bf16=torch.bfloat16)[precision], defaults_of(base)
    folder = str(MINI_FOLDER) if base == MINI else base
    pipe = StableDiffusionPipeline.from_pretrained(folder, dtype=dtype, safety_checker=None).to(device)
    unet, vae, text_encoder, tokenizer = pipe.unet, pipe.vae, pipe.text_encoder, pipe.tokenizer
    for part in (unet, vae, text_encoder):
        part.requires_grad_(False)
    schedule = DDPMScheduler.from_config(pipe.scheduler.config)
    records = training_images(run_of(DATASET, "load").products)
    controlnet = average = None
    told = lambda prompt: prompt  # noqa: E731
    match name:
        case "train_lora":
            unet.add_adapter(
                LoraConfig(
                    r=int(more.get("rank", defaults.lora_rank)),
                    target_modules=LAYERS[more.get("layers", defaults.lora_layers)],
                )
            )
            cast_training_params(unet, torch.float32)
            trained, rate = [p for p in unet.parameters() if p.requires_grad], defaults.lora_learning_rate
        case "train_textual_inversion":
            tokenizer.add_tokens("<us>")
            text_encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
            text_encoder.to(torch.float32)
            trained, rate = (
                [text_encoder.get_input_embeddings().weight.requires_grad_(True)],
                defaults.token_learning_rate,
            )
            told = lambda prompt: with_token(prompt, "<us>")  # noqa: E731
        case "finetune_unet":
            unet.to(torch.float32).requires_grad_(True)
            average = EMAModel(unet.parameters(), decay=0.999)
            average.to(device)
            trained, rate = list(unet.parameters()), defaults.unet_learning_rate
        case "train_controlnet":
            records = masked_images(records)
            widths = WIDTHS[: pipe.vae_scale_factor.bit_length()]
            controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=widths)
            controlnet.to(device, torch.float32).requires_grad_(True)
            trained, rate = list(controlnet.parameters()), defaults.controlnet_learning_rate
    optimizer = torch.optim.AdamW(trained, lr=rate)
    rng = np.random.default_rng(number)

    def tensor(picture: Image.Image, mode: str) -> torch.Tensor:
        return torch.from_numpy(np.array(picture.convert(mode).resize((size, size)))).float() / 255

    for _ in range(steps):
        chosen = [records[i] for i in rng.choice(len(records), batch)]
        images = torch.stack([tensor(Image.open(r.path), "RGB").permute(2, 0, 1) * 2 - 1 for r in chosen])
        with torch.no_grad():
            latents = vae.encode(images.to(device, dtype)).latent_dist.sample() * vae.config.scaling_factor
        noise = torch.randn_like(latents)
        timesteps = torch.randint(schedule.config.num_train_timesteps, (batch,), device=device)
        noisy = schedule.add_noise(latents, noise, timesteps)
        prompts = [told(prompt_of(r.label, BUSI_PROMPTS)) for r in chosen]
        ids = tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids.to(device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            states, added = text_encoder(ids)[0], {}
            if controlnet is not None:
                masks = [tensor(Image.fromarray(r.lesion_mask()), "L") for r in chosen]
                condition = torch.stack(masks)[:, None].expand(-1, 3, -1, -1).to(device)
                down, middle = controlnet(noisy, timesteps, states, condition, return_dict=False)
                added = dict(down_block_additional_residuals=down, mid_block_additional_residual=middle)
            predicted = unet(noisy.to(unet.dtype), timesteps, states.to(unet.dtype), **added).sample
            target = schedule.get_velocity(latents, noise, timesteps)
            target = target if schedule.config.prediction_type == "v_prediction" else noise
            loss = mse_loss(predicted.float(), target.float())
        loss.backward()
        if name in ("finetune_unet", "train_controlnet"):
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if average is not None:
            average.step(unet.parameters())
        yield loss.item()


if __name__ == "__main__":
    main()
