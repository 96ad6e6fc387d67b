"""Operators that train diffusion models: LoRA and textual inversion."""

import fiftyone as fo

from .host.form import Suggestions
from .host.operator import JobOperator
from .host.suggestions import BASES, prompts_for


class DiffusionTraining(JobOperator):
    """What the operators that train on a base model share."""

    def suggest(self, dataset: fo.Dataset) -> Suggestions:
        return Suggestions(choices={"base_model": BASES}, defaults={"prompts": prompts_for(dataset)})


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
