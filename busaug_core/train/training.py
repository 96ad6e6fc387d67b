"""What every diffusion training does: the base with what lies on it, the images, the loop, the losses compared."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from busaug_core.base.components import COMPONENTS
from busaug_core.base.loading import refuse_long
from busaug_core.base.offload import offload
from busaug_core.base.on_cpu import attend_plainly, use_fast_norms
from busaug_core.base.tuned import fingerprint_of, load_base
from busaug_core.jobs.device import describe, dtype_of, pick_device
from busaug_core.jobs.events import Notice, Steps
from busaug_core.jobs.processes import is_main_process
from busaug_core.jobs.roles import held_out_images, remarks_on_training
from busaug_core.jobs.run import Run
from busaug_core.prompts import wordings_of
from busaug_core.records import SPLITS, Record, count_labels
from busaug_core.train.batch import Batches, read_masks
from busaug_core.train.card import write_card
from busaug_core.train.config import BaseTraining, DiffusionTraining
from busaug_core.train.curves import Curves
from busaug_core.train.denoising import Denoising
from busaug_core.train.latents import ENCODE_BATCH, encode_images
from busaug_core.train.learned_images import LEFT_OUT, remarks_on_left_out
from busaug_core.train.loop import train
from busaug_core.train.outlook import Outlook
from busaug_core.train.read_back import fixed_prediction, read_back
from busaug_core.train.samples import Samples
from busaug_core.train.validation import Validation, membership, remarks_on_membership


def prepare_base(config: BaseTraining, run: Run, dtype: torch.dtype | None = None) -> StableDiffusionPipeline:
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
    remarks: Sequence[str] = (),
) -> Steps[dict[str, Any]]:
    """Train a method on records.

    Args:
        method: what is trained
        records: what is learned from
        config, run: the job's
        held_out: what the loss is compared on, and nothing else
        told: what the method makes of a class's prompt
        remarks: what is to be said of the images beside `remarks_on_training`

    Writes `losses.png` and a card beside the product, and `samples/` where they are asked for. Returns `weights` (the
    file or folder), the mean `loss` of the last tenth, `images` by class and `remarks`; those `left_out` where there
    are several datasets; `trained_parameters`, their `share_of_unet` and the `estimated_memory` in bytes; `read_back`,
    how the saved product and the base differ; `membership` where it is asked for, and `validation` with the
    `best_step`.
    Raises UserError where a class has no prompt, a prompt is too long for the base, the loss is not finite any more,
    or what was saved does not give what was trained.
    """
    pipe = method.pipe
    every = records + held_out
    prompts = [list(map(told, wordings_of(r.label, config.prompts, config.modality))) for r in every]
    distinct = list(dict.fromkeys(wording for wordings in prompts for wording in wordings))
    refuse_long(pipe, distinct)
    left_out = run.environment.get(LEFT_OUT, [])
    remarks = [*remarks, *remarks_on_training(records), *remarks_on_left_out(left_out)]
    yield from map(Notice, remarks)
    moments = yield from encode_images(pipe, [r.path for r in every], config.resolution, run)
    if not method.trains_text:
        for i in range(0, len(distinct), ENCODE_BATCH):
            method.encode_prompts(["", *distinct[i : i + ENCODE_BATCH]])
    offload(pipe, ["vae"] if method.trains_text else ["vae", "text_encoder"])
    if config.gradient_checkpointing:
        for network in method.networks:
            network.enable_gradient_checkpointing()
    arithmetic = dtype_of(config.precision, pipe.unet.device)
    attend_plainly(method.networks, arithmetic, moments[0, 0, 0].numel())
    if method.trains_text:
        attend_plainly([pipe.text_encoder], arithmetic)
    use_fast_norms(method.networks, arithmetic)
    masks = read_masks(every, config.resolution) if method.takes_mask or config.lesion_weight > 1 else None
    labels = [r.label for r in every]
    method.batches = Batches(pipe, moments, prompts, config, len(records), labels, masks)
    validation = None
    if config.validate_every:
        validating = [i for i in range(len(records), len(every)) if SPLITS[1] in every[i].tags]
        validation = Validation(method, range(len(records)), validating, arithmetic)
    samples = Samples(method, run, records, arithmetic) if config.sample_every else None
    curves = Curves(run, method.message, config.steps, validation)
    outlook = Outlook(method, arithmetic, validation.state().values() if validation else ())
    checks = [check for check in (outlook, validation, samples, curves) if check is not None]
    begun = fixed_prediction(method, arithmetic)
    loss = yield from train(
        method, run, config.steps, config.learning_rate, arithmetic, config.checkpoint_seconds, checks=checks
    )
    result = {"weights": str(run.folder / method.product), "loss": loss, "images": count_labels(records)}
    result |= {"trained_parameters": outlook.trained, "share_of_unet": outlook.share}
    result |= {"estimated_memory": sum(outlook.memory.values())} if outlook.memory else {}
    if config.datasets:
        result[LEFT_OUT] = left_out
    curves.draw()
    if validation is not None:
        result |= {"validation": validation.rows(), "best_step": validation.best_step}
    if samples is not None:
        yield from samples.look(result.get("best_step") if config.patience else config.steps)
    if config.membership and held_out:
        area = yield from membership(method, every, len(records), arithmetic)
        if area is not None:
            result["membership"] = asdict(area)
            found = remarks_on_membership(area)
            remarks += found
            yield from map(Notice, found)
    if is_main_process():
        found = read_back(method, Path(result["weights"]), begun, arithmetic)
        if found is not None:
            result["read_back"] = {"change": found.change, "difference": found.difference}
            if found.remark:
                remarks.append(found.remark)
                yield Notice(found.remark)
    result["remarks"] = remarks
    if run.writes and run.has_begun:
        write_card(run, config, result, records, len(held_out), prompts[0][0])
    return result
