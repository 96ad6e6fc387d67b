"""What the App finds a dataset's images by: saved views and indexes, which come and go with what they show."""

from collections.abc import Callable

import fiftyone as fo
from fiftyone import ViewField as F
from fiftyone.core.collections import SampleCollection
from fiftyone.core.utils import to_slug

from busaug_core.errors import UserError
from busaug_core.jobs.roles import EVALUATION, REJECTED

from ..host.appearance import SCORES
from ..host.classes import label_path
from ..host.images import every_image
from ..host.names import INFO

OF_RUN = "images of "
SIDE_BY_SIDE = "same seed across variants"
BESIDE = "validation beside evaluation"

VIEWS: dict[str, tuple[Callable[[SampleCollection], fo.DatasetView], str]] = {
    "train": (lambda images: images.match_tags("train"), "The training split"),
    "validation": (lambda images: images.match_tags("val"), "The validation split"),
    "test": (lambda images: images.match_tags("test"), "The test split"),
    "label conflicts": (
        lambda images: images.match_tags("label_conflict").sort_by("split_group"),
        "Scans that bear two classes, and the other frames of them",
    ),
    "duplicates": (
        lambda images: images.match_tags("duplicate").sort_by("duplicate_group"),
        "Images that show the same picture, side by side",
    ),
    "axilla": (lambda images: images.match_tags("axilla"), "Views of the axilla"),
    "annotated": (
        lambda images: images.match_tags("annotated").sort_by("annotation_score", reverse=True),
        "Scans with marks burnt in, the surest first",
    ),
    "synthetic by variant": (
        lambda images: images.match({"origin": "synthetic"}).sort_by("variant"),
        "All synthetic images, variant after variant",
    ),
    SIDE_BY_SIDE: (
        lambda images: images.match(F("pair") != None).group_by("pair", order_by="variant"),  # noqa: E711
        "One tile a seed; open it to leaf through the variants that share it",
    ),
    REJECTED: (lambda images: images.match_tags(REJECTED), "What a filter has rejected"),
}
"""The views of every dataset that has something to show in them, with their descriptions."""

TAGS = {
    **{"train": "train", "validation": "val", "test": "test", "label conflicts": "label_conflict"},
    **{"duplicates": "duplicate", "axilla": "axilla", "annotated": "annotated", REJECTED: REJECTED},
}
"""The tag that the images of a view bear."""
SORTED = {"label conflicts": "split_group", "duplicates": "duplicate_group", "annotated": "annotation_score"}
"""The field that a view is sorted by, which a dataset with tags of the user's own may lack."""

INDEXED = (
    *("origin", "variant", "pair", "duplicate_group", "split_group", "annotation_score"),
    *("synthesis.run", "distance.value"),
    *(f"scores.{name}" for name in SCORES),
)
"""What the sidebar filters and sorts by, beside the class."""


MOST_INDEXES = 40
"""So many leave room for the user's own: MongoDB takes 64."""


def refresh(dataset: fo.Dataset, label_field: str) -> None:
    """Save the views that have something to show, and index what has values; the rest goes.

    A view of the user's own under such a name is left alone, and one that the user has deleted does not come back.
    """
    images, ours = every_image(dataset), dict(dataset.info.get(INFO, {}))
    try:
        label = label_path(dataset, label_field)
    except UserError:  # renamed or deleted since
        label = None
    paths = [path for path in (label, *INDEXED) if path and dataset.get_field(path)]
    filled = dict(zip(paths, images.aggregate([fo.Count(path) for path in paths]), strict=True))
    _keep_indexes(dataset, filled)
    wanted = _wanted(images, filled, label)
    saved = set(ours.get("views", []))
    for name in saved - wanted.keys():
        if dataset.has_saved_view(name):
            dataset.delete_saved_view(name)
    # FiftyOne takes two names for one that differ by capitals or signs alone.
    taken = {to_slug(name) for name in dataset.list_saved_views()}
    for name, (make, about) in wanted.items():
        if name not in saved and to_slug(name) not in taken:
            dataset.save_view(name, make(images), description=about)
            saved.add(name)
    saved &= wanted.keys()
    if saved != set(ours.get("views", [])):
        dataset.info[INFO] = {**ours, "views": sorted(saved)}
        dataset.save()


def _wanted(images: SampleCollection, filled: dict[str, int], label: str | None) -> dict[str, tuple[Callable, str]]:
    """The views that have something to show, by name: how they are made, and their descriptions."""
    tags = images.count_sample_tags()
    varied = filled.get("pair") and filled.get("variant")
    variants = set(images.distinct("variant")) - {"real", "simulated"} if varied else set()
    shown = {
        **{
            name: bool(tags.get(tag) and (name not in SORTED or filled.get(SORTED[name]))) for name, tag in TAGS.items()
        },
        "synthetic by variant": filled.get("synthesis.run"),
        SIDE_BY_SIDE: len(variants) > 1,
    }
    wanted = {name: view for name, view in VIEWS.items() if shown[name]}
    if tags.get("val") and tags.get(EVALUATION):
        order = [(path, 1) for path in (label, "variant") if path in filled]
        about = "The validation split and the sets made to be measured by it, class by class"
        wanted[BESIDE] = lambda images: images.match_tags(["val", EVALUATION]).sort_by(order), about
    for key in images.distinct("synthesis.run") if filled.get("synthesis.run") else []:
        of_run = lambda images, key=key: images.match({"synthesis.run": key})  # noqa: E731
        wanted[OF_RUN + key] = of_run, f"The images that run {key} made"
    return wanted


def _keep_indexes(dataset: fo.Dataset, filled: dict[str, int]) -> None:
    """Index the paths that have values, and no others of them."""
    present = set(dataset.list_indexes())
    for path, count in filled.items():
        if count and path not in present and len(present) < MOST_INDEXES:
            dataset.create_index(path, wait=False)
            present.add(path)
        elif not count and path in present:
            dataset.drop_index(path)
