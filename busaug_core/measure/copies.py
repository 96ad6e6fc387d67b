"""Near-copies: synthetic images that show the scan of a real one, cropped, shifted or mirrored perhaps."""

import numpy as np

from busaug_core.data.config import SCAN
from busaug_core.data.similarity import SIDE, detail, nearest_likeness
from busaug_core.images import load_gray


def details_of(paths: list[str]) -> np.ndarray:
    """What images are compared by, float32 N×64×64; see `busaug_core.data.similarity.detail`."""
    return np.stack([detail(load_gray(path, SIDE)) for path in paths])


def is_near_copy(images: np.ndarray, references: np.ndarray) -> np.ndarray:
    """For each image whether it is as like a reference as two frames of one scan are; bool N, of `details_of`."""
    return nearest_likeness(images, references) > SCAN
