"""Changes of a scan that tell what separates two sets: functions of its gray levels, uint8 H×W, and of its record."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation, gaussian_filter, median_filter, white_tophat

from busaug_core.records import Record

Change = Callable[[np.ndarray, Record], np.ndarray]
STROKE, CONTRAST = 5, 45
"""Width in pixels below which, and contrast in gray levels above which, something bright is taken for a mark."""


def erased(gray: np.ndarray, record: Record) -> np.ndarray:
    """Marks painted over with the median around them; of the echoes thin bright ones go too."""
    marks = binary_dilation(white_tophat(gray, STROKE) > CONTRAST, iterations=2)
    return np.where(marks, median_filter(gray, 2 * STROKE + 1), gray)


def written(gray: np.ndarray, record: Record) -> np.ndarray:
    """A line of text at the bottom."""
    image = Image.fromarray(gray)
    size = gray.shape[0] // 14
    ImageDraw.Draw(image).text((4, gray.shape[0] - 2 * size), "LT BREAST 3:00 RAD", 255, ImageFont.load_default(size))
    return np.asarray(image)


def measured(gray: np.ndarray, record: Record) -> np.ndarray:
    """Calipers at the lesion's four ends, and dotted lines between them."""
    image, (left, top, right, bottom) = Image.fromarray(gray), _box(record)
    draw, x, y = ImageDraw.Draw(image), (left + right) // 2, (top + bottom) // 2
    for across, down in ((left, y), (right, y), (x, top), (x, bottom)):
        draw.line((across - 3, down, across + 3, down), 255)
        draw.line((across, down - 3, across, down + 3), 255)
    draw.point([(i, y) for i in range(left, right, 4)] + [(x, i) for i in range(top, bottom, 4)], 255)
    return np.asarray(image)


def cropped(share: float) -> Change:
    """So much of each side cut away."""

    def change(gray: np.ndarray, record: Record) -> np.ndarray:
        down, across = (round(share * side) for side in gray.shape)
        return gray[down : gray.shape[0] - down, across : gray.shape[1] - across]

    return change


def shallower(gray: np.ndarray, record: Record) -> np.ndarray:
    """The lower quarter cut away."""
    return gray[: gray.shape[0] * 3 // 4]


def deeper(gray: np.ndarray, record: Record) -> np.ndarray:
    """A third of the height added below, black."""
    return np.pad(gray, ((0, gray.shape[0] // 3), (0, 0)))


def shaped(ratio: float) -> Change:
    """Made so wide for its height by mirroring what is at the bottom, or at both sides: nothing is lost."""

    def change(gray: np.ndarray, record: Record) -> np.ndarray:
        height, width = gray.shape
        down, across = max(0, round(width / ratio) - height), max(0, round(height * ratio) - width)
        return np.pad(gray, ((0, down), (across // 2, across - across // 2)), "symmetric")

    return change


def lesion_alone(around: float) -> Change:
    """The lesion with so many of its longer sides around it, as a square: no depth, no frame, hardly any text."""

    def change(gray: np.ndarray, record: Record) -> np.ndarray:
        left, top, right, bottom = _box(record)
        side = (1 + 2 * around) * max(right - left, bottom - top)
        return _window(gray, (left + right) / 2, (top + bottom) / 2, side, side)

    return change


def of_both(first: Change, second: Change) -> Change:
    """One after the other; the second must not ask where the lesion is, if the first has moved it."""
    return lambda gray, record: second(first(gray, record), record)


def as_large(shares: np.ndarray, others: np.ndarray) -> Change:
    """Zoomed about the lesion until its share of the image is that of the other set's lesion of equal rank."""

    def change(gray: np.ndarray, record: Record) -> np.ndarray:
        own, (left, top, right, bottom), (height, width) = share(record), _box(record), gray.shape
        zoom = np.sqrt(own / np.quantile(others, (shares <= own).mean()))
        # The lesion stays where it is in the frame.
        x, y = (at - (at - side / 2) * zoom for at, side in (((left + right) / 2, width), ((top + bottom) / 2, height)))
        return _window(gray, x, y, width * zoom, height * zoom)

    return change


def equalised(gray: np.ndarray, record: Record) -> np.ndarray:
    """Each gray level as frequent as any other."""
    return (255 * np.cumsum(np.bincount(gray.ravel(), minlength=256)) / gray.size).astype(np.uint8)[gray]


def toned(levels: np.ndarray, others: np.ndarray) -> Change:
    """The gray levels of a whole set, float 256 of how frequent each is, mapped to those of another."""
    table = np.interp(np.cumsum(levels), np.cumsum(others), np.arange(256)).astype(np.uint8)
    return lambda gray, record: table[gray]


def blurred(gray: np.ndarray, record: Record) -> np.ndarray:
    """By a Gaussian of 1.5 pixels of 224."""
    return gaussian_filter(gray, 1.5 * min(gray.shape) / 224)


def share(record: Record) -> float:
    """The lesion's share of the image."""
    return float(record.lesion_mask().mean())


def _box(record: Record) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of all lesions together."""
    down, across = (np.flatnonzero(record.lesion_mask().any(axis)) for axis in (1, 0))
    return int(across[0]), int(down[0]), int(across[-1]) + 1, int(down[-1]) + 1


def _window(gray: np.ndarray, x: float, y: float, across: float, down: float) -> np.ndarray:
    """The part of a scan about a point, mirrored where it lies outside."""
    places = (np.arange(round(at - side / 2), round(at + side / 2)) for at, side in ((y, down), (x, across)))
    mirrored = [np.abs((p + n) % (2 * n) - n) for p, n in zip(places, gray.shape, strict=True)]
    rows, columns = (np.minimum(p, n - 1) for p, n in zip(mirrored, gray.shape, strict=True))
    return gray[np.ix_(rows, columns)]
