"""What a mask file says: which pixels are lesion. Told by what its values are, not by their being above 0."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from scipy.ndimage import binary_fill_holes, label

from busaug_core.errors import UserError
from busaug_core.images import Decoded, decode, without_palette
from busaug_core.pixels import to_8_bits

NOISE = 32
"""Level, of 255, below which values may be noise about zero, or the numbers of labels."""
COHERENT = 0.5
"""Share of lesion, and of the rest, that must lie in pieces of 3×3 pixels and more where the levels do not tell."""
GRAY = slice(64, 192)
"""Levels that lie at the edges of a mask alone; a picture is full of them."""
FEW = 0.05
"""Share of pixels, or of the coloured ones, that is no accident."""
WHITE = 7
COLOURS = {
    0b100: "red",
    0b010: "green",
    0b001: "blue",
    0b110: "yellow",
    0b101: "magenta",
    0b011: "cyan",
    WHITE: "white",
}
"""Colours by which of red, green and blue are bright in them."""

TINY = 16
"""Pixels below which a mask is but a few."""
SOLID = 0.4
"""Share of its box from which on a mask is no line; an ellipse fills .79 of it."""
LONG = 24
"""Side of its box beyond which a mask that is nowhere wider than four pixels is a line."""
HOLLOW = 0.5
"""Share of an outline's inside that it covers itself, at most."""

OUTLINE = "masks that are a line or an outline, of which the line alone is taken for the lesion"
SCATTERED = "masks of no more than a few scattered pixels, taken for the lesion"
CUT = "masks of more than two levels, cut at half of their range"
EMPTY = "masks that hold nothing but noise about zero, taken to be empty"


def read_mask(path: str | Path) -> np.ndarray:
    """A mask file as bool H×W, upright; see `interpret_mask`."""
    return interpret_mask(path, decode(path))[0]


def interpret_mask(path: str | Path, found: Decoded, colours: tuple[str, ...] = ()) -> tuple[np.ndarray, list[str]]:
    """Which pixels of a decoded mask are lesion, bool H×W; and what was assumed.

    Two levels, whatever they are, or two colours, are background and lesion. More levels are cut at half of their
    range; noise about zero is an empty mask. `colours` are those that a set's layout says are lesions, where it
    has several; alpha is no signal unless there is no other.

    Raises UserError where it is unclear what is lesion.
    """
    values = found.wide
    if values is None:
        values = _without_alpha(found.image)
    if values.ndim == 3:
        if (values.max(2) - values.min(2)).max() > (NOISE if found.lossy else 0):
            coloured = _by_colour(path, values, found.lossy, colours)
            if coloured is not None:
                return coloured, []
        values = values.max(2)
    return _by_level(path, values, found)


def _without_alpha(image: Image.Image) -> np.ndarray:
    """A mask's pixels, uint8 H×W or H×W×3; those of alpha where all others are alike."""
    image = without_palette(image)
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "LA", "RGB", "RGBA"):
        image = image.convert("RGB")
    pixels = np.asarray(image)
    if image.mode not in ("LA", "RGBA"):
        return pixels
    colour, alpha = pixels[..., :-1], pixels[..., -1]
    if (colour == colour[:1, :1]).all() and (alpha != alpha[0, 0]).any():
        return alpha
    return colour[..., 0] if image.mode == "LA" else colour


def _by_colour(path: str | Path, pixels: np.ndarray, lossy: bool, known: tuple[str, ...]) -> np.ndarray | None:
    """The lesion of a mask in colours, bool H×W; None where its brightness tells."""
    packed = pixels.astype(np.uint32) @ np.array([2**16, 2**8, 1], np.uint32)
    different = np.unique(packed)
    if not lossy and len(different) == 2 and not known:
        # Colour stands out from gray, and bright colour from dark.
        ranks = [(r != g or g != b, 299 * r + 587 * g + 114 * b) for r, g, b in map(_unpacked, different)]
        return packed == different[ranks.index(max(ranks))]
    codes = (pixels > 127) @ np.array([4, 2, 1])
    clear = (pixels.max(2) - pixels.min(2) > 127) | (codes == WHITE)
    counts = {name: int((clear & (codes == code)).sum()) for code, name in COLOURS.items()}
    present = [name for name, n in counts.items() if n > FEW * sum(counts.values())]
    unknown = [name for name in present if name not in known] if known else present[1:]
    if unknown:
        raise UserError(
            f"{path} has the colours {', '.join(present)}; which of them is the lesion? Save it with two levels, "
            "0 and 255."
        )
    return None


