"""The list of jobs, and what upper rooms add to the list of extractors. Importing this file loads none of them."""

from busaug_core.classify.config import APPLY_CLASSIFIER, TRAIN_CLASSIFIER
from busaug_core.data.config import AUDIT, LOAD_BUSI, LOAD_EXTERNAL
from busaug_core.errors import UserError
from busaug_core.experiment.config import RUN_EXPERIMENT
from busaug_core.features import extractors
from busaug_core.generate.config import GENERATE
from busaug_core.jobs.execute import Job
from busaug_core.measure.config import COMPUTE_EMBEDDINGS, COMPUTE_FID, FILTER_SYNTHETIC, SCORE_SYNTHETIC
from busaug_core.pretrain.config import PRETRAIN_MINI
from busaug_core.train.config import (
    FINETUNE_DECODER,
    FINETUNE_UNET,
    TRAIN_CONTROLNET,
    TRAIN_LORA,
    TRAIN_TEXTUAL_INVERSION,
)

JOBS = {
    job.name: job
    for job in (
        LOAD_BUSI,
        LOAD_EXTERNAL,
        AUDIT,
        TRAIN_LORA,
        TRAIN_TEXTUAL_INVERSION,
        FINETUNE_UNET,
        FINETUNE_DECODER,
        TRAIN_CONTROLNET,
        GENERATE,
        COMPUTE_EMBEDDINGS,
        COMPUTE_FID,
        SCORE_SYNTHETIC,
        FILTER_SYNTHETIC,
        TRAIN_CLASSIFIER,
        APPLY_CLASSIFIER,
        RUN_EXPERIMENT,
        PRETRAIN_MINI,
    )
}

extractors.register(extractors.OF_A_RUN, "busaug_core.classify.features:ClassifierFeatures")


def register(job: Job) -> None:
    """Add a job to the list, as another package may."""
    JOBS[job.name] = job


def job(name: str) -> Job:
    """The job of that name; raises UserError where there is none."""
    if name not in JOBS:
        raise UserError(f"There is no job '{name}'; there are {', '.join(JOBS)}.")
    return JOBS[name]
