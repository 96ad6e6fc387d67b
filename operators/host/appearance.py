"""How a dataset that this plugin has loaded, or written to, looks when it is opened in the App."""

import hashlib
import json
from typing import Any

import fiftyone as fo

from busaug_core.generate.recipes import RECIPES
from busaug_core.jobs.config import LABEL_FIELD

from .classes import PREDICTIONS
from .names import INFO

CLASS_COLORS = {"benign": "#35c46b", "malignant": "#ff5a5f", "normal": "#4da3ff"}
ORIGIN_COLORS = {"real": "#e8e8e8", "simulated": "#e879b9"}

SCORES = ("class_probability", "class_consistent", "copy_ratio", "likeness", "realism", "herding", "influence")
"""The scores that the sidebar shows for filtering."""


def tidy(dataset: fo.Dataset, label_field: str = LABEL_FIELD) -> None:
    """Set colours, the fields that are shown, and the sidebar's groups.

    What a user has set, or changed since, stays. Of fields that the dataset lacks nothing is said, so that this may be
    called again when there are more.
    """
    ours = dict(dataset.info.get(INFO, {}))
    looks = dict(ours.get("looks", {}))
    for name, wanted in _looks(dataset, label_field).items():
        now = getattr(dataset.app_config, name)
        if not now or _fingerprint(now) == looks.get(name):
            setattr(dataset.app_config, name, wanted)
            looks[name] = _fingerprint(wanted)
    if looks != ours.get("looks"):
        dataset.info[INFO] = {**ours, "looks": looks}
        dataset.save()


def _looks(dataset: fo.Dataset, label_field: str) -> dict[str, Any]:
    """What the dataset's App config is to hold."""
    variant_colors = {slug: recipe.color for slug, recipe in RECIPES.items()}
    by_label = {} if isinstance(dataset.get_field(label_field), fo.StringField) else {"colorByAttribute": "label"}
    colors = fo.ColorScheme(
        color_by="value",
        opacity=0.35,
        fields=[
            {"path": label_field, **by_label, "valueColors": _values(CLASS_COLORS)},
            _by_class("lesions"),
            *map(_by_class, _predictions(dataset)),
            {"path": "variant", "valueColors": _values(ORIGIN_COLORS | variant_colors)},
        ],
    )
    groups = {
        "labels": [label_field, "lesions"],
        "origin": ["variant", "origin", "pair"],
        "audit": ["duplicate_group", "split_group", "annotation_score", "burnt_in_text"],
        "scores": ["distance.value", *(f"scores.{name}" for name in SCORES)],
        "source": _inner(dataset, "source"),
        "synthesis": _inner(dataset, "synthesis"),
        "metadata": _inner(dataset, "metadata"),
        "other": ["id", "filepath", "created_at", "last_modified_at"],
    }
    folded = ("source", "synthesis", "metadata", "other")
    groups["other"][:0] = [
        *[path for path in _inner(dataset, "distance") if path != "distance.value"],
        *[path for path in _inner(dataset, "scores") if path.removeprefix("scores.") not in SCORES],
    ]
    sidebar = [fo.SidebarGroupDocument(name="tags")]
    for name, paths in groups.items():
        if known := _known(dataset, paths):
            expanded = False if name in folded else None
            sidebar.append(fo.SidebarGroupDocument(name=name, paths=known, expanded=expanded))
    active = fo.ActiveFields(paths=_known(dataset, [*groups["labels"], "variant"]))
    return {"color_scheme": colors, "active_fields": active, "sidebar_groups": sidebar}


def _predictions(dataset: fo.Dataset) -> list[str]:
    """The fields that hold predictions of classes."""
    schema = dataset.get_field_schema(ftype=fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
    return [name for name in schema if name.startswith(PREDICTIONS)]


def _by_class(path: str) -> dict[str, Any]:
    return {"path": path, "colorByAttribute": "label", "valueColors": _values(CLASS_COLORS)}


def _fingerprint(look: Any) -> str:
    """What tells a part of the App's config from another, also one read back from the dataset."""
    parts = [part.to_dict() for part in (look if isinstance(look, list) else [look])]
    text = json.dumps(
        [{k: v for k, v in part.items() if k not in ("id", "_id", "_cls")} for part in parts], default=str
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _known(dataset: fo.Dataset, paths: list[str]) -> list[str]:
    """Those of the paths that the dataset has."""
    return [path for path in paths if dataset.get_field(path) is not None]


def _values(colors: dict[str, str]) -> list[dict[str, str]]:
    return [{"value": value, "color": color} for value, color in colors.items()]


def _inner(dataset: fo.Dataset, path: str) -> list[str]:
    field = dataset.get_field(path)
    is_document = isinstance(field, fo.EmbeddedDocumentField)
    return [f"{path}.{name}" for name in field.get_field_schema()] if is_document else []
