"""Settings of an experiment."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from busaug_core.base.components import VAE
from busaug_core.base.defaults import BASE, HELP, MINI, defaults_of
from busaug_core.classify.config import TRAIN_CLASSIFIER
from busaug_core.data.config import LOAD_BUSI, SIMULATED
from busaug_core.experiment.arms import BEST, UNTUNED, Arm, parse_arm, variants_of
from busaug_core.experiment.links import (
    TRAININGS,
    asks_for_probes,
    of_job,
    parse_arms,
    refuse_arms,
    refuse_heatmaps,
    refuse_networks,
    refuse_settings,
)
from busaug_core.experiment.presets import PRESETS
from busaug_core.features.extractors import PROBE
from busaug_core.generate.config import GENERATE, OF_TUNED, Generation
from busaug_core.generate.recipes import RECIPES, by_sampling
from busaug_core.jobs.config import JobConfig
from busaug_core.jobs.execute import Job, imported
from busaug_core.jobs.run import Run
from busaug_core.records import Record

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
    candidates: list[str] | None = Field(
        None,
        min_length=1,
        description="Arms of one variant each, such as sd@50%, among which best is chosen by probes in folds of the "
        "training images, and which are not compared themselves (empty: the preset's, or those of arms).",
    )
    seeds: int | None = Field(
        None,
        ge=1,
        le=100,
        description="Networks of each arm, which differ in their seeds alone; a probe has resamples (empty: the "
        "preset's).",
    )
    networks: dict[str, Any] | None = Field(
        None,
        description="Where the arms are probes: fields of train_classifier, such as arch and epochs, by which the "
        "original and the best of the arms that differ from it by synthetic images alone are trained as networks too, "
        "seeds of each (empty: the preset's).",
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
    learning_curve: bool | None = Field(
        None,
        description="Also train probes on a quarter and on half of the real training images alone, beside whose gain "
        "stands what synthetic images bring (empty: the preset's).",
    )
    heatmaps: bool = Field(
        False,
        description="Also map where each arm's classifier of the first fold looks, and compare how much of that lies "
        "on lesions and on burnt-in marks.",
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
        return _without_what_does_not_fit(preset, given)

    @field_validator("settings")
    @classmethod
    def _of_known_jobs(cls, settings: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        refuse_settings(settings)
        return settings

    @field_validator("arms")
    @classmethod
    def _known_arms(cls, arms: list[str] | None) -> list[str] | None:
        if arms is None:  # of a preset that there is not
            return None
        parsed = parse_arms(arms)
        if not any(arm.include for arm in parsed):
            raise ValueError("some arm must take synthetic images; for real ones alone there is train_classifier")
        return [arm.name for arm in parsed]

    @field_validator("candidates")
    @classmethod
    def _known_candidates(cls, candidates: list[str] | None) -> list[str] | None:
        parsed = parse_arms(candidates or [])
        if other := [arm.name for arm in parsed if not arm.is_plain]:
            raise ValueError(f"'{other[0]}' is not one variant as it is, or a share of it, such as sd@50%")
        return [arm.name for arm in parsed] or None

    @model_validator(mode="after")
    def _chooses(self) -> "RunExperiment":
        best = [arm for arm in self.compared if BEST in arm.include]
        if best and len(self.candidate_arms) < 2:
            raise ValueError(
                f"{BEST} is chosen among arms that take one variant, or a share of it, and do nothing else; name two "
                "of these in candidates, such as sd@50% and sd@100%, or leave candidates out and name them in arms"
            )
        if self.candidates and not best:
            raise ValueError(f"candidates are what {BEST} is chosen among, and no arm takes it; name {BEST} in arms")
        shares = [arm.name for arm in self.candidate_arms if arm.ratio]
        if any(arm.filtered for arm in best) and shares:
            raise ValueError(
                f"{BEST} may be an arm with a share, such as {shares[0]}, and a filtered arm takes all that fills the "
                "classes up; leave the share out, or the filtered arm"
            )
        if {"lora", "unet"} <= self.beside("controlnet"):
            raise ValueError("one ControlNet is trained, on a LoRA or on a tuned UNet; name no variants of both")
        return self

    @model_validator(mode="after")
    def _has_a_curve(self) -> "RunExperiment":
        if self.learning_curve and not self.of_probes:
            raise ValueError("learning_curve is of probes, and settings name a network for train_classifier")
        return self

    @model_validator(mode="after")
    def _trains_networks_too(self) -> "RunExperiment":
        if not self.networks:
            return self
        if not self.of_probes:
            raise ValueError("networks are beside probes; settings name a network for train_classifier already")
        if not any(arm.differs_by_synthetic for arm in self.compared):
            raise ValueError("networks are of an arm that differs by its synthetic images alone, such as sd; name one")
        refuse_networks(self.networks)
        return self

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
        if self.heatmaps:
            refuse_heatmaps(values)
        if self.of_probes and self.seeds > 1 and not self.networks:
            raise ValueError(
                "seeds are of networks; set networks for some beside the probes, or arch of train_classifier in "
                "settings, or leave seeds out"
            )
        refuse_arms(self.compared, values)
        return self

    def probes(self, runs: Path) -> dict[str, Any]:
        """How probes are trained: those of the arms, or those by which the best variant is chosen.

        They see no image larger than the generated ones, so that a difference of resolution tells no class; `runs` is
        the folder of the dataset's runs.
        """
        side = self.settings.get(GENERATE.name, {}).get("resolution") or defaults_of(self.base_model, runs).resolution
        return dict(arch=PROBE, resolution=side, **(dict(resamples=RESAMPLES) if self.of_probes else {}))

    def network_values(self, runs: Path) -> dict[str, Any]:
        """How `networks` are trained; they see no image larger than the generated ones either, unless they say so."""
        return {"resolution": self.probes(runs)["resolution"], **(self.networks or {})}

    @property
    def of_probes(self) -> bool:
        """Whether the arms' classifiers are probes, as they are where settings ask for no network."""
        return asks_for_probes(self.settings.get(TRAIN_CLASSIFIER.name, {}))

    @property
    def compared(self) -> list[Arm]:
        """The arms besides that of real images alone."""
        return [parse_arm(text) for text in self.arms]

    @property
    def candidate_arms(self) -> list[Arm]:
        """The arms among which the best variant is chosen, or none: `candidates`, or the plain ones of `arms`."""
        if not any(BEST in arm.include for arm in self.compared):
            return []
        return [parse_arm(text) for text in self.candidates or ()] or [arm for arm in self.compared if arm.is_plain]

    @property
    def all_arms(self) -> list[Arm]:
        """All arms that images are made for."""
        return list({arm.name: arm for arm in [*self.compared, *self.candidate_arms]}.values())

    @property
    def variants(self) -> list[str]:
        """The variants that all arms take, each once."""
        return variants_of(self.all_arms)

    @property
    def measured(self) -> list[str]:
        """The variants that are measured: those of the arms, and the untuned base, to show what tuning gains."""
        return list(dict.fromkeys([*self.variants, UNTUNED]))

    def generations(self, runs: Path) -> list[Generation]:
        """How the measured variants are made, those of tuned UNets apart; raises UserError where some cannot be.

        `runs` is the folder of the dataset's runs, which base_model may name.
        """
        trained = dict.fromkeys(self.trained, "not trained yet")
        values = {**self.settings.get(GENERATE.name, {}), **trained, "base_model": self.base_model, "counts": {}}
        kinds = by_sampling(self.measured)
        # What acts on none of all variants is refused.
        unused = [self.unused_by(slugs) if len(kinds) > 1 else {} for slugs in kinds]
        kind = GENERATE.config_class()
        with of_job(GENERATE):
            return [
                kind.parse({**values, **dropped, "variants": slugs}).resolve(runs)
                for slugs, dropped in zip(kinds, unused, strict=True)
            ]

    def unused_by(self, variants: list[str]) -> dict[str, None]:
        """The settings of `generate` that a run of some variants does without, since they act on none of them."""
        return {} if any(RECIPES[slug].is_tuned for slug in variants) else dict.fromkeys(OF_TUNED)

    @property
    def filling(self) -> list[str]:
        """The variants whose images are to fill each class up: those that some arm takes in no share."""
        return variants_of([arm for arm in self.all_arms if not arm.ratio])

    @property
    def largest_share(self) -> float:
        """Of the shares that arms take."""
        return max(arm.ratio or 0 for arm in self.all_arms)

    def beside(self, component: str) -> set[str]:
        """The components that the variants put beside one, which it is trained on where it can be."""
        recipes = [RECIPES[slug].components for slug in self.variants]
        return {other for components in recipes if component in components for other in components} - {component}

    @property
    def trained(self) -> list[str]:
        """The components that the variants need, in the order in which they are trained."""
        needed = {name for slug in self.variants for name in RECIPES[slug].components}
        if self.decoder == "tuned":
            needed.add(VAE.field)
        return [name for name in TRAININGS if name in needed]


