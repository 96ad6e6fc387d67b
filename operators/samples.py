"""Records of the core as FiftyOne samples, and back."""

import mimetypes
import os
from collections.abc import Iterable
from typing import Any

import fiftyone as fo
import numpy as np
from PIL import Image

from busaug_core.data.busi import read_mask
from busaug_core.data.records import Record
from busaug_core.errors import UserError

BATCH = 100

FIELDS: dict[str, tuple[type, dict[str, Any], str]] = {
    "ground_truth": (
        fo.EmbeddedDocumentField,
        dict(embedded_doc_type=fo.Classification),
        "Class of the scan: normal, benign or malignant",
    ),
    "lesions": (
        fo.EmbeddedDocumentField,
        dict(embedded_doc_type=fo.Detections),
        "Box and mask of each lesion, one for each mask file",
    ),
    "lesions.detections.mask_file": (fo.StringField, {}, "The mask file that the lesion was read from"),
    "origin": (fo.StringField, {}, "Where the image comes from: real, simulated or synthetic"),
    "variant": (fo.StringField, {}, "The recipe of a synthetic image; the origin of any other"),
    "pair": (fo.StringField, {}, "Joins the variants that grew from one text2img image"),
    "duplicate_group": (fo.StringField, {}, "Joins images of the same picture"),
    "split_group": (fo.StringField, {}, "Joins images that must lie in one split: same picture or same scan"),
    "annotation_score": (
        fo.FloatField,
        {},
        "How surely the scan bears burnt-in marks; from 1 on it is tagged",
    ),
    "fid": (
        fo.EmbeddedDocumentField,
        dict(embedded_doc_type=fo.DynamicEmbeddedDocument),
        "Fréchet distance of the sample's variant",
    ),
    "fid.value": (fo.FloatField, {}, "The distance; less is nearer to the reference"),
    "fid.n": (fo.IntField, {}, "Images on each side of the comparison"),
    "fid.extractor": (fo.StringField, {}, "The network whose features are compared"),
    "fid.reference": (fo.StringField, {}, "The split of real images that is compared with"),
    "fid.run": (fo.StringField, {}, "The run that measured it"),
    "synthesis": (
        fo.EmbeddedDocumentField,
        dict(embedded_doc_type=fo.DynamicEmbeddedDocument),
        "How a synthetic image was made",
    ),
    "synthesis.run": (fo.StringField, {}, "The run that made it"),
    "synthesis.index": (fo.IntField, {}, "Its number within its class and run"),
    "synthesis.prompt": (fo.StringField, {}, "The prompt"),
    "synthesis.negative_prompt": (fo.StringField, {}, "The negative prompt"),
    "synthesis.seed": (fo.IntField, {}, "The seed of its noise"),
    "synthesis.scheduler": (fo.StringField, {}, "The sampling scheduler"),
    "synthesis.steps": (fo.IntField, {}, "Sampling steps"),
    "synthesis.guidance_scale": (fo.FloatField, {}, "Classifier-free guidance"),
    "synthesis.strength": (fo.FloatField, {}, "Denoising strength of img2img"),
    "synthesis.width": (fo.IntField, {}, "Width in pixels"),
    "synthesis.height": (fo.IntField, {}, "Height in pixels"),
    "synthesis.batch_size": (fo.IntField, {}, "Images sampled at a time"),
    "synthesis.base_model": (fo.StringField, {}, "The base model"),
    "synthesis.lora": (fo.StringField, {}, "The LoRA"),
    "synthesis.token": (fo.StringField, {}, "The learned token"),
    "synthesis.controlnet": (fo.StringField, {}, "The ControlNet"),
    "synthesis.mask_sample_id": (fo.StringField, {}, "The sample whose mask conditioned it"),
    "synthesis.init_sample_id": (fo.StringField, {}, "The sample that img2img started from"),
    "synthesis.handoff": (fo.StringField, {}, "How text2img handed its image to img2img"),
}


