"""The links of an experiment's chain: its jobs, what it sets of each itself, and what else may be set of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from busaug_core.classify.config import APPLY_CLASSIFIER, OF_NETWORKS, TRAIN_CLASSIFIER
from busaug_core.data.config import LOAD_BUSI
from busaug_core.errors import UserError
from busaug_core.experiment.arms import Arm, parse_arm, variants_of
from busaug_core.features.extractors import PROBE, refuse_without_maps
from busaug_core.generate.config import GENERATE
from busaug_core.generate.recipes import RECIPES
from busaug_core.jobs.execute import Job
from busaug_core.measure.config import COMPUTE_EMBEDDINGS, COMPUTE_FID, FILTER_SYNTHETIC, SCORE_SYNTHETIC
from busaug_core.train.config import (
    FINETUNE_DECODER,
    FINETUNE_UNET,
    TRAIN_CONTROLNET,
    TRAIN_LORA,
    TRAIN_TEXTUAL_INVERSION,
)


@dataclass(frozen=True)
class Training:
    """How an experiment comes by a component: the job that makes it, and what it is told as."""

    job: Job
    title: str


TRAININGS = {
    "vae": Training(FINETUNE_DECODER, "Fine-tune the base: the decoder"),
    "lora": Training(TRAIN_LORA, "Fine-tune the base: LoRA"),
    "token": Training(TRAIN_TEXTUAL_INVERSION, "Learn a token of the modality: textual inversion"),
    "unet": Training(FINETUNE_UNET, "Fine-tune the base: the whole UNet"),
    "controlnet": Training(TRAIN_CONTROLNET, "Learn to follow lesion masks: ControlNet"),
}
"""The components that an experiment trains, each with those before it."""
LINKS: dict[Job, tuple[str, ...]] = {
    LOAD_BUSI: ("source", "dataset_name"),
    **{t.job: ("base_model", *(t.job.config_class().model_fields.keys() & TRAININGS)) for t in TRAININGS.values()},
    TRAIN_CLASSIFIER: ("include", "ratio", "balance_to", "synthetic_only", "weighting", "evaluate_on"),
    GENERATE: ("base_model", *TRAININGS, "variants", "mode", "balance_to", "ratio", "counts", "reference"),
    APPLY_CLASSIFIER: ("classifier",),
    COMPUTE_EMBEDDINGS: ("extractor",),
    COMPUTE_FID: ("extractor", "reference"),
    SCORE_SYNTHETIC: ("extractor", "classifier", "reference"),
    FILTER_SYNTHETIC: ("variants",),
}
"""The jobs of the chain, and the fields of each that the experiment sets."""


def asks_for_probes(values: dict[str, Any]) -> bool:
    """Whether settings of `train_classifier` name no network, be it by a preset."""
    return values.get("preset") is None and values.get("arch") in (None, PROBE)


def as_trained(values: dict[str, Any]) -> dict[str, Any]:
    """Settings of `train_classifier`, with the probe where they name no network."""
    return {**values, "arch": PROBE} if asks_for_probes(values) else values


def refuse_settings(settings: dict[str, dict[str, Any]]) -> None:
    """Raises ValueError where settings name no job of the chain, or what the experiment or no experiment may set."""
    chained = {job.name: (job.config_class(), fields) for job, fields in LINKS.items()}
    for name, values in settings.items():
        if name not in chained:
            raise ValueError(f"there is no job '{name}' in the chain; there are {', '.join(chained)}")
        config, fields = chained[name]
        if taken := sorted(values.keys() & {"run_key", *fields}):
            raise ValueError(f"{', '.join(taken)} of {name} are set by the experiment itself")
        if values.get("patience"):
            raise ValueError(f"patience of {name} would choose by the images that the arms are tested on")
        if values.get("datasets"):
            raise ValueError(f"datasets of {name}: an experiment trains on the dataset that it makes alone")
        # What is wrong with the whole may be put right by what the experiment sets, but for a classifier.
        whole = name == TRAIN_CLASSIFIER.name
        for field, text in config.find_problems(as_trained(values) if whole else values).items():
            if field or whole:
                raise ValueError(f"{f'{field} of ' if field else ''}{name}: {text}")


@contextmanager
def of_job(job: Job) -> Iterator[None]:
    """A block whose UserErrors are of settings of this job, and say so."""
    try:
        yield
    except UserError as problem:
        raise UserError(f"Settings of {job.name}: {problem}") from None


def refuse_networks(networks: dict[str, Any]) -> None:
    """Raises ValueError where fields of `train_classifier` train no networks that could stand beside probes."""
    if taken := sorted(networks.keys() & {"run_key", "seed", *LINKS[TRAIN_CLASSIFIER]}):
        raise ValueError(f"networks: {', '.join(taken)} are set by the experiment itself")
    if networks.get("arch", PROBE) == PROBE and "preset" not in networks:
        raise ValueError("networks: probes are what the arms are already; name a network by arch, such as resnet18")
    if of_probes := sorted(networks.keys() & {"resamples", "extractor"}):
        raise ValueError(f"networks: {', '.join(of_probes)} are of probes; leave that out")
    _refuse_problems("networks", networks)


def parse_arms(texts: list[str]) -> list[Arm]:
    """The arms of some texts; raises ValueError where one is none, stands there twice, or needs what none can train."""
    parsed = [parse_arm(text) for text in texts]
    names = [arm.name for arm in parsed]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{', '.join(twice)} is there twice")
    for slug in variants_of(parsed):
        if unknown := sorted(RECIPES[slug].components - set(TRAININGS)):
            raise ValueError(f"variant '{slug}' needs {', '.join(unknown)}, which no experiment trains yet")
    return parsed


def refuse_arms(arms: list[Arm], values: dict[str, Any]) -> None:
    """Raises ValueError where an arm's classifier cannot be trained with these settings of `train_classifier`."""
    probes, values = asks_for_probes(values), as_trained(values)
    for arm in arms:
        if both := sorted(values.keys() & arm.fields.keys()):
            raise ValueError(f"arm '{arm.name}' sets {', '.join(both)}; leave that out of settings, or the arm")
        if probes and arm.fields.keys() & set(OF_NETWORKS):
            raise ValueError(f"arm '{arm.name}' is for networks; set arch of train_classifier in settings")
        _refuse_problems(f"arm '{arm.name}'", {**values, **arm.fields, "include": list(arm.include)})


def _refuse_problems(whose: str, values: dict[str, Any]) -> None:
    """Raises ValueError where these are no settings of `train_classifier`."""
    for name, text in TRAIN_CLASSIFIER.config_class().find_problems(values).items():
        raise ValueError(f"{whose}: {f'{name}: ' if name else ''}{text}")


def refuse_heatmaps(values: dict[str, Any]) -> None:
    """Raises ValueError where these settings of `train_classifier` ask for probes that no heat map is of."""
    if asks_for_probes(values) and values.get("extractor"):
        try:
            refuse_without_maps(values["extractor"])
        except UserError as reason:
            raise ValueError(f"heatmaps: {reason}") from None
