"""Burnt-in annotations: calipers, text and colour marks drawn onto a scan."""

from functools import reduce

import numpy as np
from PIL import Image, ImageChops
from scipy.ndimage import find_objects, grey_opening, label

from busaug_core.images import without_palette

SHORT_SIDE = 224
CORNER = 14
"""Side of the corner at the upper left that is not looked at: nearly every scanner puts its mark there."""
ARM = 3
CROSS = 25.0
STROKES = 2
COLOUR = 1e-4
TINT = 0.3
"""Share of coloured pixels from which the colour is taken for the scan's colour map, not for a mark."""


def annotation_score(image: Image.Image) -> float:
    """How surely a decoded scan bears burnt-in marks; 1 and above counts as annotated.

    The greatest of three signs, each over its threshold: a bright upright cross (a caliper), thin bright
    strokes of a letter's size (text), and the share of coloured pixels. Float, 0 and up.
    """
    channels = _small(image).split()
    brightest, darkest = reduce(ImageChops.lighter, channels), reduce(ImageChops.darker, channels)
    coloured = (np.asarray(ImageChops.subtract(brightest, darkest)) > 15).mean()
    gray = np.asarray(brightest, dtype=np.float32)
    signs = (_cross(gray) / CROSS, _strokes(gray) / STROKES, coloured / COLOUR if coloured < TINT else 0)
    return float(max(0.0, *signs))


def _small(image: Image.Image) -> Image.Image:
    """The scan, gray or RGB, with a short side of 224."""
    image = without_palette(image)
    image = image.convert("L" if len(image.getbands()) < 3 else "RGB")
    scale = SHORT_SIDE / min(image.size)
    size = [max(1, round(side * scale)) for side in image.size]
    return image.resize(size, Image.Resampling.LANCZOS)


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
