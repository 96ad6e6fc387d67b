"""Grids of images for reports: variants, masks and what was made from them, pairs."""

from pathlib import Path

import numpy as np

from busaug_core.errors import UserError
from busaug_core.figures import image_cells, show_image, write_png
from busaug_core.generate.recipes import RECIPES
from busaug_core.images import load_gray, resize_mask
from busaug_core.records import Record

SIDE = 128
COLUMNS = 4
"""Pairs in a row."""
SAMPLES = 4
"""At most so many images made from one mask are shown."""


def variant_grid(records: list[Record], path: str | Path, rows_per_class: int = 2) -> None:
    """Write a grid of classes × (real, variants) as PNG; synthetic images of one pair share a row.

    Raises UserError where there is no synthetic image.
    """
    if not any(r.synthetic for r in records):
        raise UserError("There is no synthetic image to show; generate some first.")
    variants, rows = _in_order(records), []
    for label in sorted({r.label for r in records}):
        of_class = [
            sorted((r for r in records if r.label == label and r.variant == variant), key=lambda r: r.pair or "")
            for variant in variants
        ]
        for i in range(min(rows_per_class, max(map(len, of_class)))):
            shown = [load_gray(members[i].path, SIDE) if i < len(members) else None for members in of_class]
            rows.append((label, shown))
    _write_grid(rows, [_title(variant) for variant in variants], path)


def mask_grid(records: list[Record], path: str | Path, rows_per_class: int = 2) -> None:
    """Write, as PNG, rows of a lesion mask, the image that it is of, and up to four images made from it.

    After figure 4 of the ControlNet paper. `records` are real images too, from whose lesions others were made; of each
    variant and class the first masks are shown. Nothing is written where no image was made from one.
    """
    rows = []
    for title, origin, samples in _masked_rows(records, rows_per_class):
        mask = resize_mask(origin.lesion_mask(), SIDE).astype(np.uint8) * 255
        rows.append((title, [mask, *(load_gray(r.path, SIDE) for r in (origin, *samples))]))
    if rows:
        _write_grid(rows, ["mask", "its scan", "made from the mask"], path)


def _masked_rows(records: list[Record], rows_per_class: int) -> list[tuple[str, Record, list[Record]]]:
    """A title, an image with lesions, and what was made from its mask, by variant and class."""
    # Those that are in no dataset yet name the file in the place of the sample.
    origins = {name: r for r in records if r.lesions and not r.synthetic for name in (r.path, r.id) if name}
    made: dict[tuple[str, str, str], list[Record]] = {}
    for record in (r for r in records if r.synthetic and r.synthesis):
        if record.synthesis.mask_sample_id in origins:
            made.setdefault((record.variant, record.label, record.synthesis.mask_sample_id), []).append(record)
    rows = []
    for variant in _in_order(records):
        for label in sorted({r.label for r in records}):
            masks = [name for of, its, name in made if (of, its) == (variant, label)]
            for name in masks[:rows_per_class]:
                samples = made[variant, label, name][:SAMPLES]
                rows.append((f"{_title(variant)}\n{label}", origins[name], samples))
    return rows


def _title(variant: str) -> str:
    return RECIPES[variant].title if variant in RECIPES else variant


def _in_order(records: list[Record]) -> list[str]:
    """The variants that there are: scans, then those of known recipes in their order, then others."""
    there = {r.variant for r in records}
    known = [variant for variant in ("real", "simulated", *RECIPES) if variant in there]
    return [*known, *sorted(there - set(known))]


def _write_grid(rows: list[tuple[str, list[np.ndarray | None]]], titles: list[str], path: str | Path) -> None:
    """Write rows of images, uint8 each, or of gaps, as PNG; titles stand above the first columns."""
    figure, cells = image_cells([title for title, _ in rows], max(len(images) for _, images in rows))
    for (_, images), line in zip(rows, cells, strict=True):
        for image, cell in zip(images, line, strict=False):
            if image is not None:
                show_image(cell, image)
    for title, cell in zip(titles, cells[0], strict=False):
        cell.set_title(title, fontsize=10)
    write_png(figure, path, synthetic=True)


def pair_grid(pairs: list[tuple[str, str, str]], path: str | Path, title: str = "", synthetic: bool = False) -> None:
    """Write a grid of image pairs, each side by side under its caption, as PNG.

    Args:
        pairs: two image files and a caption, at least one
        path: the PNG
        title: what is on the left and on the right
        synthetic: whether images of a pair are
    """
    columns = min(COLUMNS, len(pairs))
    lines = -(-len(pairs) // columns)
    figure, cells = image_cells([""] * lines, columns, 2.8, 1.7)
    for cell, (left, right, caption) in zip(cells.flat, pairs, strict=False):
        gap = np.full((SIDE, 2), 255, np.uint8)
        both = np.hstack([load_gray(left, SIDE), gap, load_gray(right, SIDE)])
        show_image(cell, both, caption)
    figure.suptitle(title, fontsize=9)
    write_png(figure, path, synthetic)
