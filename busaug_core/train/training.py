"""What every diffusion training does: the base with what lies on it, the images, the loop, the losses compared."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from busaug_core.base.components import COMPONENTS
from busaug_core.base.loading import refuse_long
from busaug_core.base.resting import rest
from busaug_core.base.tuned import fingerprint_of, load_base
from busaug_core.jobs.device import describe, dtype_of, pick_device
from busaug_core.jobs.events import Notice, Steps
from busaug_core.jobs.roles import held_out_images, remarks_on_training
from busaug_core.jobs.run import Run
from busaug_core.prompts import wordings_of
from busaug_core.records import SPLITS, Record, count_labels
from busaug_core.train.batch import Batches, read_masks
from busaug_core.train.config import DiffusionTraining
from busaug_core.train.curves import draw_curves
from busaug_core.train.denoising import Denoising
from busaug_core.train.images import LEFT_OUT, remarks_on_left_out
from busaug_core.train.latents import ENCODE_BATCH, encode_images
from busaug_core.train.loop import train
from busaug_core.train.validation import Validation, membership


def prepare_base(config: DiffusionTraining, run: Run, dtype: torch.dtype | None = None) -> StableDiffusionPipeline:
    """The config's base with the components that it names, frozen, noted in the run.

    It is held in `dtype`, or else in that of the arithmetic.

    Raises UserError where something cannot be loaded.
    """
    device = pick_device()
    pipe = load_base(run, config.base_model, device, dtype or dtype_of(config.precision, device))
    for component in (c for name, c in COMPONENTS.items() if name in run.used):
        component.attach(pipe, run.used[component.field].path).switch(True)
    pipe.unet.requires_grad_(False)
    torch.manual_seed(config.seed)
    run.pin(base_weights=fingerprint_of(run, config.base_model))
    run.record_environment(device=describe(device))
    return pipe


def compared_images(config: DiffusionTraining, records: list[Record], learned: list[Record]) -> list[Record]:
    """The held-out images whose losses are compared with those learned from, those that validate first."""
    return held_out_images(records, learned) if config.validate_every or config.membership else []


def train_denoising(
    method: Denoising,
    records: list[Record],
    config: DiffusionTraining,
    run: Run,
    held_out: list[Record],
    told: Callable[[str], str] = lambda prompt: prompt,
) -> Steps[dict[str, Any]]:
    """Train a method on records.

    Args:
        method: what is trained
        records: what is learned from
        config, run: the job's
        held_out: what the loss is compared on, and nothing else
        told: what the method makes of a class's prompt

    Writes `losses.png` beside the product. Returns `weights` (the file or folder), the mean `loss` of the last tenth,
    `images` by class and `remarks` on them; those `left_out` where there are several datasets; `membership` where it
    is asked for, and `validation` with the `best_step`.
    Raises UserError where a class has no prompt, a prompt is too long for the base, or the loss is not finite any
    more.
    """
    pipe = method.pipe
    every = records + held_out
    prompts = [list(map(told, wordings_of(r.label, config.prompts, config.modality))) for r in every]
    distinct = list(dict.fromkeys(wording for wordings in prompts for wording in wordings))
    refuse_long(pipe, distinct)
    left_out = run.environment.get(LEFT_OUT, [])
    remarks = remarks_on_training(records) + remarks_on_left_out(left_out)
    yield from map(Notice, remarks)
    moments = yield from encode_images(pipe, [r.path for r in every], config.resolution, run)
    if not method.trains_text:
        for i in range(0, len(distinct), ENCODE_BATCH):
            method.encode_prompts(["", *distinct[i : i + ENCODE_BATCH]])
    rest(pipe, ["vae"] if method.trains_text else ["vae", "text_encoder"])
    if config.gradient_checkpointing:
        for network in method.networks:
            network.enable_gradient_checkpointing()
    masks = read_masks(every, config.resolution) if method.takes_mask or config.lesion_weight > 1 else None
    labels = [r.label for r in every]
    method.batches = Batches(pipe, moments, prompts, config, len(records), labels, masks)
    arithmetic = dtype_of(config.precision, pipe.unet.device)
    check = None
    if config.validate_every:
        validating = [i for i in range(len(records), len(every)) if SPLITS[1] in every[i].tags]
        check = Validation(method, range(len(records)), validating, arithmetic)
    loss = yield from train(
        method, run, config.steps, config.learning_rate, arithmetic, config.checkpoint_seconds, check=check
    )
    weights = str(run.folder / method.product)
    result = {"weights": weights, "loss": loss, "images": count_labels(records), "remarks": remarks}
    if config.datasets:
        result[LEFT_OUT] = left_out
    rows = check.rows() if check is not None else []
    if run.writes and run.has_begun:
        draw_curves(run, method.message, rows)
    if check is not None:
        result |= {"validation": rows, "best_step": check.best_step}
    if config.membership and held_out:
        area = yield from membership(method, every, len(records), arithmetic)
        if area is not None:
            result["membership"] = asdict(area)
            if area.low > 0.5:
                remark = (
                    f"The loss tells training from held-out images better than chance (area under the curve "
                    f"{area.value:.2f}, {area.low:.2f} to {area.high:.2f}): these weights, or those that they were "
                    "trained on, hold something of single images. Fewer steps or more images keep less of them."
                )
                yield Notice(remark)
                result["remarks"] = [*remarks, remark]
    return result
