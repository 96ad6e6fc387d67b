"""A picture of heat maps: some images of each class, with the map laid over the scan, and outlines.

These are of the lesion and of burnt-in marks, where such were found.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image

from busaug_core.classify.attention import LESION, MARKS, Attention
from busaug_core.figures import image_cells, show_image, write_png
from busaug_core.images import load_gray, resize_mask
from busaug_core.records import Record

SIDE = 192
COLUMNS = 4
COLOURS = {LESION: "white", MARKS: "cyan"}
"""Of the outlines."""
OPACITY = 0.65
"""Of the map where it is greatest; where it is 0 the scan shows."""


def heatmap_grid(
    records: Sequence[Record], found: Sequence[Attention], folder: Path, path: Path, per_class: int = COLUMNS
) -> None:
    """Write the first images of each class, one class a row, as PNG: each as it is, and with its map beside that.

    Args:
        records: the images, at least one
        found: what was measured of each
        folder: the run's, in which the maps lie
        path: the PNG
        per_class: how many images of a class are shown at most
    """
    labels = sorted({r.label for r in records})
    chosen = {label: [i for i, r in enumerate(records) if r.label == label][:per_class] for label in labels}
    columns = max(map(len, chosen.values()))
    figure, cells = image_cells([label or "no class" for label in labels], columns, 3.3, 2.1)
    for line, label in zip(cells, labels, strict=True):
        for cell, i in zip(line, chosen[label], strict=False):
            pair = np.hstack(_pair(records[i], folder / found[i].heatmap))
            show_image(cell, pair, _caption(found[i]))
            for target, colour in COLOURS.items():
                if getattr(found[i], target.area) is not None:
                    mask = np.pad(resize_mask(target.mask(records[i]), SIDE), ((0, 0), (SIDE + 2, 0)))
                    cell.contour(mask, levels=[0.5], colors=colour, linewidths=1)
    title = "Each scan, and on it where what speaks for the predicted class lies; white: the lesion"
    figure.suptitle(title, fontsize=9)
    write_png(figure, path, synthetic=any(r.synthetic for r in records))


def _pair(record: Record, heatmap: Path) -> list[np.ndarray]:
    """The scan, a gap, and the scan under its map: float height×width×3 in [0, 1]."""
    gray = load_gray(record.path, SIDE)[..., None].repeat(3, 2) / 255
    with Image.open(heatmap) as picture:
        heat = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) / 255
    opacity = OPACITY * heat[..., None]
    over = (1 - opacity) * gray + opacity * colormaps["inferno"](0.25 + 0.75 * heat)[..., :3]
    return [gray, np.ones((SIDE, 2, 3)), over]


def _caption(found: Attention) -> str:
    more = ", empty map" if found.empty else ""
    if found.on_lesion is not None:
        more = f", {found.on_lesion:.0%} on the lesion ({found.covered:.0%} of the image)"
    if found.on_marks is not None:
        more += f"\n{found.on_marks:.0%} on burnt-in marks (cyan, {found.marked:.0%} of the image)"
    return f"taken for {found.label}{more}"
