"""Near-copies: synthetic images that show the scan of a real one, cropped, shifted or mirrored perhaps."""

import numpy as np

from busaug_core.data.config import SCAN
from busaug_core.data.similarity import SIDE, detail, nearest_likeness
from busaug_core.images import load_gray


def is_near_copy(paths: list[str], references: list[str]) -> np.ndarray:
    """For each image whether it is as like a reference as two frames of one scan are; bool N."""
    images, others = (np.stack([detail(load_gray(p, SIDE)) for p in side]) for side in (paths, references))
    return nearest_likeness(images, others) > SCAN
