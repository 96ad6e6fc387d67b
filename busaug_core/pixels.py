"""Pixel values of more than 8 bits as 8: the range that they are taken to have, by their type and what they hold."""

import numpy as np

DEPTHS = (8, 10, 12, 14, 16, 24, 32)
"""Bits that whole values may have; the fewest that hold an image's brightest pixel are taken."""
LEFT_ALIGNED, REPEATED = 16, 257
"""What 12-bit values are multiples of where they fill the upper bits of 16, and 8-bit ones that stand there twice."""
DARKEST_FRACTIONS = 16
"""Fractions whose greatest lies between 1 and this may range to 1, or be nearly black; which is not decided."""


def to_8_bits(values: np.ndarray, top: int | None = None) -> tuple[np.ndarray, str]:
    """Gray values of any type as uint8, 0 black; and the range that they were taken to have, in words.

    Args:
        values: H×W, whole numbers or fractions
        top: the greatest value that they may have, where the file says so

    Raises:
        ValueError: the range cannot be told; the message says what the values are
    """
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("some of its values are no numbers (NaN or infinite)")
    if low < 0:
        raise ValueError(f"its values are signed, from {low:g} to {high:g}, and no level is known to be black")
    is_whole = values.dtype.kind in "ui" or bool((values == np.round(values)).all())
    if values.dtype.kind == "f" and top is None:
        if high <= 1:
            return np.round(values * 255).astype(np.uint8), "fractions, read as 0 to 1"
        if not is_whole and high < DARKEST_FRACTIONS:
            raise ValueError(f"its values are fractions up to {high:g}, of a range that cannot be told")
    top = top or _greatest(values.astype(np.int64) if is_whole else None, float(high))
    if top == 255:
        return np.round(values).astype(np.uint8), "values of more than 8 bits, read as 0 to 255"
    eight = np.clip(values // ((top + 1) / 256), 0, 255).astype(np.uint8)
    return eight, f"values of more than 8 bits, read as 0 to {top}"


def _greatest(whole: np.ndarray | None, high: float) -> int:
    """The greatest value of the type that these are taken to have; `whole` is None for fractions."""
    if whole is not None and 255 < high < 2**16:
        fills_upper = high >= 2**12 and not (whole % LEFT_ALIGNED).any()
        if fills_upper or not (whole % REPEATED).any():
            return 2**16 - 1
    bits = next((bits for bits in DEPTHS if high < 2**bits), None)
    # From 16 bits on the depths lie so far apart that the brightest pixel may leave all others black.
    if bits is None or (bits > 16 and high < 2 ** (bits - 2)):
        raise ValueError(f"its values go up to {high:g}, of a range that cannot be told")
    return 2**bits - 1
