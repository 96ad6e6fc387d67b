"""The field of a dataset that holds each image's class: a Classification or a string."""

import fiftyone as fo
from fiftyone.core.collections import SampleCollection

from busaug_core.errors import UserError
from busaug_core.jobs.config import LABEL_FIELD
from busaug_core.jobs.run import Run
from busaug_core.words import with_article

NOT_OF_CLASSES = ("filepath", "origin", "variant", "pair", "duplicate_group", "split_group")
PREDICTIONS, HEATMAPS = "predictions_", "heatmap_"


def label_field_of(run: Run) -> str:
    """The field that a run's config names; of a run that knows of none, the usual one."""
    return run.config.get("label_field", LABEL_FIELD)


def label_path(samples: SampleCollection, name: str) -> str | None:
    """Where the labels of a class field lie; None where the dataset has no classes in the usual field.

    Raises UserError where the field is missing or can hold no class.
    """
    field = samples.get_field(name)
    if is_classification(field):
        return f"{name}.label"
    if isinstance(field, fo.StringField) and name not in NOT_OF_CLASSES:
        return name
    if name == LABEL_FIELD:  # missing, or of boxes as many datasets have it there
        return None
    what = "is no field of this dataset"
    if field is not None:
        kind = getattr(field, "document_type", None) or type(field)
        what = f"is {with_article(kind.__name__)}, which holds no class of the image"
    known = ", ".join(class_fields(samples)) or "none yet"
    raise UserError(
        f"label_field '{name}' {what}; name a Classification or a string field (there are: {known}). From a field of "
        "another kind make one: dataset.add_sample_field(…), dataset.set_values(…)."
    )


def class_fields(samples: SampleCollection) -> list[str]:
    """The fields that may hold the class, the usual one first, then Classifications, then strings."""
    schema = samples.get_field_schema()
    labels = [name for name, field in schema.items() if is_classification(field) and not name.startswith(PREDICTIONS)]
    strings = [name for name, field in schema.items() if isinstance(field, fo.StringField)]
    found = [*labels, *(name for name in strings if name not in NOT_OF_CLASSES)]
    return sorted(found, key=lambda name: name != LABEL_FIELD)


def likely_field(samples: SampleCollection) -> str:
    """The field that a form starts with: the usual one, or else the only Classification."""
    labels = [name for name in class_fields(samples) if is_classification(samples.get_field(name))]
    usual = samples.get_field(LABEL_FIELD) is not None
    return labels[0] if len(labels) == 1 and not usual else LABEL_FIELD


def refuse_nested(name: str) -> None:
    """Raises UserError where new samples' classes would have to be written into a part of another field."""
    if "." in name:
        raise UserError(f"label_field '{name}' lies within another field; new samples need a field of its own there.")


def is_classification(field: fo.Field | None) -> bool:
    return isinstance(field, fo.EmbeddedDocumentField) and issubclass(field.document_type, fo.Classification)
