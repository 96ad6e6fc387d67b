"""Records of the core as FiftyOne samples, and back."""

import mimetypes
import os
from collections.abc import Iterable
from typing import Any

import fiftyone as fo
from fiftyone import ViewField as F
from PIL import Image

from busaug_core.errors import UserError
from busaug_core.measure.config import NEAR_COPY
from busaug_core.records import Lesion, Record

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
    "source": (
        fo.EmbeddedDocumentField,
        dict(embedded_doc_type=fo.DynamicEmbeddedDocument),
        "What an external set tells of the image",
    ),
    "source.set": (fo.StringField, {}, "The external set"),
    "source.id": (fo.StringField, {}, "The image's name in its set"),
    "source.subject": (fo.StringField, {}, "What ties images that share a split: a patient, or the original picture"),
    "source.patient": (fo.StringField, {}, "The patient's number in the set"),
    "source.birads": (fo.StringField, {}, "BI-RADS category"),
    "source.device": (fo.StringField, {}, "The scanner"),
    "source.split": (fo.StringField, {}, "The split that the set was published with"),
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
    "scores": (
        fo.EmbeddedDocumentField,
        dict(embedded_doc_type=fo.DynamicEmbeddedDocument),
        "What a synthetic image is worth by itself",
    ),
    "scores.class_probability": (fo.FloatField, {}, "Probability of the intended class by a classifier of real images"),
    "scores.class_consistent": (fo.BooleanField, {}, "Whether that classifier takes it for the intended class"),
    "scores.nearest_real_distance": (fo.FloatField, {}, "Distance of features to the nearest training image"),
    "scores.nearest_real_id": (fo.StringField, {}, "The nearest training image"),
    "scores.copy_ratio": (fo.FloatField, {}, "That distance over the usual one between real images; 0 is a copy"),
    "scores.likeness": (fo.FloatField, {}, f"Likeness to a training image's picture; from {NEAR_COPY} on a near-copy"),
    "scores.likest_real_id": (fo.StringField, {}, "That training image"),
    "scores.realism": (fo.FloatField, {}, "Realism; from 1 on it lies among real images"),
    "scores.fid_influence": (fo.FloatField, {}, "By how much it raises the Fréchet distance of its variant"),
    "scores.run": (fo.StringField, {}, "The run that scored it"),
    "scores.extractor": (fo.StringField, {}, "The network whose features were compared"),
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
    """Add the fields that this plugin writes, with their descriptions; existing ones are left alone.

    Raises UserError where the dataset has one of another type under such a name.
    """
    present = {name: dataset.get_field(name) for name in FIELDS}
    for name, (field, options, _) in FIELDS.items():
        document = options.get("embedded_doc_type")
        own, root = present[name], name.split(".")[0]
        if own is not None and not (isinstance(own, field) and (document is None or own.document_type == document)):
            raise UserError(
                f"The dataset's own field '{root}' holds something else than BUSAug would write there; rename it "
                f"first: dataset.rename_sample_field('{root}', 'my_{root}')."
            )
    for name, (field, options, description) in FIELDS.items():
        if present[name] is None:
            dataset.add_sample_field(name, field, description=description, **options)


def read_samples(view: fo.DatasetView | fo.Dataset) -> list[Record]:
    """The records of a view's samples."""
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
        "source",
        "synthesis",
        "scores",
    ]
    columns = {n: view.values(n) if n in schema else [None] * len(view) for n in names}
    labels = view.values("ground_truth.label") if "ground_truth" in schema else [None] * len(view)
    masks = [None] * len(labels)
    if view.get_field("lesions.detections.mask_file") is not None:
        masks = view.values("lesions.detections.mask_file")
    records = []
    for i, label in enumerate(labels):
        values = {name: column[i] for name, column in columns.items()}
        origin = values["origin"] or "real"
        documents = {n: _plain(values[n]) for n in ("source", "synthesis", "scores")}
        records.append(
            Record(
                values["filepath"],
                label or "",
                origin=origin,
                variant=values["variant"] or origin,
                tags=list(values["tags"]),
                lesions=[Lesion(m) for m in masks[i] or () if m],
                pair=values["pair"],
                duplicate_group=values["duplicate_group"],
                split_group=values["split_group"],
                annotation_score=values["annotation_score"],
                **documents,
            )
        )
    return records


def insert_missing(dataset: fo.Dataset, records: Iterable[Record]) -> int:
    """Add a sample for each record whose file the dataset lacks; returns how many were added."""
    waiting = list({r.path: r for r in records}.values())
    added = 0
    for i in range(0, len(waiting), BATCH):
        batch = waiting[i : i + BATCH]
        present = set(dataset.match(F("filepath").is_in([r.path for r in batch])).values("filepath"))
        missing = [make_sample(r) for r in batch if r.path not in present]
        dataset.add_samples(missing, progress=False)
        added += len(missing)
    return added


def make_sample(record: Record) -> fo.Sample:
    """The sample of a record; a file is opened, for its header, only where the record does not hold its size."""
    sample = fo.Sample(
        filepath=record.path,
        tags=list(record.tags),
        metadata=_metadata(record),
        ground_truth=fo.Classification(label=record.label),
        origin=record.origin,
        variant=record.variant,
    )
    if record.lesions:
        width, height = record.size[:2]
        sample["lesions"] = fo.Detections(
            detections=[_detection(lesion, record.label, width, height) for lesion in record.lesions]
        )
    for name in ("pair", "duplicate_group", "split_group", "annotation_score"):
        if getattr(record, name) is not None:
            sample[name] = getattr(record, name)
    for name in ("source", "synthesis"):
        if getattr(record, name) is not None:
            sample[name] = fo.DynamicEmbeddedDocument(**_known(getattr(record, name)))
    return sample


def _metadata(record: Record) -> fo.ImageMetadata:
    size = record.size
    if size is None:
        with Image.open(record.path) as image:
            size = [*image.size, len(image.getbands())]
    return fo.ImageMetadata(
        size_bytes=os.path.getsize(record.path),
        mime_type=mimetypes.guess_type(record.path)[0] or "image/png",
        width=size[0],
        height=size[1],
        num_channels=size[2],
    )


def _detection(lesion: Lesion, label: str, width: int, height: int) -> fo.Detection:
    left, top, across, down = lesion.box
    return fo.Detection(
        label=label,
        bounding_box=[left / width, top / height, across / width, down / height],
        mask=lesion.mask,
        mask_file=lesion.path,
    )


def _plain(value: Any) -> dict[str, Any] | None:
    """A document as plain values; None for a field of that name that is no document of ours."""
    return _known(value.to_dict()) if isinstance(value, fo.DynamicEmbeddedDocument) else None


def _known(document: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in document.items() if v is not None}
