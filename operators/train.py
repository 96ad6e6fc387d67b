"""Operators that train on a base model: LoRA, textual inversion, the whole UNet, the decoder, ControlNet."""

from collections.abc import Iterator
from dataclasses import replace

import fiftyone as fo
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext

from busaug_core.jobs.config import JobConfig

from .host.form import Suggestions
from .host.operator import JobOperator
from .host.suggestions import BASES, other_datasets, prompts_for, remark_on_few


class BaseTraining(JobOperator):
    """What the operators that train on a base model share."""

    def suggest(self, dataset: fo.Dataset, label_field: str) -> Suggestions:
        return Suggestions(choices={"base_model": BASES, "datasets": other_datasets(dataset)})

    def remarks(self, ctx: ExecutionContext, config: JobConfig) -> Iterator[types.View]:
        yield from remark_on_few(ctx.target_view(), config.label_field, config.datasets or ())


class DiffusionTraining(BaseTraining):
    """What those share that learn from prompts."""

    def suggest(self, dataset: fo.Dataset, label_field: str) -> Suggestions:
        found = super().suggest(dataset, label_field)
        return replace(found, defaults={"prompts": prompts_for(dataset, label_field)})


class TrainLora(DiffusionTraining):
    """Trains a LoRA on the training split."""

    job_name = "train_lora"
    label = "train LoRA"
    icon = "model_training"
    main_fields = ("base_model", "preset", "steps", "rank")


class TrainTextualInversion(DiffusionTraining):
    """Learns a token on the training split."""

    job_name = "train_textual_inversion"
    label = "train textual inversion"
    icon = "text_fields"
    main_fields = ("base_model", "lora", "preset", "steps", "token")


class FinetuneUnet(DiffusionTraining):
    """Tunes the whole UNet on the training split."""

    job_name = "finetune_unet"
    label = "fine-tune UNet"
    icon = "tune"
    main_fields = ("base_model", "steps", "batch_size", "learning_rate")


class FinetuneDecoder(BaseTraining):
    """Tunes the autoencoder's decoder on the training split."""

    job_name = "finetune_decoder"
    label = "fine-tune decoder"
    icon = "texture"
    main_fields = ("base_model", "steps", "learning_rate")


class TrainControlnet(DiffusionTraining):
    """Trains a ControlNet on the training split's lesion masks."""

    job_name = "train_controlnet"
    label = "train ControlNet"
    icon = "gesture"
    main_fields = ("base_model", "lora", "unet", "steps", "learning_rate")