def declare_fields(dataset: fo.Dataset) -> None:
    """Add the fields that this plugin writes, with their descriptions; existing ones are left alone."""
    for name, (field, options, description) in FIELDS.items():
        if dataset.get_field(name) is None:
            dataset.add_sample_field(name, field, description=description, **options)


def read_samples(view: fo.DatasetView | fo.Dataset) -> list[Record]:
    """The records of a view's samples.

    Raises UserError where a sample has no class in `ground_truth`.
    """
    schema = view.get_field_schema()
    names = [
        "filepath",
        "tags",
        "origin",
        "variant",
        "pair",
        "duplicate_group",
        "split_group",
        "annotation_score",
        "synthesis",
    ]
    columns = {n: view.values(n) if n in schema else [None] * len(view) for n in names}
    labels = view.values("ground_truth.label") if "ground_truth" in schema else [None] * len(view)
    missing = [path for path, label in zip(columns["filepath"], labels, strict=True) if not label]
    if missing:
        raise UserError(f"{len(missing)} samples have no class in the field ground_truth ({missing[0]}).")
    masks = [None] * len(labels)
    if view.get_field("lesions.detections.mask_file") is not None:
        masks = view.values("lesions.detections.mask_file")
    records = []
    for i, label in enumerate(labels):
        values = {name: column[i] for name, column in columns.items()}
        origin = values["origin"] or "real"
        synthesis = values["synthesis"]
        records.append(
            Record(
                values["filepath"],
                label,
                origin=origin,
                variant=values["variant"] or origin,
                tags=list(values["tags"]),
                masks=[m for m in masks[i] or () if m],
                pair=values["pair"],
                duplicate_group=values["duplicate_group"],
                split_group=values["split_group"],
                annotation_score=values["annotation_score"],
                synthesis=synthesis.to_dict() if synthesis is not None else None,
            )
        )
    return records


def insert_missing(dataset: fo.Dataset, records: Iterable[Record]) -> int:
    """Add a sample for each record whose file the dataset lacks; returns how many were added."""
    present = set(dataset.values("filepath"))
    missing = {r.path: r for r in records if r.path not in present}
    added = list(missing.values())
    for i in range(0, len(added), BATCH):
        dataset.add_samples([make_sample(r) for r in added[i : i + BATCH]], progress=False)
    return len(added)


def make_sample(record: Record) -> fo.Sample:
    """The sample of a record; reads the image's size and the masks."""
    sample = fo.Sample(
        filepath=record.path,
        tags=list(record.tags),
        metadata=_metadata(record.path),
        ground_truth=fo.Classification(label=record.label),
        origin=record.origin,
        variant=record.variant,
    )
    lesions = [_lesion(path, record.label) for path in record.masks]
    if lesions:
        sample["lesions"] = fo.Detections(detections=[lesion for lesion in lesions if lesion])
    for name in ("pair", "duplicate_group", "split_group", "annotation_score"):
        if getattr(record, name) is not None:
            sample[name] = getattr(record, name)
    if record.synthesis is not None:
        known = {k: v for k, v in record.synthesis.items() if v is not None}
        sample["synthesis"] = fo.DynamicEmbeddedDocument(**known)
    return sample


def _metadata(path: str) -> fo.ImageMetadata:
    with Image.open(path) as image:
        (width, height), channels = image.size, len(image.getbands())
    mime = mimetypes.guess_type(path)[0] or "image/png"
    return fo.ImageMetadata(
        size_bytes=os.path.getsize(path), mime_type=mime, width=width, height=height, num_channels=channels
    )


def _lesion(path: str, label: str) -> fo.Detection | None:
    """The lesion of a mask file: its box, and the mask within it; None for an empty mask."""
    mask = read_mask(path)
    if not mask.any():
        return None
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    box = [left / width, top / height, (right - left) / width, (bottom - top) / height]
    return fo.Detection(
        label=label,
        bounding_box=[float(x) for x in box],
        mask=mask[top:bottom, left:right],
        mask_file=path,
    )
