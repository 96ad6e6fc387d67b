"""Settings of the jobs that measure."""

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field

from busaug_core.classify.config import CLASSIFIER, has_features
from busaug_core.errors import UserError
from busaug_core.features.extractors import RADIOMICS, default_extractor, refuse_unknown
from busaug_core.jobs.config import OnSamples
from busaug_core.jobs.execute import Job
from busaug_core.jobs.roles import (
    REJECTED,
    TRAIN,
    evaluation_sets,
    of_split,
    refuse_learned_by_makers,
    refuse_synthetic_training,
    refuse_unknown_variants,
    synthetic_in_training,
)
from busaug_core.jobs.run import PRODUCTS, Run
from busaug_core.records import SPLITS, Record

FEATURES, DISTANCES, SCORES = "features.npy", "fid.json", "scores.jsonl"
"""The files that hold what was measured."""
NEAR_COPY = 0.6
"""Likeness of a near-copy; `copies` tells how it was chosen."""


EXTRACTOR = replace(CLASSIFIER, only=False, takes=has_features)
"""A classifier's run, or the name of a network."""


class Measurement(OnSamples):
    """What all measurements share."""

    extractor: Annotated[str | None, EXTRACTOR] = Field(
        None,
        min_length=1,
        description="'efficientnet_lite0', 'inception' (the network of published FIDs), 'dinov2', 'clip', "
        "'torchvision:resnet50' or another classifier of torchvision, 'radiomics' (no network: named features of "
        "texture, z-scored on the reference), the run key of a classifier trained here, or the folder of any other's "
        "run (empty: inception where its weights are, else efficientnet_lite0).",
    )
    preprocessing: Literal["canonical", "legacy"] = Field(
        "canonical", description="How images reach the network; legacy is pytorch-fid's way (inception only)."
    )
    variants: list[str] | None = Field(None, description="Variants to measure (empty: all).")
    reference: Literal["train", "val", "test"] = Field(
        "val", description="The split of real images that variants are compared with."
    )
    batch_size: int = Field(32, ge=1, le=1024, description="Images at a time.")
    seed: int = Field(51, ge=0, lt=2**31, description="Seed of subsets and projections.")

    def resolve(self, runs: Path | None = None) -> Self:
        return self if self.extractor else self.fill({"extractor": default_extractor()})


class ComputeEmbeddings(Measurement):
    """Features of every image as a vector field, their UMAP, and how the variants overlap with real."""

    neighbors: int = Field(5, ge=1, le=50, description="Nearest neighbours that the overlap is measured by.")


class ComputeFid(Measurement):
    """FID and its companions of each variant's evaluation set, with intervals and the real-vs-real floor."""

    metrics: list[Literal["fid", "fid_infinity", "kid", "prdc", "two_sample", "speckle", "ladder", "judge"]] = Field(
        ["fid", "kid", "prdc", "two_sample", "speckle", "ladder", "judge"],
        min_length=1,
        description="fid; fid_infinity: extrapolated to infinite N, for no fewer images than the features are wide; "
        "kid; prdc: precision, recall, density, coverage; two_sample: AUC of telling real from synthetic; speckle: "
        "texture and burnt-in marks; ladder: what real images give in the generated ones' size and out of the "
        "autoencoder; judge: what share of each class a probe of real images recognises.",
    )
    on_copies: Literal["refuse", "leave_out"] = Field(
        "refuse", description="What to do with a synthetic image that is a near-copy of a real one."
    )
    without_rejected: bool = Field(False, description="Leave out the images that a filter has rejected.")
    neighbors: int = Field(5, ge=1, le=50, description="Nearest neighbours that precision and recall are measured by.")
    kid_subset_size: int | None = Field(
        None, ge=2, le=100_000, description="Images in a subset of KID (empty: 100, or all where there are fewer)."
    )
    kid_subsets: int = Field(100, ge=2, le=10_000, description="Subsets that KID is the mean of.")
    floor_draws: int = Field(10, ge=1, le=1000, description="Real subsets drawn for the real-vs-real floor.")

    def measured(self, records: list[Record]) -> list[Record]:
        """The records without those that are to be left out."""
        return [r for r in records if not (self.without_rejected and r.synthetic and REJECTED in r.tags)]