def _by_level(path: str | Path, values: np.ndarray, found: Decoded) -> tuple[np.ndarray, list[str]]:
    """The lesion of a gray mask, bool H×W, and what was assumed."""
    # Counting is faster than sorting.
    levels = np.flatnonzero(np.bincount(values.ravel())) if values.dtype == np.uint8 else np.unique(values)
    levels = levels.astype(float)
    if not np.isfinite(levels).all():
        raise UserError(f"{path} holds values that are no numbers; save it with two levels, 0 and 255.")
    if len(levels) == 1 and levels[0] in (0, 1):
        return values > 0, []
    # Of two levels the one that is farther from 0 is the lesion.
    farther = max(levels, key=abs)
    if len(levels) == 2 and not found.lossy and (abs(farther) >= NOISE or _is_coherent(values == farther)):
        return values == farther, []
    try:
        scaled = to_8_bits(values, found.top)[0] if found.wide is not None else values
    except ValueError as error:
        raise UserError(f"{path} cannot be read as a mask: {error}; save it with two levels, 0 and 255.") from None
    if scaled.max() < NOISE:
        if _is_coherent(values > 0):
            listed = ", ".join(f"{level:g}" for level in levels[:6])
            raise UserError(f"{path} holds the levels {listed}; which is the lesion? Save it with two, 0 and 255.")
        return np.zeros(values.shape, bool), [EMPTY]
    mask = scaled > 127
    edges = ((scaled >= GRAY.start) & (scaled < GRAY.stop)).mean()
    if not mask.any() or (edges > FEW and edges > mask.mean() / 2):
        raise UserError(
            f"{path} is no clear mask: much of it lies between background and lesion (its brightest level is "
            f"{scaled.max()} of 255). Save it with two levels, 0 and 255, or remove it."
        )
    return mask, [CUT] if len(levels) > 2 else []


def doubts(mask: np.ndarray) -> list[str]:
    """What is to be said of a mask, bool H×W, that may be no lesion's area: a line or an outline, or a few pixels."""
    if not mask.any():
        return []
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    part = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1)
    if part.sum() >= max(TINY, SOLID * part.size):
        return []
    if _is_coherent(part, whole=False):
        is_thin = max(part.shape) > LONG and not np.asarray(_picture(part).filter(ImageFilter.MinFilter(5))).any()
        return [OUTLINE] if is_thin or part.sum() < HOLLOW * binary_fill_holes(part).sum() else []
    pieces, _ = label(part, np.ones((3, 3)))
    largest = np.bincount(pieces.ravel())[1:].max()
    return [OUTLINE if largest >= max(TINY, part.sum() / 2) else SCATTERED]


def _is_coherent(mask: np.ndarray, whole: bool = True) -> bool:
    """Whether a mask, bool H×W, is made of pieces of 3×3 pixels and more; with `whole` the rest of it too."""
    for side in (mask, ~mask)[: 1 + whole]:
        opened = np.asarray(_picture(side).filter(ImageFilter.MinFilter(3)).filter(ImageFilter.MaxFilter(3)))
        if (opened & side).sum() < COHERENT * side.sum():
            return False
    return True


def _picture(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(mask.astype(np.uint8))


def _unpacked(colour: int) -> tuple[int, int, int]:
    return int(colour) >> 16, int(colour) >> 8 & 255, int(colour) & 255
