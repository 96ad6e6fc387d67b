"""A scan on disk, an image and its masks, and the one reading of both."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from busaug_core.data.masks import doubts, interpret_mask
from busaug_core.errors import UserError
from busaug_core.images import decode, eight_bits
from busaug_core.records import Lesion, Source

BLANK = "blank images, of a single level throughout"
NEARLY_ALL = 0.9
"""Share of an image that no lesion covers."""
SCALED = "masks of another size than their image, scaled to it"


@dataclass(frozen=True)
class Scan:
    """An image file, its class and its mask files.

    Attributes:
        needs_lesion: whether it is refused without a mask with a lesion, unless it is normal
        source: what an external set tells of the image
        official: its fold and split in the lists that its set publishes, by their number of folds; 0 is a single split
        colours: those of its masks that are lesions, where the set's masks have several
        scales_masks: whether masks of another size are known to show the whole image
    """

    path: Path
    label: str
    masks: tuple[Path, ...] = ()
    needs_lesion: bool = False
    source: Source | None = None
    official: Mapping[int, tuple[int | None, str]] = field(default_factory=dict)
    colours: tuple[str, ...] = ()
    scales_masks: bool = False


class Listing(NamedTuple):
    """What a folder holds: its scans, what is wrong with it, and the tables that were read."""

    scans: list[Scan]
    problems: list[str]
    tables: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    """What is to be told of the folder, and stops nothing."""


class ReadScan(NamedTuple):
    """A scan's image, of at most 8 bits a channel, and its lesions, one for each mask that is not empty."""

    image: Image.Image
    lesions: list[Lesion]
    notes: list[str]
    """What was assumed in reading them."""
    is_plain: bool
    """Whether the image's file holds the values that are read."""


def read_scan(scan: Scan) -> ReadScan:
    """Read a scan's files.

    A mask lies on the image as it is shown, or as it is stored where it fits only so. Raises UserError for an
    unreadable file, a mask of another size, or no lesion where there must be one.
    """
    stored = decode(scan.path)
    image, notes = eight_bits(scan.path, stored)
    lesions, assumed = [], list(notes)
    if _is_blank(image):
        assumed.append(BLANK)
    for path in scan.masks:
        found = decode(path)
        mask, how = interpret_mask(path, found, scan.colours)
        if stored.turned is not None and found.turned is None:
            if mask.shape[::-1] != image.size:
                mask = _transposed(mask, stored.turned)
            elif _transposed(mask, stored.turned).shape == mask.shape:
                raise UserError(
                    f"{scan.path} is turned by its EXIF data and {path.name} is not, and it fits both ways, so nobody "
                    "can tell how it lies; save the image upright and without EXIF data, as it was when the mask was "
                    "drawn."
                )
        if scan.scales_masks and mask.shape[::-1] != image.size and _is_alike(mask.shape, image.size):
            mask = np.asarray(Image.fromarray(mask).resize(image.size, Image.Resampling.NEAREST))
            how.append(SCALED)
        assumed += [*found.notes, *how]
        if mask.shape[::-1] != image.size:
            width, height = image.size
            raise UserError(
                f"{path} is {mask.shape[1]}×{mask.shape[0]}, but its image is {width}×{height}; repair or remove both."
            )
        if mask.mean() > NEARLY_ALL:
            assumed.append(f"masks of more than {NEARLY_ALL:.0%} of the image, which may be inverted")
        assumed += doubts(mask)
        if mask.any():
            lesions.append(Lesion.of(path, mask))
    if scan.needs_lesion and scan.label != "normal" and not lesions:
        raise UserError(f"{scan.path} is {scan.label} but has no mask with a lesion; add it or remove the image.")
    return ReadScan(image, lesions, assumed, stored.wide is None)


def _is_alike(shape: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether height and width have the proportions of a width and height, but for rounding."""
    return abs(shape[0] * size[0] - shape[1] * size[1]) <= max(size) * 2


def _is_blank(image: Image.Image) -> bool:
    """Whether each channel but alpha has one level; of a palette, whether one colour is used."""
    bands = zip(image.getbands(), np.atleast_2d(image.getextrema()), strict=True)
    return all(low == high for name, (low, high) in bands if name != "A")


def _transposed(mask: np.ndarray, how: Image.Transpose) -> np.ndarray:
    return np.asarray(Image.fromarray(mask).transpose(how))
