"""Burnt-in annotations: calipers, text, cursors and colour marks drawn onto a scan.

What a scanner writes is drawn with strokes of one or two pixels, the upright ones too; echoes are smeared sideways, so
that hardly anything in a scan is thin, bright and upright. All signs of that are taken relative to the contrast
around them, so that gray marks on a dark scan count as white ones do and the speckle of a bright scan does not.
Thresholds are set on one half of the scans in `docs/burnt-in-marks.csv`; `benchmarks/audit_marks.py` measures them on
the other.
"""

from collections.abc import Callable, Iterator
from functools import reduce

import numpy as np
from PIL import Image, ImageChops
from scipy.ndimage import binary_dilation, binary_propagation, uniform_filter

from busaug_core.images import without_palette

SHORT_SIDE, LONG_SIDE = 224, 1120
"""Size in pixels at which marks are looked for; only of a strip the longer side decides."""
CORNER, BORDER = 14, 4
"""What is not looked at: the corner at the upper left, where nearly every scanner puts its mark, and the border, where
cropping leaves pieces of the depth scale."""
REACH = 3
COARSE, SURROUNDINGS = 4, 7
"""How much smaller the contrast around a mark is computed, and over how many of those pixels a side."""
NOISE = 20.0
"""Gray levels added to the contrast around a mark, so that noise in an even area is none."""
LEAST = 50.0
"""The least that the contrast around a stroke counts as: one of few gray levels is noise in the dark."""
CROSS, DIAGONAL_CROSS, STROKE, POINT = 0.84, 1.15, 0.55, 0.55
"""Contrast of a caliper's cross, of an upright stroke and of a dot, over that of their surroundings."""
DOTS, STRIP, DIRECTIONS = 9, (40, 1.5), 24
"""Dots in a strip of so many pixels that make a dotted line, and the directions that are tried."""
FAINT = 0.5
"""Share of its threshold from which a sign is of a mark that another shows, as most letters beside a T are."""
AROUND, TOUCHING = np.ones((9, 9)), np.ones((3, 3))
"""The pixels around one with a sign that are its mark's too, such as a cross's about its middle; what adjoins them."""
COLOUR = 1e-4
TINT = 0.3
"""Share of coloured pixels from which the colour is taken for the scan's colour map, not for a mark."""


Neighbours = Callable[[int, int], np.ndarray]
Offsets = list[tuple[int, int]]

AXES: Offsets = [(0, 1), (1, 0), (0, -1), (-1, 0)]
DIAGONALS: Offsets = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
BETWEEN_AXES = [[(k * down, m * right) for k in (2, 3) for m in (2, 3)] for down, right in DIAGONALS]
BETWEEN_DIAGONALS = [[(k * down, k * right) for k in (2, 3)] for down, right in AXES]


def annotation_score(image: Image.Image) -> float:
    """How surely a decoded scan bears burnt-in marks; 1 and above counts as annotated.

    The greatest of five signs, each over its threshold: a cross, upright or diagonal (a caliper), an upright stroke (a
    letter, a cursor), dots in a line (between calipers), and the share of coloured pixels. Float, 0 and up.
    """
    return float(max(sign.max(initial=0) for sign in _signs(image)))


def annotation_mask(image: Image.Image) -> np.ndarray:
    """Where the burnt-in marks of a decoded scan are, as far as `annotation_score` goes by them.

    Bool H×W over the whole scan at the size at which it is looked at, a short side of 224: the pixels around those
    where a sign reaches its threshold, and around weaker ones that adjoin these; none where the score is below 1.
    """
    strongest = reduce(np.maximum, _signs(image))
    sure, faint = (binary_dilation(strongest >= least, AROUND) for least in (1, FAINT))
    return binary_propagation(sure, TOUCHING, mask=faint)


def _signs(image: Image.Image) -> Iterator[np.ndarray]:
    """How strong each sign of a mark is at each pixel of the scan, over its threshold: float H×W."""
    channels = _small(image).split()
    brightest, darkest = reduce(ImageChops.lighter, channels), reduce(ImageChops.darker, channels)
    gray = np.asarray(brightest, dtype=np.float32)
    surroundings, at = NOISE + _contrast(gray), _neighbours(gray)
    yield _inner(_crosses(at, AXES, BETWEEN_AXES) / surroundings) / CROSS
    yield _inner(_crosses(at, DIAGONALS, BETWEEN_DIAGONALS) / surroundings) / DIAGONAL_CROSS
    yield _inner(_strokes(at) / np.maximum(surroundings, LEAST)) / STROKE
    yield _dots_in_line(_inner(_points(at) / surroundings) > POINT) / DOTS
    coloured = np.asarray(ImageChops.subtract(brightest, darkest)) > 15
    share = coloured.mean()
    yield coloured * (share / COLOUR if share < TINT else 0)


