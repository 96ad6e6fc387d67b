"""Settings of the jobs that measure."""

from typing import Literal

from pydantic import Field

from busaug_core.config import JobConfig


class Measurement(JobConfig):
    """What all measurements share."""

    extractor: str = Field(
        "inception",
        min_length=1,
        description="'inception' (the network of published FIDs), or the run key of a classifier trained here.",
    )
    variants: list[str] | None = Field(None, description="Variants to measure (empty: all).")
    reference: Literal["train", "val", "test"] = Field(
        "val", description="The split of real images that variants are compared with."
    )
    batch_size: int = Field(32, ge=1, le=1024, description="Images at a time.")
    seed: int = Field(51, ge=0, lt=2**31, description="Seed of subsets and projections.")


class ComputeEmbeddings(Measurement):
    """Features of every image as a vector field, their UMAP, and how the variants overlap with real."""

    neighbors: int = Field(5, ge=1, le=50, description="Nearest neighbours that the overlap figures look at.")


class ComputeFid(Measurement):
    """The Fréchet distance of each variant's evaluation set to real images, with the real-vs-real floor."""

    floor_draws: int = Field(10, ge=1, le=1000, description="Real subsets drawn for the real-vs-real floor.")
