"""Operators that train diffusion models: LoRA and textual inversion."""

import fiftyone as fo

from .host import runs
from .host.form import Suggestions
from .host.operator import JobOperator
from .host.suggestions import BASES, prompts_for


class TrainLora(JobOperator):
    """Trains a LoRA on the training split."""

    job_name = "train_lora"
    label = "train LoRA"
    icon = "model_training"
    main_fields = ("base_model", "preset", "steps", "rank")

    def suggest(self, dataset: fo.Dataset) -> Suggestions:
        return Suggestions(choices={"base_model": BASES}, defaults={"prompts": prompts_for(dataset)})


class TrainTextualInversion(JobOperator):
    """Learns a token on the training split."""

    job_name = "train_textual_inversion"
    label = "train textual inversion"
    icon = "text_fields"
    main_fields = ("base_model", "lora", "preset", "steps", "token")

    def suggest(self, dataset: fo.Dataset) -> Suggestions:
        loras = runs.finished_runs(dataset.name, "train_lora")
        return Suggestions(choices={"base_model": BASES, "lora": loras}, defaults={"prompts": prompts_for(dataset)})
