"""Figures as files, and rows of images in a figure."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from busaug_core.files import write_whole
from busaug_core.images import NOTICE

DPI = 110


def write_png(figure: Figure, path: str | Path, synthetic: bool = False) -> None:
    """Write a figure as PNG, whole or not at all; one that shows synthetic images bears their notice."""
    options = dict(format="png", dpi=DPI, metadata={"Comment": NOTICE} if synthetic else None)
    write_whole(path, lambda partial: figure.savefig(partial, **options))


def image_cells(titles: list[str], columns: int, width: float = 1.6, height: float = 1.6) -> tuple[Figure, np.ndarray]:
    """A figure for rows of images under `titles`, and its cells, rows × columns, of `width` × `height` inches."""
    figure = Figure(figsize=(width * columns + 0.3, height * len(titles) + 0.5), layout="constrained")
    cells = figure.subplots(len(titles), columns, squeeze=False)
    for cell in cells.flat:
        cell.set_xticks([])
        cell.set_yticks([])
        cell.spines[:].set_visible(False)
    for title, line in zip(titles, cells, strict=True):
        line[0].set_ylabel(title, fontsize=10)
    return figure, cells


def show_image(cell: Axes, image: np.ndarray, caption: str = "") -> None:
    """Show an image, uint8 H×W or float H×W×3 in [0, 1], in a cell, under a caption."""
    cell.imshow(image, cmap="gray", vmin=0, vmax=255)
    if caption:
        cell.set_title(caption, fontsize=8)
