"""Settings of an experiment."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from busaug_core.base.components import VAE
from busaug_core.base.defaults import BASE, HELP, MINI, defaults_of
from busaug_core.classify.config import APPLY_CLASSIFIER, OF_NETWORKS, TRAIN_CLASSIFIER
from busaug_core.data.config import LOAD_BUSI, SIMULATED
from busaug_core.errors import UserError
from busaug_core.experiment.arms import BEST, Arm, parse_arm
from busaug_core.experiment.presets import PRESETS
from busaug_core.features.extractors import PROBE, refuse_without_maps
from busaug_core.generate.config import GENERATE
from busaug_core.generate.recipes import RECIPES
from busaug_core.jobs.config import JobConfig
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
CHAINED: dict[Job, tuple[str, ...]] = {
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

RESAMPLES = 20
"""Probes of an arm on training images drawn anew, which the intervals of its table are over."""


class RunExperiment(JobConfig):
    """The whole way: load, train, generate, classify, measure, score, for an arm of real images alone and others."""

    presets: ClassVar = PRESETS
    preset: Literal["demo", "half_hour", "laptop", "minute", "hybrid", "meddap", "controlnet-paper"] = Field(
        "demo",
        description="Sizes of all stages: demo of simulated scans in minutes, half_hour of real ones, laptop of these "
        "in three folds; hybrid, meddap and controlnet-paper what the papers did, on Stable Diffusion.",
    )
    source: str = Field(SIMULATED, min_length=1, description="What is loaded first, as in load_busi.")
    dataset_name: str = Field("busaug-demo", min_length=1, description="Name of the dataset that is made.")
    base_model: Annotated[str | None, BASE] = Field(
        None, min_length=1, description=f"{HELP.removesuffix('.')} (empty: the preset's)."
    )
    decoder: Literal["base", "tuned"] | None = Field(
        None,
        description="tuned: the decoder of the base's autoencoder is trained on the training images first, and the "
        "images of all variants but the base's come out of it (empty: the preset's).",
    )
    arms: list[str] | None = Field(
        None,
        min_length=1,
        description="What is compared with the classifier of real images alone: variants (sd@50%: half as many of its "
        "images as real ones), treatments, or some joined by + such as sd+confidence; best is the variant that helps "
        "most within the training images (empty: the preset's).",
    )
    seeds: int | None = Field(
        None,
        ge=1,
        le=100,
        description="Networks of each arm, which differ in their seeds alone; a probe has resamples (empty: the "
        "preset's).",
    )
    folds: int | None = Field(
        None,
        ge=2,
        le=20,
        description="Deal the scans out to so many folds, each of which validates once what was trained on the others, "
        "generators too; distances are measured in the first (empty: the preset's, or the split of load_busi).",
    )
    external: str | None = Field(
        None,
        min_length=1,
        description="Another dataset, as load_external or load_busi has loaded it, on whose images the arms' "
        "classifiers are tested too, untouched; those that show a scan of this one are left out.",
    )
    external_classes: Literal["shared", "all"] = Field(
        "shared",
        description="shared: the classifiers choose among the classes that external has too, by their probabilities "
        "scaled up; all: among all, so that what they take for another is wrong.",
    )
    heatmaps: bool = Field(
        False,
        description="Also map where each arm's classifier of the first fold looks, and compare how much of that lies "
        "on lesions.",
    )
    settings: dict[str, dict[str, Any]] = Field(
        {}, description="Fields of the jobs, by job, where they are not to be the preset's or the jobs' defaults."
    )

    @classmethod
    def preset_values(cls, given: dict[str, Any]) -> dict[str, Any]:
        """The preset, of whose settings those that are given take the place field by field."""
        preset = {"base_model": MINI, "seeds": 1, **super().preset_values({"preset": "demo", **given})}
        asked = given.get("settings", {})
        if not isinstance(asked, dict) or not all(isinstance(values, dict) for values in asked.values()):
            return preset
        jobs = preset.get("settings", {}).keys() | asked.keys()
        given["settings"] = {job: {**preset["settings"].get(job, {}), **asked.get(job, {})} for job in sorted(jobs)}
        return preset

    @field_validator("settings")
    @classmethod
    def _of_known_jobs(cls, settings: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        chained = {job.name: (job.config_class(), fields) for job, fields in CHAINED.items()}
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
            assumed = {"arch": PROBE} if name == TRAIN_CLASSIFIER.name and _asks_for_probes(values) else {}
            for field, text in config.find_problems({**assumed, **values}).items():
                if field or name == TRAIN_CLASSIFIER.name:
                    raise ValueError(f"{f'{field} of ' if field else ''}{name}: {text}")
        return settings

    @field_validator("arms")
    @classmethod
    def _known_arms(cls, arms: list[str] | None) -> list[str] | None:
        if arms is None:  # of a preset that there is not
            return None
        parsed = [parse_arm(text) for text in arms]
        names = [arm.name for arm in parsed]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} is there twice")
        variants = variants_of(parsed)
        if any(BEST in arm.include for arm in parsed) and sum(arm.is_plain for arm in parsed) < 2:
            raise ValueError(
                f"{BEST} is chosen among arms that take one variant as it is; name two of these, such as sd"
            )
        for slug in variants:
            if unknown := sorted(RECIPES[slug].components - set(TRAININGS)):
                raise ValueError(f"variant '{slug}' needs {', '.join(unknown)}, which no experiment trains yet")
        if {"lora", "unet"} <= _beside("controlnet", variants):
            raise ValueError("one ControlNet is trained, on a LoRA or on a tuned UNet; name no variants of both")
        if not variants:
            raise ValueError("some arm must take synthetic images; for real ones alone there is train_classifier")
        return names

    @model_validator(mode="after")
    def _deals_once(self) -> "RunExperiment":
        given = self.settings.get(LOAD_BUSI.name, {}).keys() & {"folds", "split"}
        if self.folds is not None and given:
            raise ValueError(f"folds deal the scans out; leave {' and '.join(sorted(given))} of load_busi out")
        return self

    @model_validator(mode="after")
    def _decodes(self) -> "RunExperiment":
        if self.decoder == "tuned" and not any(RECIPES[slug].components for slug in self.variants):
            raise ValueError("a tuned decoder serves variants that put something on the base; set decoder to 'base'")
        return self

    @model_validator(mode="after")
    def _is_external(self) -> "RunExperiment":
        if self.external == self.dataset_name:
            raise ValueError(f"external is '{self.external}', the dataset that is made; name another")
        return self

    @model_validator(mode="after")
    def _classifiers_fit_arms(self) -> "RunExperiment":
        values = self.settings.get(TRAIN_CLASSIFIER.name, {})
        probes = _asks_for_probes(values)
        if probes and self.heatmaps and values.get("extractor"):
            try:
                refuse_without_maps(values["extractor"])
            except UserError as reason:
                raise ValueError(f"heatmaps: {reason}") from None
        if probes:
            if self.seeds > 1:
                raise ValueError("seeds are of networks; set arch of train_classifier in settings, or leave seeds out")
            values = {**values, "arch": PROBE}
        for arm in self.compared:
            if both := sorted(values.keys() & arm.fields.keys()):
                raise ValueError(f"arm '{arm.name}' sets {', '.join(both)}; leave that out of settings, or the arm")
            if BEST in arm.include and not probes:
                raise ValueError(f"arm '{arm.name}': {BEST} is chosen by the inner folds of probes; name a variant")
            if probes and arm.fields.keys() & set(OF_NETWORKS):
                raise ValueError(f"arm '{arm.name}' is for networks; set arch of train_classifier in settings")
            values_of_arm = {**values, **arm.fields, "include": list(arm.include)}
            for name, text in TRAIN_CLASSIFIER.config_class().find_problems(values_of_arm).items():
                raise ValueError(f"arm '{arm.name}': {f'{name}: ' if name else ''}{text}")
        return self

    def probes(self, runs: Path) -> dict[str, Any]:
        """How the arms' classifiers are trained, where `settings` ask for no other kind: as probes.

        They see no image larger than the generated ones, so that a difference of resolution tells no class; `runs` is
        the folder of the dataset's runs.
        """
        if not _asks_for_probes(self.settings.get(TRAIN_CLASSIFIER.name, {})):
            return {}
        side = self.settings.get(GENERATE.name, {}).get("resolution") or defaults_of(self.base_model, runs).resolution
        return dict(arch=PROBE, resamples=RESAMPLES, resolution=side)

    @property
    def compared(self) -> list[Arm]:
        """The arms besides that of real images alone."""
        return [parse_arm(text) for text in self.arms]

    @property
    def variants(self) -> list[str]:
        """The variants that the arms take, each once."""
        return variants_of(self.compared)

    @property
    def chosen(self) -> list[Arm]:
        """The arms among which the best variant is chosen, or none."""
        asked = any(BEST in arm.include for arm in self.compared)
        return [arm for arm in self.compared if arm.is_plain] if asked else []

    @property
    def filling(self) -> list[str]:
        """The variants whose images are to fill each class up: those that some arm takes in no share."""
        return variants_of([arm for arm in self.compared if not arm.ratio])

    @property
    def largest_share(self) -> float:
        """Of the shares that arms take."""
        return max(arm.ratio or 0 for arm in self.compared)

    def beside(self, component: str) -> set[str]:
        """The components that the variants put beside one, which it is trained on where it can be."""
        return _beside(component, self.variants)

    @property
    def trained(self) -> list[str]:
        """The components that the variants need, in the order in which they are trained."""
        needed = {name for slug in self.variants for name in RECIPES[slug].components}
        if self.decoder == "tuned":
            needed.add(VAE.field)
        return [name for name in TRAININGS if name in needed]


def variants_of(arms: list[Arm]) -> list[str]:
    """The variants that arms take by name, each once, in their order."""
    return list(dict.fromkeys(slug for arm in arms for slug in arm.include if slug != BEST))


def _beside(component: str, variants: list[str]) -> set[str]:
    recipes = [RECIPES[slug].components for slug in variants]
    return {other for components in recipes if component in components for other in components} - {component}


def _asks_for_probes(values: dict[str, Any]) -> bool:
    """Whether settings of `train_classifier` name no network, be it by a preset."""
    return values.get("preset") is None and values.get("arch") in (None, PROBE)


RUN_EXPERIMENT = Job(
    "run_experiment",
    RunExperiment,
    "busaug_core.experiment.experiment:run_experiment",
    makes_dataset=True,
    takes_samples=False,
    chain=True,
    files=("report.html", "results.md", "results.csv"),
)
