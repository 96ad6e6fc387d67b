"""Records of the core as FiftyOne samples, and back."""

import mimetypes
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
from fiftyone import ViewField as F
from PIL import Image

from busaug_core.data.masks import read_mask
from busaug_core.errors import UserError
from busaug_core.files import content_hash, make_folder, refuse_missing
from busaug_core.images import read_size
from busaug_core.jobs.config import LABEL_FIELD
from busaug_core.jobs.processes import locked
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import runs_folder
from busaug_core.records import DOCUMENTS, Lesion, Record

from .classes import label_field_of, label_path
from .fields import declare_fields, declare_label_field, is_ours
from .images import every_image, images_of, slice_of
from .names import home_of

BATCH = 100
VALUES = ("pair", "duplicate_group", "split_group", "annotation_score", "burnt_in_text")
"""The fields that a sample and its record have alike."""
LESIONS = "lesions.detections"
ORIGINS = ("real", "simulated", "synthetic")


def read_samples(view: fo.DatasetView | fo.Dataset, label_field: str = LABEL_FIELD) -> list[Record]:
    """The records of a collection's images, with their lesions' masks as far as these can be read.

    A document of an earlier version is read by its present names; a field of the user's own that bears one of ours
    but is of another type is not read. Raises UserError where the collection is none of images, or `label_field` is
    no field that can hold their class.
    """
    view = images_of(view)
    names = ("id", "filepath", "tags", *(name for name in ("origin", "variant", *VALUES) if is_ours(view, name)))
    sizes = [f"metadata.{name}" for name in ("width", "height", "num_channels")]
    labels_in = label_path(view, label_field)
    found = _columns(view, (*names, *DOCUMENTS, *sizes, *([labels_in] if labels_in else [])))
    labels = found.pop(labels_in) if labels_in else [None] * len(found["id"])
    found = {**dict.fromkeys(("origin", "variant", *VALUES), [None] * len(labels)), **found}
    sizes = list(zip(*(found.pop(name) for name in sizes), strict=True))
    lesions = _read_lesions(view, found["filepath"], sizes)
    records = []
    for i, label in enumerate(labels):
        values = {name: column[i] for name, column in found.items()}
        origin = values.pop("origin")
        origin = origin if origin in ORIGINS else "real"
        documents = {name: _document(name, values.pop(name)) for name in DOCUMENTS}
        records.append(
            Record(
                values.pop("filepath"),
                label or "",
                origin=origin,
                variant=values.pop("variant") or origin,
                tags=list(values.pop("tags") or ()),
                lesions=lesions[i],
                size=list(sizes[i]) if all(sizes[i]) else None,
                **documents,
                **values,
            )
        )
    return records


def read_other(name: str, label_field: str) -> list[Record]:
    """The records of another dataset's images; raises UserError where there is none, or `read_samples` does."""
    if not fo.dataset_exists(name):
        raise UserError(f"There is no dataset '{name}'; there are {', '.join(fo.list_datasets())}.")
    try:
        return read_samples(fo.load_dataset(name), label_field)
    except UserError as problem:
        raise UserError(f"Dataset '{name}': {problem}") from None


def insert_missing(dataset: fo.Dataset, records: Iterable[Record], run: Run | None = None) -> int:
    """Add a sample for each record whose file the dataset lacks; returns how many were added.

    `run` made the records: its config says which field holds the class, and in a grouped dataset they join the slice
    of the images that it was given. Raises UserError where the dataset has a field of another type than is written.
    """
    waiting = list({r.path: r for r in records}.values())
    label_field = LABEL_FIELD if run is None else label_field_of(run)
    if waiting:
        declare_fields(dataset, _written_to(waiting))
        declare_label_field(dataset, label_field)
    as_string = isinstance(dataset.get_field(label_field), fo.StringField)
    beside = [] if run is None else [r.id for r in run.records if r.id is not None]
    group_slice = slice_of(dataset, beside)
    added = 0
    folder = runs_folder(home_of(dataset))
    make_folder(folder)
    for i in range(0, len(waiting), BATCH):
        batch = waiting[i : i + BATCH]
        with locked(folder / "insert.lock"):  # two workers of a run tell of the same images
            there = every_image(dataset).match(F("filepath").is_in([r.path for r in batch]))
            present = set(there.values("filepath"))
            lacking = [r for r in batch if r.path not in present]
            moved = _moved(dataset, lacking)
            missing = [make_sample(r, label_field, as_string) for r in lacking if r.path not in moved]
            if group_slice is not None:
                for sample in missing:
                    sample[dataset.group_field] = fo.Group().element(group_slice)
            dataset.add_samples(missing, progress=False)
        added += len(missing)
    return added


