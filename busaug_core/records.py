"""One image and what is known of it, as plain data that travels between jobs as JSON lines."""

import base64
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from busaug_core.errors import UserError
from busaug_core.files import read_rows, write_rows
from busaug_core.foreign import reading
from busaug_core.images import open_image

SPLITS = ("train", "val", "test")
"""The tags of the splits."""


def _known(description: str) -> Any:
    """A field of a document that may be missing; the description is the dataset's too."""
    return field(default=None, metadata={"description": description})


@dataclass
class Document:
    """A typed part of a record: plain JSON on disk, an embedded document of the same fields in a dataset."""

    renamed: ClassVar[dict[str, str]] = {}
    """Names that earlier versions wrote, and what they are now."""

    @classmethod
    def from_json(cls, values: dict[str, Any] | None) -> Self | None:
        """The document of plain values; None for none. What it has no field for is left out."""
        if values is None:
            return None
        names = {f.name for f in fields(cls)}
        values = {cls.renamed.get(name, name): value for name, value in values.items()}
        return cls(**{name: value for name, value in values.items() if name in names})

    def to_json(self) -> dict[str, Any]:
        """What is known, as plain values."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}


@dataclass
class Source(Document):
    """What an external set tells of an image."""

    # FiftyOne keeps no field of the name id within a document.
    renamed: ClassVar = {"id": "name"}

    set: str | None = _known("The external set")
    name: str | None = _known("The image's name in its set")
    subject: str | None = _known("What ties images that share a split: a patient, or the original picture")
    patient: str | None = _known("The patient's number in the set")
    birads: str | None = _known("BI-RADS category")
    histology: str | None = _known("What the tissue was found to be")
    side: str | None = _known("The breast, left or right")
    bbox: str | None = _known("The lesion's box as published, in pixels of the original: [left, top, width, height]")
    device: str | None = _known("The scanner")
    split: str | None = _known("The split that the set was published with")
    fold: int | None = _known("The fold that the set was published with")
    file: str | None = _known("The file that this image was written from, as PNG")
    also_in: str | None = _known("Datasets that show the same scan")


@dataclass
class Synthesis(Document):
    """How a synthetic image was made; in JSON each component stands beside the other fields, by its own name."""

    run: str | None = _known("The run that made it")
    index: int | None = _known("Its number within its class and run")
    prompt: str | None = _known("The prompt")
    negative_prompt: str | None = _known("The negative prompt")
    adjective: str | None = _known("The adjective in the prompt")
    seed: int | None = _known("The seed of its noise")
    scheduler: str | None = _known("The sampling scheduler")
    steps: int | None = _known("Sampling steps")
    spacing: float | None = _known("How text2img's steps lie, 1 as the scheduler has them")
    guidance_scale: float | None = _known("Classifier-free guidance")
    guidance_end: float | None = _known("The share of the steps that is guided")
    domain_guidance: float | None = _known("Guidance away from the base")
    strength: float | None = _known("Denoising strength of img2img")
    width: int | None = _known("Width in pixels")
    height: int | None = _known("Height in pixels")
    batch_size: int | None = _known("Images sampled at a time")
    base_model: str | None = _known("The base model")
    mask_sample_id: str | None = _known("The sample, or the file, whose mask conditioned it")
    init_sample_id: str | None = _known("The sample that img2img started from")
    handoff: str | None = _known("How text2img handed its image to img2img")
    components: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: dict[str, Any] | None) -> Self | None:
        """The document; what is no field of its own is a component: its config field, and what was named there."""
        found = super().from_json(values)
        if found is not None:
            others = values.keys() - {f.name for f in fields(cls)}
            found.components = {name: values[name] for name in sorted(others) if values[name] is not None}
        return found

    def to_json(self) -> dict[str, Any]:
        values = super().to_json()
        components = values.pop("components")
        return {**values, **components}


@dataclass
class Scores(Document):
    """What a synthetic image is worth by itself."""

    renamed: ClassVar = {"fid_influence": "influence", "likest_real_id": "most_alike_real_id"}

    class_probability: float | None = _known("Probability of the intended class by a classifier of real images")
    class_consistent: bool | None = _known("Whether that classifier takes it for the intended class")
    nearest_real_distance: float | None = _known("Distance of features to the nearest training image")
    nearest_real_id: str | None = _known("The nearest training image")
    copy_ratio: float | None = _known("That distance over the usual one between real images; 0 is a copy")
    likeness: float | None = _known("Likeness to a training image's picture; from 0.6 on a near-copy")
    most_alike_real_id: str | None = _known("That training image")
    realism: float | None = _known("Realism; from 1 on it lies among real images")
    herding: float | None = _known("Place in the order of kernel herding, as a share of its variant's class")
    influence: float | None = _known("By how much it raises the Fréchet distance of its variant")
    run: str | None = _known("The run that scored it")
    extractor: str | None = _known("The network whose features were compared")


@dataclass
class Distance(Document):
    """The Fréchet distance of a synthetic sample's variant; each sample's own part is its influence."""

    metric: str | None = _known("What the distance is called: FID, or FD and the network")
    value: float | None = _known("The distance; less is nearer to the reference")
    n: int | None = _known("Images on each side of the comparison")
    extractor: str | None = _known("The network whose features are compared")
    reference: str | None = _known("The split of real images that is compared with")
    run: str | None = _known("The run that measured it")


@dataclass
class Lesion:
    """A lesion: its box in pixels and the mask's pixels in the box; `path` is its mask file, if it has one.

    `box` is left, top, width, height; `bits` are the mask within it, packed, deflated and in base 64.
    """

    path: str | None
    box: list[int]
    bits: str

    @classmethod
    def of(cls, path: str | Path | None, mask: np.ndarray, at: tuple[int, int] = (0, 0)) -> "Lesion":
        """The lesion of a mask, bool H×W with at least one pixel set, whose left upper pixel lies `at` (left, top)."""
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        packed = zlib.compress(np.packbits(mask[top:bottom, left:right]).tobytes())
        box = [at[0] + left, at[1] + top, right - left, bottom - top]
        return cls(None if path is None else str(path), box, base64.b64encode(packed).decode())

    @property
    def mask(self) -> np.ndarray:
        """The pixels within the box, bool height×width."""
        _, _, width, height = self.box
        packed = np.frombuffer(zlib.decompress(base64.b64decode(self.bits)), np.uint8)
        return np.unpackbits(packed, count=width * height).reshape(height, width).astype(bool)


DOCUMENTS: dict[str, type[Document]] = {"source": Source, "synthesis": Synthesis, "scores": Scores}
"""The typed documents of a record, by its field."""


@dataclass
class Record:
    """An image of the dataset.

    `path` is absolute and identifies the record, `id` is that of its sample, where it has one; `label` is empty
    where no class is known; `size` is the image's width, height and number of channels; `tags` hold the split
    (`train`, `val`, `test`), the origin and the variant; `burnt_in_text` is None where it was never read; `dataset`
    names the dataset that it is of, where that is not the job's own.
    """

    path: str
    label: str
    origin: str = "real"
    variant: str = "real"
    tags: list[str] = field(default_factory=list)
    lesions: list[Lesion] = field(default_factory=list)
    size: list[int] | None = None
    source: Source | None = None
    pair: str | None = None
    duplicate_group: str | None = None
    split_group: str | None = None
    annotation_score: float | None = None
    burnt_in_text: str | None = None
    synthesis: Synthesis | None = None
    scores: Scores | None = None
    id: str | None = None
    dataset: str | None = None

    @property
    def synthetic(self) -> bool:
        return self.origin == "synthetic"

    @property
    def cluster(self) -> str:
        """What images bear alike that are not independent: of one scan or patient, or grown from one noise."""
        if self.split_group:
            return self.split_group
        if self.source and self.source.subject:
            return f"{self.source.set}/{self.source.subject}"
        return self.pair or self.path

    @property
    def splits(self) -> list[str]:
        """The splits whose tags it bears: one, if all is well, or none."""
        return [split for split in SPLITS if split in self.tags]

    def lesion_mask(self) -> np.ndarray:
        """Its lesions together, bool of the image's height×width; all False where it has none."""
        width, height = self.size[:2] if self.size else open_image(self.path).size
        mask = np.zeros((height, width), bool)
        for lesion in self.lesions:
            left, top, across, down = lesion.box
            mask[top : top + down, left : left + across] |= lesion.mask
        return mask

    def to_json(self) -> dict[str, Any]:
        """The record as plain values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["lesions"] = [asdict(lesion) for lesion in self.lesions]
        for name in DOCUMENTS:
            if values[name] is not None:
                values[name] = values[name].to_json()
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Record":
        """The record of plain values; raises UserError where a later version wrote fields that this one lacks.

        Raises ValueError where they are no record's.
        """
        known = {f.name for f in fields(cls)}
        if not {"path", "label"} <= set(values):
            raise ValueError("its lines name no path and label")
        if unknown := sorted(set(values) - known):
            raise UserError(
                f"A record has unknown fields {unknown}: another version of BUSAug wrote it. Delete that run's folder "
                "to make it anew, or use that version."
            )
        # Earlier versions kept the files of masks that they had not read.
        read = [Lesion(**lesion) for lesion in values.get("lesions", ()) if lesion["box"] is not None]
        documents = {name: kind.from_json(values.get(name)) for name, kind in DOCUMENTS.items()}
        return cls(**{**values, **documents, "lesions": read})


def write_records(path: str | Path, records: Iterable[Record]) -> None:
    """Write records as JSON lines, all or nothing."""
    write_rows(Path(path), (record.to_json() for record in records))


def read_records(path: str | Path) -> list[Record]:
    """Read records written by `write_records`; raises UserError for a file that is another tool's."""
    with reading(path, "a list of images that BUSAug wrote"):
        return [Record.from_json(values) for values in read_rows(Path(path))]


def count_labels(records: Iterable[Record]) -> dict[str, int]:
    """How many records each label has, labels in alphabetical order."""
    counts: dict[str, int] = {}
    for record in records:
        counts[record.label] = counts.get(record.label, 0) + 1
    return dict(sorted(counts.items()))
