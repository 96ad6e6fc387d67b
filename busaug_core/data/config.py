"""Settings of the jobs that load data."""

import math
import re
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from busaug_core.data.sources import DOWNLOAD, KAGGLE
from busaug_core.jobs.config import JobConfig, OnSamples
from busaug_core.jobs.execute import Job
from busaug_core.jobs.run import PRODUCTS
from busaug_core.paths import absolute

COPY = 0.75
"""Likeness from which two images are the same picture: in BUSI, most published copies lie above it."""
SCAN = 0.34
"""Likeness from which two images are frames of one scan: by eye, all but one of BUSI's 270 pairs above it are."""
MANY = 4000
"""Images up to which `SCAN` is high enough."""

SIMULATED = "simulated"
FOLDERS = "folders"
"""The split that an external set's own folders make."""
OFFICIAL = "official"
"""The split that an external set publishes as a list."""
FIRST_FOLD = "first_fold"
"""The split in which the first of the folds validates, and all others train."""


def scan_likeness(n: int) -> float:
    """The likeness from which two of n images are of one scan.

    The more images there are, the more pairs are alike by chance, while a scan has no more frames than before. In
    BUSI one pair of 270 above `SCAN` is wrong; of 4,000 images about 2 % of the pairs would be. Beyond that the
    threshold rises so that this share stays the same: chance pairs become rarer by a factor e for each 0.025
    (measured on simulated scans and across BUSI's classes).
    """
    return SCAN + 0.025 * math.log(max(1, n / MANY))


class Load(JobConfig):
    """What all loading has in common: splits, and what becomes of bad files."""

    has_folders: ClassVar[bool] = False
    """Whether the set may bring splits of its own, as folders or lists."""

    source: str
    dataset_name: str | None
    split: str | None
    split_by: Literal["group", "image"] = Field(
        "group",
        description="group: frames of one scan stay in one split; image: at random, so that they leak between splits.",
    )
    folds: int | None = Field(
        None, ge=2, le=20, description="Also deal the images out to this many folds, as tags fold_1, fold_2 and so on."
    )
    seed: int = Field(51, ge=0, lt=2**31, description="Seed of the split and of the simulator.")
    on_error: Literal["raise", "skip"] = Field(
        "raise", description="What to do with a file that cannot be read: stop, or leave it out and say so."
    )
    write_png: bool = Field(
        False,
        description="Write PNGs of images that browsers do not show (TIFF, JPEG 2000, PGM, more than 8 bits) into the "
        "run's folder and load these; of DICOM files it is always done.",
    )

    @field_validator("source")
    @classmethod
    def _place(cls, source: str) -> str:
        """A path from the working directory on as an absolute one; a word such as `kaggle` as it is."""
        if "://" in source:
            raise ValueError("addresses are not fetched; download it, and give the path of the folder or zip")
        return source if source in (SIMULATED, KAGGLE, DOWNLOAD) else str(absolute(source))

    @field_validator("split")
    @classmethod
    def _parts(cls, split: str | None) -> str | None:
        if split in (None, FIRST_FOLD) or (split in (FOLDERS, OFFICIAL) and cls.has_folders):
            return split
        if not re.fullmatch(r"\d+(-\d+){1,2}|\d+(/\d+){1,2}", split):
            raise ValueError(f"{split!r} is neither percentages such as 80-20 nor numbers such as 545/115/120")
        if "-" in split and sum(int(share) for share in split.split("-")) != 100:
            raise ValueError(f"the percentages {split} do not sum to 100")
        return split

    @model_validator(mode="after")
    def _has_a_first_fold(self) -> Self:
        if self.split == FIRST_FOLD and self.folds is None:
            raise ValueError(f"the split '{FIRST_FOLD}' needs folds; set them to 5, say")
        return self


class LoadBusi(Load):
    """BUSI, or simulated scans in its place, as a labelled and split dataset."""

    source: str = Field(
        SIMULATED,
        min_length=1,
        description="A folder or zip in BUSI's layout (a folder a class); or 'kaggle', 'download', 'simulated'.",
    )
    dataset_name: str = Field("busi", min_length=1, description="Name of the new dataset.")
    images: int = Field(
        240,
        ge=12,
        le=100_000,
        description="Number of simulated scans, in BUSI's class proportions (simulated only).",
    )
    image_size: int = Field(128, ge=64, le=512, description="Side of the simulated scans in pixels (simulated only).")
    split: str = Field(
        "80-20",
        description="Training, validation and perhaps test images: percentages (80-20), numbers (545/115/120), or "
        "'first_fold': the first of the folds validates.",
    )


