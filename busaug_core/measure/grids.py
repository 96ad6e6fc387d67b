"""Pictures for reports: variants side by side."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from busaug_core.errors import UserError
from busaug_core.files import write_whole
from busaug_core.generate.recipes import RECIPES
from busaug_core.images import load_gray, resize_mask
from busaug_core.records import Record

SIDE = 128
COLUMNS = 4
"""Pairs in a row."""
SAMPLES = 4
"""Images of a mask that are shown."""


def variant_grid(records: list[Record], path: str | Path, rows_per_class: int = 2) -> None:
    """Write a grid of classes × (real, variants) as PNG; synthetic images of one pair share a row.

    Raises UserError where there is no synthetic image.
    """
    titles = {"real": "real", "simulated": "simulated", **{slug: recipe.title for slug, recipe in RECIPES.items()}}
    variants = [v for v in titles if any(r.variant == v for r in records)]
    variants += sorted({r.variant for r in records} - set(variants))
    if not any(r.synthetic for r in records):
        raise UserError("There is no synthetic image to show; generate some first.")
    labels = sorted({r.label for r in records})
    rows = [(label, i) for label in labels for i in range(rows_per_class)]
    figure = Figure(figsize=(1.6 * len(variants), 1.6 * len(rows) + 0.5))
    axes = figure.subplots(len(rows), len(variants), squeeze=False)
    for (label, i), line in zip(rows, axes, strict=True):
        for variant, cell in zip(variants, line, strict=True):
            members = [r for r in records if r.label == label and r.variant == variant]
            members.sort(key=lambda r: r.pair or "")
            if i < len(members):
                cell.imshow(load_gray(members[i].path, SIDE), cmap="gray", vmin=0, vmax=255)
            cell.set_xticks([])
            cell.set_yticks([])
            cell.spines[:].set_visible(False)
        line[0].set_ylabel(label, fontsize=11)
    for variant, cell in zip(variants, axes[0], strict=True):
        cell.set_title(titles.get(variant, variant), fontsize=10)
    figure.tight_layout(pad=0.4)
    write_whole(path, lambda partial: figure.savefig(partial, format="png", dpi=110))


def mask_grid(records: list[Record], path: str | Path, rows_per_class: int = 2) -> None:
    """Write, as PNG, rows of a lesion mask, the image that it is of, and up to four images made from it.

    After figure 4 of the ControlNet paper. Of each variant and class the first masks with lesions are shown; nothing
    is written where no image was made from one.
    """
    origins = {name: r for r in records for name in (r.path, r.id) if name and r.lesions and not r.synthetic}
    made: dict[tuple[str, str], dict[str, list[Record]]] = {}
    for record in records:
        given_by = record.synthesis.mask_sample_id if record.synthetic and record.synthesis else None
        if given_by in origins:
            of_class = made.setdefault((RECIPES[record.variant].title, record.label), {})
            of_class.setdefault(given_by, []).append(record)
    rows = [
        (f"{title}\n{label}", origins[name], samples[:SAMPLES])
        for (title, label), of_class in sorted(made.items())
        for name, samples in list(of_class.items())[:rows_per_class]
    ]
    if not rows:
        return
    columns = 2 + max(len(samples) for *_, samples in rows)
    figure = Figure(figsize=(1.6 * columns + 0.4, 1.6 * len(rows) + 0.4), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for (title, origin, samples), line in zip(rows, axes, strict=True):
        mask = resize_mask(origin.lesion_mask(), SIDE).astype(np.uint8) * 255
        shown = [mask, *(load_gray(r.path, SIDE) for r in (origin, *samples))]
        for image, cell in zip(shown, line, strict=False):
            cell.imshow(image, cmap="gray", vmin=0, vmax=255)
        for cell in line:
            cell.set_xticks([])
            cell.set_yticks([])
            cell.spines[:].set_visible(False)
        line[0].set_ylabel(title, fontsize=9)
    for title, cell in zip(("mask", "its scan", "made from the mask"), axes[0], strict=False):
        cell.set_title(title, fontsize=10)
    write_whole(path, lambda partial: figure.savefig(partial, format="png", dpi=110))


def pair_grid(pairs: list[tuple[str, str, str]], path: str | Path, title: str = "") -> None:
    """Write a grid of image pairs, each side by side under its caption, as PNG.

    Args:
        pairs: two image files and a caption, at least one
        path: the PNG
        title: what is on the left and on the right
    """
    columns = min(COLUMNS, len(pairs))
    lines = -(-len(pairs) // columns)
    figure = Figure(figsize=(2.8 * columns, 1.7 * lines))
    cells = figure.subplots(lines, columns, squeeze=False)
    for cell in cells.flat:
        cell.axis("off")
    for cell, (left, right, caption) in zip(cells.flat, pairs, strict=False):
        gap = np.full((SIDE, 2), 255, np.uint8)
        both = np.hstack([load_gray(left, SIDE), gap, load_gray(right, SIDE)])
        cell.imshow(both, cmap="gray", vmin=0, vmax=255)
        cell.set_title(caption, fontsize=8)
    figure.suptitle(title, fontsize=9)
    figure.tight_layout(pad=0.4)
    figure.savefig(path, dpi=110)
