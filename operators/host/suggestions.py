"""What forms propose: base models, finished runs, prompts, and the variants a dataset holds."""

from collections.abc import Callable

import fiftyone as fo

from busaug_core.base.defaults import MINI, STABLE_DIFFUSION
from busaug_core.jobs.config import JobConfig
from busaug_core.jobs.lineage import product_fields
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import list_runs
from busaug_core.prompts import BUSI_PROMPTS

BASES = [MINI, STABLE_DIFFUSION]


def product_choices(
    config: type[JobConfig], dataset: str, offers: Callable[[str, Run], bool] = lambda field, run: True
) -> dict[str, list[str]]:
    """For each field of a config that names a product: the finished runs that made one, newest first.

    `offers` says whether a field is to offer a run.
    """
    found: dict[str, list[str]] = {}
    for field, product in product_fields(config).items():
        runs = list_runs(dataset, product.job, done=True)
        found[field] = [run.key for run in runs if offers(field, run)]
    return found


def prompts_for(dataset: fo.Dataset) -> dict[str, str]:
    """BUSI's prompts, and one in their manner for each further class of the dataset."""
    labels = dataset.distinct("ground_truth.label") if dataset.get_field("ground_truth.label") is not None else []
    return {**{label: f"ultrasound image of the breast, {label}" for label in labels}, **BUSI_PROMPTS}


def variants_of(dataset: fo.Dataset) -> list[str]:
    """The variants of the dataset's synthetic samples."""
    if dataset.get_field("variant") is None or dataset.get_field("origin") is None:
        return []
    return dataset.match({"origin": "synthetic"}).distinct("variant")