class LoadExternal(Load, OnSamples):
    """Another breast-ultrasound set, as a dataset of its own or as tagged samples of this one.

    It is audited together with all of this dataset, whatever the view; of a grouped one with the chosen slice alone.
    """

    has_folders: ClassVar[bool] = True

    layout: Literal[
        "bus_bra",
        "breast_lesions_usg",
        "meddap_kaggle",
        "udiat",
        "bus_uclm",
        "bus_uc",
        "buid",
        "gdph_sysucc",
        "busi_whu",
        "folder",
        "images",
    ] = Field(
        description="How the set's files are laid out: one of the published sets, a folder a class, or images without "
        "classes."
    )
    source: str = Field(min_length=1, description="The set's folder or zip.")
    dataset_name: str | None = Field(
        None, min_length=1, description="Name of a new dataset; none: add the samples to the dataset at hand."
    )
    split: str | None = Field(
        None,
        description="Percentages (80-20), numbers, 'folders' as published, 'official' as the set's lists say (the "
        "first fold tests; folds chooses the list), or 'first_fold' (it validates); none: no split, a set to test on.",
    )
    rename: list[str] = Field(
        [], description="Classes under another name, such as 'Benign lesion=benign'; letter case does not matter."
    )

    compare_with: list[str] = Field(
        [], description="Other datasets loaded here, by name: images that show a scan of theirs are reported."
    )

    @field_validator("rename")
    @classmethod
    def _pairs(cls, rename: list[str]) -> list[str]:
        for pair in rename:
            if not all(pair.partition("=")):
                raise ValueError(f"{pair!r} is not of the form 'name in the set=name here'")
        return rename


class Audit(OnSamples):
    """Copies, frames of one scan, doubtful labels, axilla views and burnt-in annotations, as groups and tags.

    All of the dataset is looked at, whatever the view; of a grouped one the chosen slice alone.
    """

    copy_likeness: float = Field(
        COPY, gt=0, le=1, description="Likeness (correlation of locally normalised pictures) of the same picture."
    )
    scan_likeness: float | None = Field(
        None,
        gt=0,
        le=1,
        description=f"Likeness of two frames of one scan (empty: {SCAN}, a little more beyond {MANY} images).",
    )
    annotation_threshold: float = Field(
        1.0, gt=0, description="Annotation score from which an image is tagged 'annotated'."
    )
    read_text: bool = Field(
        False,
        description="Read burnt-in text, and tag what looks like a patient's data 'patient_text' (half a second an "
        "image and core; needs rapidocr-onnxruntime).",
    )

    @model_validator(mode="after")
    def _ordered(self) -> "Audit":
        if self.scan_likeness is not None and self.scan_likeness > self.copy_likeness:
            raise ValueError("scan_likeness must not exceed copy_likeness: a copy is of the same scan")
        return self

    def scan_likeness_among(self, n: int) -> float:
        """The likeness of one scan's frames in a set of n images; never above that of copies."""
        if self.scan_likeness is not None:
            return self.scan_likeness
        return min(self.copy_likeness, scan_likeness(n))


LOAD_BUSI = Job(
    "load_busi",
    LoadBusi,
    "busaug_core.data.load:load_busi",
    "busaug_core.data.load:check_busi",
    makes_dataset=True,
    takes_samples=False,
    files=(PRODUCTS,),
)
LOAD_EXTERNAL = Job(
    "load_external",
    LoadExternal,
    "busaug_core.data.load:load_external",
    "busaug_core.data.load:check_external",
    needs_classes=False,
    makes_dataset=True,
    files=(PRODUCTS,),
)
AUDIT = Job("audit", Audit, "busaug_core.data.audit.audit:audit", needs_classes=False, files=(PRODUCTS,))
LOADS = (LOAD_BUSI.name, LOAD_EXTERNAL.name)
"""The jobs that load images."""
