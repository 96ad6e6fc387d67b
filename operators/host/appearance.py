"""How a loaded dataset looks when it is first opened in the App."""

import fiftyone as fo
from fiftyone import ViewField as F

from busaug_core.generate.recipes import RECIPES

CLASS_COLORS = {"benign": "#35c46b", "malignant": "#ff5a5f", "normal": "#4da3ff"}
ORIGIN_COLORS = {"real": "#e8e8e8", "simulated": "#b8a07e"}

SCORES = ("class_probability", "class_consistent", "copy_ratio", "likeness", "realism", "influence")
"""The scores that the sidebar shows for filtering."""


def tidy(dataset: fo.Dataset) -> None:
    """Set colours, the fields that are shown, the sidebar's groups and the saved views."""
    variant_colors = {slug: recipe.color for slug, recipe in RECIPES.items()}
    dataset.app_config.color_scheme = fo.ColorScheme(
        color_by="value",
        opacity=0.35,
        fields=[
            {"path": "ground_truth", "colorByAttribute": "label", "valueColors": _values(CLASS_COLORS)},
            {"path": "lesions", "colorByAttribute": "label", "valueColors": _values(CLASS_COLORS)},
            {"path": "variant", "valueColors": _values(ORIGIN_COLORS | variant_colors)},
        ],
    )
    dataset.app_config.active_fields = fo.ActiveFields(paths=["ground_truth", "lesions"])
    dataset.app_config.sidebar_groups = [
        fo.SidebarGroupDocument(name="tags"),
        fo.SidebarGroupDocument(name="labels", paths=["ground_truth", "lesions"]),
        fo.SidebarGroupDocument(name="origin", paths=["variant", "origin", "pair"]),
        fo.SidebarGroupDocument(name="audit", paths=["duplicate_group", "split_group", "annotation_score"]),
        fo.SidebarGroupDocument(name="scores", paths=["distance.value", *(f"scores.{name}" for name in SCORES)]),
        fo.SidebarGroupDocument(name="source", paths=_inner(dataset, "source"), expanded=False),
        fo.SidebarGroupDocument(name="synthesis", paths=_inner(dataset, "synthesis"), expanded=False),
        fo.SidebarGroupDocument(name="metadata", paths=_inner(dataset, "metadata"), expanded=False),
        fo.SidebarGroupDocument(
            name="other",
            paths=[
                *[path for path in _inner(dataset, "distance") if path != "distance.value"],
                *[path for path in _inner(dataset, "scores") if path.removeprefix("scores.") not in SCORES],
                *["id", "filepath", "created_at", "last_modified_at"],
            ],
            expanded=False,
        ),
    ]
    dataset.save()
    dataset.save_view("train", dataset.match_tags("train"), description="The training split")
    dataset.save_view("validation", dataset.match_tags("val"), description="The validation split")
    dataset.save_view(
        "label conflicts",
        dataset.match_tags("label_conflict").sort_by("split_group"),
        description="Scans that bear two classes, and the other frames of them",
    )
    dataset.save_view(
        "duplicates",
        dataset.match_tags("duplicate").sort_by("duplicate_group"),
        description="Images that show the same picture, side by side",
    )
    dataset.save_view(
        "synthetic by variant",
        dataset.match(F("origin") == "synthetic").sort_by("variant"),
        description="All synthetic images, variant after variant",
    )


def _values(colors: dict[str, str]) -> list[dict[str, str]]:
    return [{"value": value, "color": color} for value, color in colors.items()]


def _inner(dataset: fo.Dataset, path: str) -> list[str]:
    return [f"{path}.{name}" for name in dataset.get_field(path).get_field_schema()]