class ScoreSynthetic(Measurement):
    """Scores of every synthetic image: class, nearest real image, realism, place by herding, influence on FID."""

    classifier: Annotated[str, replace(CLASSIFIER, takes=lambda run: not synthetic_in_training(run))] = Field(
        min_length=1,
        description="The run key of a classifier that was trained on real images alone, or the folder of another "
        "dataset's.",
    )
    neighbors: int = Field(3, ge=1, le=50, description="Nearest real neighbours that bound what counts as realistic.")


class FilterSynthetic(OnSamples):
    """Tag synthetic images whose scores miss a threshold as rejected; without thresholds none is."""

    variants: list[str] | None = Field(None, description="Variants to filter (empty: all).")
    class_consistent: bool = Field(False, description="Reject images that the classifier takes for another class.")
    min_class_probability: float | None = Field(
        None, ge=0, le=1, description="Least probability of the intended class by the classifier."
    )
    min_copy_ratio: float | None = Field(
        None, ge=0, description="Least copy ratio: 0 is a copy of a training image, 1 as far as real images lie apart."
    )
    max_likeness: float | None = Field(
        None,
        ge=0,
        le=1,
        description=f"Greatest likeness to a training image's picture; from {NEAR_COPY} on a near-copy.",
    )
    min_realism: float | None = Field(None, ge=0, description="Least realism; 1 and above lies among real images.")
    max_herding: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of each variant and class to keep, rounded up: the images that together represent the "
        "training images of the class best, as kernel herding orders all that were scored. Other thresholds reject "
        "further ones.",
    )
    max_influence: float | None = Field(
        None, description="Most that the image may add to its variant's Fréchet distance."
    )
    seed: int = Field(51, ge=0, lt=2**31, description="Seed of the subsets that the Fréchet distances compare.")


def check(config: Measurement, run: Run, records: list[Record]) -> None:
    """Raises UserError where there is no such extractor or preprocessing, or no synthetic image of a named variant."""
    refuse_unknown(config.extractor, run, config.preprocessing)
    refuse_unknown_variants(records, config.variants)
    if config.extractor == RADIOMICS and not of_split(records, config.reference):
        raise UserError(
            f"{RADIOMICS} is measured in units of the reference, but no sample is tagged '{config.reference}'."
        )


def check_distances(config: ComputeFid, run: Run, records: list[Record]) -> None:
    """Raises UserError where `check` does, or a side of the comparison is empty."""
    check(config, run, records)
    if not of_split(records, config.reference):
        raise UserError(f"No real sample is tagged '{config.reference}' to compare with.")
    sets = evaluation_sets(config.measured(records), config.variants)
    if config.reference in SPLITS[1:]:
        refuse_learned_by_makers(chain.from_iterable(sets.values()), of_split(records, config.reference))


def check_scores(config: ScoreSynthetic, run: Run, records: list[Record]) -> None:
    """Raises UserError where `check` does, there is too little to score or to score by, or the classifier may not."""
    check(config, run, records)
    refuse_synthetic_training(run.used["classifier"].run)
    if not any(r.synthetic for r in records):
        raise UserError("There is no synthetic image to score; generate some first.")
    if len(of_split(records, TRAIN)) <= config.neighbors or not of_split(records, config.reference):
        raise UserError(f"Scores need real images tagged 'train' (over {config.neighbors}) and '{config.reference}'.")


COMPUTE_EMBEDDINGS = Job(
    "compute_embeddings",
    ComputeEmbeddings,
    "busaug_core.measure.embeddings:compute_embeddings",
    check,
    needs_classes=False,
    distributed=True,
    files=(FEATURES, PRODUCTS),
)
COMPUTE_FID = Job(
    "compute_fid",
    ComputeFid,
    "busaug_core.measure.fid:compute_fid",
    check_distances,
    distributed=True,
    files=(DISTANCES,),
)
SCORE_SYNTHETIC = Job(
    "score_synthetic",
    ScoreSynthetic,
    "busaug_core.measure.scores:score_synthetic",
    check_scores,
    distributed=True,
    files=(SCORES, PRODUCTS),
)
FILTER_SYNTHETIC = Job(
    "filter_synthetic",
    FilterSynthetic,
    "busaug_core.measure.filter:filter_synthetic",
    "busaug_core.measure.thresholds:check",
    files=(PRODUCTS,),
)
