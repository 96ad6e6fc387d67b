"""Which images a dataset or view stands for; what is no collection of images is refused before any work."""

from collections.abc import Iterator
from contextlib import contextmanager

import fiftyone as fo
from fiftyone.core.collections import SampleCollection
from fiftyone.core.stages import ExcludeFields, SelectFields
from fiftyone.core.view import DatasetView

from busaug_core.errors import UserError

IMAGE, GROUP = "image", "group"


def images_of(samples: SampleCollection) -> SampleCollection:
    """The images that a job is given, with all their fields, whatever the view leaves out of these.

    Of a grouped dataset these are the images of the chosen slice, of groups made by `group_by` all of each. Raises
    UserError for patches, frames, clips, and for what holds no images.
    """
    refuse_generated(samples)
    if samples._is_dynamic_groups:
        samples = samples.flatten()
    if samples.media_type == GROUP:
        media, chosen = samples.group_media_types, samples.group_slice
        if media.get(chosen) != IMAGE:
            others = ", ".join(f"'{name}'" for name, kind in media.items() if kind == IMAGE) or "none"
            raise UserError(
                f"The slice '{chosen}' holds {_kind(media.get(chosen))}, and BUSAug works on images; choose a slice of "
                f"images (there are: {others}), as by dataset.group_slice = …"
            )
        samples = samples.select_group_slices(chosen)
    if samples.media_type not in (None, IMAGE):
        raise UserError(
            f"'{samples._root_dataset.name}' holds {_kind(samples.media_type)}, and BUSAug works on images; open a "
            "dataset of images (of a video's frames: dataset.to_frames(sample_frames=True).clone())."
        )
    return _with_all_fields(samples)


def every_image(samples: SampleCollection) -> SampleCollection:
    """All images of a dataset or view, of grouped ones those of all slices."""
    return samples.select_group_slices(media_type=IMAGE) if samples.media_type == GROUP else samples


def slice_of(dataset: fo.Dataset, ids: list[str]) -> str | None:
    """The slice of a grouped dataset that these samples lie in, by the first that is there; None in any other."""
    if dataset.media_type != GROUP:
        return None
    slices = every_image(dataset).select(ids).limit(1).values(f"{dataset.group_field}.name")
    return slices[0] if slices else dataset.default_group_slice


def other_slices(dataset: fo.Dataset) -> list[str]:
    """The slices of a grouped dataset that hold images and are not chosen; none in any other."""
    if dataset.media_type != GROUP:
        return []
    return [name for name, kind in dataset.group_media_types.items() if kind == IMAGE and name != dataset.group_slice]


@contextmanager
def same_slice(samples: SampleCollection | None) -> Iterator[None]:
    """Leave the slice that the caller's dataset shows as it is; FiftyOne's context sets that of the request."""
    dataset = samples._root_dataset if isinstance(samples, SampleCollection) else None
    shown = dataset.group_slice if dataset is not None else None
    try:
        yield
    finally:
        if dataset is not None and not dataset.deleted and dataset.group_slice != shown:
            dataset.group_slice = shown


def refuse_generated(samples: SampleCollection) -> None:
    """Raises UserError where the samples of a view are parts of images or of videos."""
    kinds = {"patches": samples._is_patches, "frames of videos": samples._is_frames, "clips": samples._is_clips}
    for kind, is_it in kinds.items():
        if is_it:
            raise UserError(
                f"This is a view of {kind}, and BUSAug works on whole images; leave the view, or work on a dataset "
                "made of it: view.clone()."
            )


def _with_all_fields(samples: SampleCollection) -> SampleCollection:
    """The same samples without the stages that choose fields, since what a view hides would be taken to be missing."""
    if not isinstance(samples, DatasetView):
        return samples
    stages = [stage for stage in samples._stages if not isinstance(stage, SelectFields | ExcludeFields)]
    if len(stages) == len(samples._stages):
        return samples
    whole = samples._dataset.view()
    for stage in stages:
        whole = whole.add_stage(stage)
    return whole


def _kind(media: str | None) -> str:
    kinds = {"video": "videos", "point-cloud": "point clouds", "three-d": "3D scenes", "3d": "3D scenes"}
    return kinds.get(media, f"media of the kind '{media}'")
