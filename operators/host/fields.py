"""The fields that this plugin writes to a dataset: their types and descriptions, and those of earlier versions."""

from collections.abc import Collection
from dataclasses import fields
from typing import Any, get_args

import fiftyone as fo
from fiftyone.core.collections import SampleCollection

from busaug_core.base.components import COMPONENTS
from busaug_core.errors import UserError
from busaug_core.jobs.config import LABEL_FIELD
from busaug_core.records import DOCUMENTS as OF_RECORDS
from busaug_core.records import Distance, Document

from .classes import label_path, refuse_nested

DOCUMENTS: dict[str, type[Document]] = {**OF_RECORDS, "distance": Distance}
"""The typed documents that a sample may hold, by field."""
KINDS = {str: fo.StringField, int: fo.IntField, float: fo.FloatField, bool: fo.BooleanField}

Declaration = tuple[type[fo.Field], dict[str, Any], str]
"""A field's class, its options and its description."""

PLAIN: dict[str, Declaration] = {
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
    "annotation_score": (fo.FloatField, {}, "How surely the scan bears burnt-in marks; from 1 on it is tagged"),
    "burnt_in_text": (fo.StringField, {}, "Text burnt into the scan, line by line; empty where none was read"),
}


def _of_document(name: str, kind: type[Document]) -> dict[str, Declaration]:
    """The declarations of a document and of its fields, which its class describes."""
    about = kind.__doc__.split(";")[0].split(".")[0]
    found = {name: (fo.EmbeddedDocumentField, dict(embedded_doc_type=fo.DynamicEmbeddedDocument), about)}
    for field in fields(kind):
        if "description" in field.metadata:
            declared = KINDS[next(a for a in get_args(field.type) if a is not type(None))]
            found[f"{name}.{field.name}"] = (declared, {}, field.metadata["description"])
    return found


def _of_components() -> dict[str, Declaration]:
    """The declarations of what a synthetic image may have been made with."""
    return {f"synthesis.{c.field}": (fo.StringField, {}, f"What was named as {c.called}") for c in COMPONENTS.values()}


def all_fields() -> dict[str, Declaration]:
    """What `declare_fields` adds to a dataset, by path."""
    documents = {path: of for name, kind in DOCUMENTS.items() for path, of in _of_document(name, kind).items()}
    return {**PLAIN, **documents, **_of_components()}


def declare_fields(dataset: fo.Dataset, roots: Collection[str] | None = None) -> list[str]:
    """Add fields that this plugin writes, with their descriptions; existing ones are left alone.

    `roots` are the top-level fields that are about to be written, by default all. Returns those that were added.
    Raises UserError where the dataset has one of another type under such a name.
    """
    refuse_other_fields(dataset, roots)
    added = []
    for name, (field, options, description) in _of_roots(roots).items():
        if dataset.get_field(name) is None:
            dataset.add_sample_field(name, field, description=description, **options)
            added.append(name)
    return [name for name in added if "." not in name]


def declare_label_field(dataset: fo.Dataset, name: str) -> None:
    """Add the field that holds the class where the dataset lacks it; raises UserError where it can hold none."""
    refuse_nested(name)
    if dataset.get_field(name) is None:
        field, options, description = PLAIN[LABEL_FIELD]
        dataset.add_sample_field(name, field, description=description, **options)
    label_path(dataset, name)


def refuse_other_fields(dataset: fo.Dataset, roots: Collection[str] | None = None) -> None:
    """Raises UserError where the dataset has a field of another type than this plugin writes under one of the names."""
    for name in _of_roots(roots):
        root = name.split(".")[0]
        if not is_ours(dataset, name):
            raise UserError(
                f"The dataset's own field '{root}' holds something else than BUSAug would write there; rename it "
                f"first: dataset.rename_sample_field('{root}', 'my_{root}')."
            )


def is_ours(samples: SampleCollection, path: str) -> bool:
    """Whether a field is missing, or of the type that this plugin gives it."""
    return fits(samples.get_field(path), all_fields()[path])


def fits(own: fo.Field | None, declared: Declaration) -> bool:
    """Whether a dataset's field is missing, or of the type that is declared."""
    kind, options, _ = declared
    document = options.get("embedded_doc_type")
    return own is None or (isinstance(own, kind) and (document is None or own.document_type == document))


def _of_roots(roots: Collection[str] | None) -> dict[str, Declaration]:
    """The declarations of these top-level fields and of what lies in them; of all for None."""
    return {name: of for name, of in all_fields().items() if roots is None or name.split(".")[0] in roots}


def move_old_fields(dataset: fo.Dataset) -> dict[str, str]:
    """Rename the fields that an earlier version wrote, and describe them; returns the old names and the new ones."""
    is_ours = _is_document(dataset, "fid") and dataset.get_field("fid.reference") is not None
    old = {"fid": "distance"} if is_ours else {}
    for name, kind in DOCUMENTS.items():
        if _is_document(dataset, name):
            old |= {f"{name}.{before}": f"{name}.{now}" for before, now in kind.renamed.items()}
    found = {before: now for before, now in old.items() if dataset.get_field(before) is not None}
    found = {before: now for before, now in found.items() if dataset.get_field(now) is None}
    if found:
        dataset.rename_sample_fields(found)
        declare_fields(dataset, {now.split(".")[0] for now in found.values()})
    return found


def _is_document(dataset: fo.Dataset, name: str) -> bool:
    """Whether a field holds documents such as this plugin writes."""
    field = dataset.get_field(name)
    return isinstance(field, fo.EmbeddedDocumentField) and field.document_type == fo.DynamicEmbeddedDocument
