"""What forms propose: base models, and the variants a dataset holds."""

import fiftyone as fo

from busaug_core.base.defaults import MINI, STABLE_DIFFUSION
from busaug_core.jobs.run import Run, runs_folder
from busaug_core.prompts import BUSI_PROMPTS

from . import runs

BASES = [MINI, STABLE_DIFFUSION]


def prompts_for(dataset: fo.Dataset) -> dict[str, str]:
    """BUSI's prompts, and one in their manner for each further class of the dataset."""
    labels = dataset.distinct("ground_truth.label") if dataset.get_field("ground_truth.label") is not None else []
    return {**{label: f"ultrasound image of the breast, {label}" for label in labels}, **BUSI_PROMPTS}


def variants_of(dataset: fo.Dataset) -> list[str]:
    """The variants of the dataset's synthetic samples."""
    if dataset.get_field("variant") is None or dataset.get_field("origin") is None:
        return []
    return dataset.match({"origin": "synthetic"}).distinct("variant")


def real_classifiers(dataset: fo.Dataset) -> list[str]:
    """The keys of the dataset's finished classifiers that were trained on real images alone, newest first."""
    keys = runs.finished_runs(dataset.name, "train_classifier")
    return [key for key in keys if not Run(runs_folder(dataset.name) / key).config.get("include")]