def _small(image: Image.Image) -> Image.Image:
    """The scan, gray or RGB, with a short side of 224, or less where it is a strip."""
    image = without_palette(image)
    image = image.convert("L" if len(image.getbands()) < 3 else "RGB")
    scale = min(SHORT_SIDE / min(image.size), LONG_SIDE / max(image.size))
    size = [max(1, round(side * scale)) for side in image.size]
    return image.resize(size, Image.Resampling.LANCZOS)


def _contrast(gray: np.ndarray) -> np.ndarray:
    """The standard deviation of the gray levels around each pixel."""

    def mean(values: np.ndarray) -> np.ndarray:
        return uniform_filter(np.asarray(Image.fromarray(values).reduce(COARSE)), SURROUNDINGS)

    deviation = np.sqrt(np.maximum(mean(gray * gray) - mean(gray) ** 2, 0))
    return np.asarray(Image.fromarray(deviation).resize(gray.shape[::-1], Image.Resampling.BILINEAR))


def _neighbours(gray: np.ndarray) -> Neighbours:
    """What gives each pixel's neighbour at an offset (down, right) of up to 3; at the border, the outermost."""
    height, width = gray.shape
    padded = np.pad(gray, REACH, mode="edge")
    return lambda down, right: padded[REACH + down : REACH + down + height, REACH + right : REACH + right + width]


def _crosses(at: Neighbours, ends: Offsets, between: list[Offsets]) -> np.ndarray:
    """The contrast of a cross at each pixel: its darkest arm over the four fields between the arms.

    The brightest field does not count: a digit often stands there.
    """
    arms = [sum(at(k * down, k * right) for k in (1, 2, 3)) / 3 for down, right in ends]
    a, b, c, d = (sum(at(*offset) for offset in field) / len(field) for field in between)
    higher, lower = np.maximum, np.minimum
    second = higher(higher(lower(a, b), lower(c, d)), lower(higher(a, b), higher(c, d)))
    return reduce(lower, arms) - second


def _strokes(at: Neighbours) -> np.ndarray:
    """The contrast of an upright stroke at each pixel: five pixels, each brighter than those two beside it."""
    sides = np.maximum(np.maximum(at(0, -2), at(0, 2)), np.minimum(at(0, -3), at(0, 3)))
    ridge = _neighbours(at(0, 0) - sides)
    return reduce(np.minimum, (ridge(k, 0) for k in range(-2, 3)))


def _points(at: Neighbours) -> np.ndarray:
    """The contrast of a dot at each pixel: over the mean of the two pixels beside it, whatever the direction."""
    pairs = ((0, 1), (1, 0), (1, 1), (1, -1))
    return at(0, 0) - reduce(np.maximum, ((at(y, x) + at(-y, -x)) / 2 for y, x in pairs))


def _dots_in_line(dots: np.ndarray) -> np.ndarray:
    """Of each dot, bool H×W, how many lie in a strip of `STRIP` pixels with it, itself too; elsewhere 0.

    The most among strips of all directions and places that overlap by half.
    """
    most = np.zeros(dots.shape, int)
    # The strips begin at the border, as they did when the thresholds were set.
    inner = dots[BORDER:-BORDER, BORDER:-BORDER]
    down, right = np.nonzero(inner)
    if len(down) < DOTS:
        return most
    angles = np.arange(DIRECTIONS)[:, None] * np.pi / DIRECTIONS
    along, across = right * np.cos(angles) + down * np.sin(angles), down * np.cos(angles) - right * np.sin(angles)
    size, counts = sum(inner.shape), np.zeros(len(down), int)
    for shift in (0, 0.5):
        for other in (0, 0.5):
            place = np.floor(along / STRIP[0] + shift) + size, np.floor(across / STRIP[1] + other) + size
            strips = (np.arange(DIRECTIONS)[:, None] * 2 * size + place[0]) * 2 * size + place[1]
            _, which, members = np.unique(strips, return_inverse=True, return_counts=True)
            counts = np.maximum(counts, members[which].reshape(strips.shape).max(0))
    most[down + BORDER, right + BORDER] = counts
    return most


def _inner(sign: np.ndarray) -> np.ndarray:
    """A sign, float64 H×W, with 0 in the corner and at the border, which are not looked at."""
    inner = np.zeros(sign.shape)
    inner[BORDER:-BORDER, BORDER:-BORDER] = sign[BORDER:-BORDER, BORDER:-BORDER]
    inner[:CORNER, :CORNER] = 0
    return inner
