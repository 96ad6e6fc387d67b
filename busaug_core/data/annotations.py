"""Burnt-in annotations: calipers, text and colour marks drawn onto a scan."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import find_objects, grey_opening, label

SHORT_SIDE = 224
CORNER = 14
"""Side of the corner at the upper left that is not looked at: nearly every scanner puts its mark there."""
ARM = 3
CROSS = 25.0
STROKES = 2
COLOUR = 5e-4


def annotation_score(path: str | Path) -> float:
    """How surely a scan bears burnt-in marks; 1 and above counts as annotated.

    The greatest of three signs, each over its threshold: a bright upright cross (a caliper), thin bright
    strokes of a letter's size (text), and the share of coloured pixels. Float, 0 and up.
    """
    colour = _small_rgb(path)
    gray = colour.max(-1)
    coloured = np.ptp(colour, axis=-1) > 60
    signs = (_cross(gray) / CROSS, _strokes(gray) / STROKES, coloured.mean() / COLOUR)
    return float(max(0.0, *signs))


def _small_rgb(path: str | Path) -> np.ndarray:
    """The scan as float32 H×W×3 with a short side of 224."""
    with Image.open(path) as image:
        image = image.convert("RGB")
    scale = SHORT_SIDE / min(image.size)
    size = [max(1, round(side * scale)) for side in image.size]
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS), dtype=np.float32)


def _cross(gray: np.ndarray) -> float:
    """The greatest contrast of a plus: its darkest arm over the brightest of the fields between the arms."""
    height, width = gray.shape
    padded = np.pad(gray, ARM, mode="edge")

    def moved(down: int, right: int) -> np.ndarray:
        return padded[ARM + down : ARM + down + height, ARM + right : ARM + right + width]

    steps = range(1, ARM + 1)
    arms = [np.mean([moved(k * y, k * x) for k in steps], 0) for y, x in ((0, 1), (0, -1), (1, 0), (-1, 0))]
    offsets = (-3, -2, 2, 3)
    between = np.max([moved(y, x) for y in offsets for x in offsets], 0)
    contrast = np.min(arms, 0) - between
    contrast[:CORNER, :CORNER] = 0
    return float(contrast.max())


def _strokes(gray: np.ndarray) -> int:
    """The number of letter-sized pieces that stand out by 110 of 255 gray levels over a 5×5 opening."""
    standing_out = gray - grey_opening(gray, size=(5, 5)) > 110
    standing_out[:CORNER, :CORNER] = False
    pieces, _ = label(standing_out, np.ones((3, 3)))
    count = 0
    for number, (rows, columns) in enumerate(find_objects(pieces), 1):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        area = (pieces[rows, columns] == number).sum()
        count += 4 <= height <= 14 and 2 <= width <= 14 and area >= 6
    return count