def _without_what_does_not_fit(preset: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """A preset's values, less those that are of no use beside what the user has set."""
    preset, arms = dict(preset), given.get("arms")
    of_probes = asks_for_probes(given["settings"].get(TRAIN_CLASSIFIER.name, {}))
    unused = set() if of_probes else {"networks", "learning_curve"}
    if isinstance(arms, list):
        with suppress(ValueError):  # which is told of the arms themselves
            parsed = [parse_arm(str(text)) for text in arms]
            unused |= set() if any(BEST in arm.include for arm in parsed) else {"candidates"}
            unused |= set() if any(arm.differs_by_synthetic for arm in parsed) else {"networks"}
    # Seeds that are of the networks beside probes alone.
    if "networks" in preset and (given.get("networks") == {} or (of_probes and "networks" in unused)):
        preset["seeds"] = 1
    return {name: value for name, value in preset.items() if name not in unused}


def check_experiment(config: RunExperiment, run: Run, records: list[Record]) -> None:
    """Raises UserError where a network that is to be trained is none, or cannot take images of its size.

    And where settings make no image of some variant, or nothing was loaded under the name of `external`.
    """
    kind, runs = TRAIN_CLASSIFIER.config_class(), run.folder.parent
    of_arms = config.settings.get(TRAIN_CLASSIFIER.name, {})
    for values in ([] if config.of_probes else [of_arms]) + ([config.network_values(runs)] if config.networks else []):
        network = kind.parse(values).resolve(runs)
        imported("busaug_core.classify.model:refuse_network")(network.arch, network.resolution)
    config.generations(runs)
    if config.external is not None:
        imported("busaug_core.data.elsewhere:images_of")(config.external, run, "external")


RUN_EXPERIMENT = Job(
    "run_experiment",
    RunExperiment,
    "busaug_core.experiment.experiment:run_experiment",
    check_experiment,
    makes_dataset=True,
    takes_samples=False,
    shared=True,
    chain=True,
    files=("report.html", "results.md", "results.csv", "claims.csv"),
)
