"""Descriptors of square windows of a picture, by which the same part is found in another picture at another size.

A window is shrunk to 16×16 pixels relative to their surroundings, of which 38 low-frequency DCT coefficients are
kept, scaled to norm 1. Surroundings are measured by the window, so that a part of a scan is described alike in the scan
and in a crop of it.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from scipy.fft import dct

from busaug_core.data.audit.perceptual_hash import unit
from busaug_core.data.audit.similarity import relative_to_surroundings

WINDOW = 16
WIDTH = 3
"""Pixels of a window's surroundings that its pixels are taken relative to."""
LOW = 7
"""Frequencies a side, of which the lower are kept, those of i + j ≤ 8, and not the mean."""
BASIS = dct(np.eye(WINDOW), axis=0, norm="ortho")[:LOW].astype(np.float32)
KEPT = [i * LOW + j for i in range(LOW) for j in range(LOW) if 0 < i + j <= 8]


def windows(picture: np.ndarray, size: float, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Describe a picture's windows of one size.

    Args:
        picture: gray, uint8 S×S
        size: of a window, as a share of the picture's side
        stride: from one window to the next, in sixteenths of a window

    Returns:
        descriptors, float32 K×38, and where the windows are, float32 K×3: their middle (down, right) and half their
        side, where the picture's sides run from −1 to 1
    """
    side = round(WINDOW / size)
    small = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))
    along = np.unique(np.r_[0 : side - WINDOW + 1 : stride, side - WINDOW])
    parts = sliding_window_view(relative_to_surroundings(small, WIDTH), (WINDOW, WINDOW))[along][:, along]
    descriptors = unit((BASIS @ parts @ BASIS.T).reshape(-1, LOW * LOW).take(KEPT, axis=1))
    down, right = np.meshgrid(*[(2 * along + WINDOW) / side - 1] * 2, indexing="ij")
    places = np.stack([down.ravel(), right.ravel(), np.full(down.size, WINDOW / side)], axis=1)
    return descriptors, places.astype(np.float32)
