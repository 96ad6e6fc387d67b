"""A scan on disk, an image and its masks, and the one reading of both."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from busaug_core.errors import UserError
from busaug_core.images import open_image, without_palette
from busaug_core.records import Lesion, Source

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Scan:
    """An image file, its class and its mask files.

    `source` holds what an external set tells of the image.
    """

    path: Path
    label: str
    masks: tuple[Path, ...] = ()
    needs_lesion: bool = False
    source: Source | None = None


def read_scan(scan: Scan) -> tuple[Image.Image, list[Lesion]]:
    """The scan's image and its lesions: one for each mask that is not empty.

    Raises UserError for an unreadable file, a mask of another size, or no lesion where there must be one.
    """
    image = open_image(scan.path)
    lesions = []
    for path in scan.masks:
        mask = read_mask(path)
        if mask.shape[::-1] != image.size:
            width, height = image.size
            raise UserError(
                f"{path} is {mask.shape[1]}×{mask.shape[0]}, but its image is {width}×{height}; repair or remove both."
            )
        if mask.any():
            lesions.append(Lesion.of(path, mask))
    if scan.needs_lesion and not lesions:
        raise UserError(f"{scan.path} is {scan.label} but has no mask with a lesion; add it or remove the image.")
    return image, lesions


def read_mask(path: str | Path) -> np.ndarray:
    """A mask file as bool H×W; 1, 2, 3 and 4 channels are understood and alpha is no signal."""
    image = open_image(path)
    if not image.mode.startswith("I"):  # of 16 bits the low ones count too
        image = without_palette(image)
    pixels = np.asarray(image)
    if image.mode in ("LA", "RGBA"):
        pixels = pixels[..., :-1]
    return pixels.any(axis=-1) if pixels.ndim == 3 else pixels > 0


def image_files(folder: Path, depth: int = 1) -> Iterator[Path]:
    """The image files of a folder and of `depth - 1` levels of folders in it, in natural order.

    Hidden files are left out, such as the `._` companions that macOS puts into zips.
    """
    for path in sorted(folder.iterdir(), key=lambda p: natural(p.name)):
        if path.name.startswith((".", "__MACOSX")):
            continue
        if path.is_dir():
            if depth > 1:
                yield from image_files(path, depth - 1)
        elif path.suffix.lower() in SUFFIXES:
            yield path


def find_folder(folder: Path, names: tuple[str, ...], levels: int = 2) -> Path | None:
    """The folder that holds all the names: the given one, or the first of those up to `levels` within it."""
    if all((folder / name).exists() for name in names):
        return folder
    inside = [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith((".", "__MACOSX"))]
    return next((found for p in inside if levels and (found := find_folder(p, names, levels - 1))), None)


def natural(text: str) -> list[tuple[int, int | str]]:
    """A key that sorts `benign (2)` before `benign (10)`."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", text)]