def make_sample(record: Record, label_field: str = LABEL_FIELD, as_string: bool = False) -> fo.Sample:
    """The sample of a record; a file is opened, for its header, only where the record does not hold its size.

    Raises UserError where the file is missing or no image.
    """
    refuse_missing([record.path])
    width, height, channels = record.size or read_size(record.path)
    sample = fo.Sample(
        filepath=record.path,
        tags=list(record.tags),
        metadata=fo.ImageMetadata(
            size_bytes=os.path.getsize(record.path),
            mime_type=mimetypes.guess_type(record.path)[0] or "image/png",
            width=width,
            height=height,
            num_channels=channels,
        ),
        origin=record.origin,
        variant=record.variant,
        **({label_field: record.label if as_string else fo.Classification(label=record.label)} if record.label else {}),
    )
    if record.lesions:
        sample["lesions"] = fo.Detections(
            detections=[_detection(lesion, record.label, width, height) for lesion in record.lesions]
        )
    for name in VALUES:
        if getattr(record, name) is not None:
            sample[name] = getattr(record, name)
    for name in DOCUMENTS:
        if getattr(record, name) is not None:
            sample[name] = fo.DynamicEmbeddedDocument(**getattr(record, name).to_json())
    return sample


def _moved(dataset: fo.Dataset, records: list[Record]) -> set[str]:
    """The paths of those synthetic images of which a sample shows the same pair, variant and bytes in another file."""
    of = {(r.pair, r.variant): r.path for r in records if r.pair is not None}
    if not of or dataset.get_field("pair") is None:
        return set()
    there = every_image(dataset).match(F("pair").is_in([pair for pair, _ in of]))
    found = zip(*there.values(["pair", "variant", "filepath"]), strict=True)
    known = [(of[pair, variant], path) for pair, variant, path in found if (pair, variant) in of]
    return {own for own, path in known if Path(path).is_file() and content_hash(path) == content_hash(own)}


def _written_to(records: list[Record]) -> list[str]:
    """The fields that samples of these records have values in."""
    names = [name for name in ("lesions", *VALUES, *DOCUMENTS) if any(getattr(r, name) for r in records)]
    return ["origin", "variant", *names]


def _columns(view: fo.DatasetView | fo.Dataset, names: Iterable[str]) -> dict[str, list[Any]]:
    """The values of each field, read at once; None where the dataset has no such field."""
    names = list(names)
    known = [name for name in names if name == "id" or view.get_field(name) is not None]
    found = dict(zip(known, view.values(known), strict=True)) if known else {}
    length = len(next(iter(found.values()))) if found else len(view)
    return {name: found.get(name) or [None] * length for name in names}


def _document(name: str, value: Any) -> Any:
    """The document of a sample's field; None for a field of that name that is no document of ours."""
    if not isinstance(value, fo.DynamicEmbeddedDocument):
        return None
    return DOCUMENTS[name].from_json({k: v for k, v in value.to_dict().items() if not k.startswith("_")})


def _read_lesions(
    view: fo.DatasetView | fo.Dataset, paths: list[str], sizes: list[tuple[int | None, ...]]
) -> list[list[Lesion]]:
    """The lesions of each sample; a detection without a mask is none."""
    names = ("bounding_box", "mask", "mask_path", "mask_file")
    boxes, *others = _columns(view, [f"{LESIONS}.{name}" for name in names]).values()
    lesions = []
    for i, path in enumerate(paths):
        of_sample = []
        if boxes[i]:
            own = [column[i] or [None] * len(boxes[i]) for column in others]
            of_sample = [_read_lesion(path, sizes[i][:2], *parts) for parts in zip(boxes[i], *own, strict=True)]
        lesions.append([lesion for lesion in of_sample if lesion is not None])
    return lesions


def _read_lesion(
    path: str,
    size: tuple[int | None, ...],
    box: list[float],
    mask: np.ndarray | None,
    mask_path: str | None,
    mask_file: str | None,
) -> Lesion | None:
    """The lesion of a detection: a mask in the database or at `mask_path` fills its box, a `mask_file` the image."""
    if mask is None:
        mask = _read_mask(mask_path)
    if mask is None:
        whole = _read_mask(mask_file)
        return Lesion.of(mask_file, whole) if whole is not None and whole.any() else None
    image_width, image_height = size if all(size) else read_size(path)[:2]
    left, top = round(box[0] * image_width), round(box[1] * image_height)
    width, height = max(1, round(box[2] * image_width)), max(1, round(box[3] * image_height))
    mask = np.asarray(mask) > 0
    if mask.shape != (height, width):
        mask = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    # What a box drawn by hand has outside of the image is no part of it.
    mask = mask[max(0, -top) : image_height - top, max(0, -left) : image_width - left]
    return Lesion.of(mask_file, mask, (max(0, left), max(0, top))) if mask.any() else None


def _read_mask(file: str | None) -> np.ndarray | None:
    """A mask file's pixels; None where it is missing, so that what only looks at images goes on."""
    if file is None or not Path(file).exists():
        return None
    return read_mask(file)


def _detection(lesion: Lesion, label: str, width: int, height: int) -> fo.Detection:
    left, top, across, down = lesion.box
    return fo.Detection(
        label=label,
        bounding_box=[left / width, top / height, across / width, down / height],
        mask=lesion.mask,
        mask_file=lesion.path,
    )
