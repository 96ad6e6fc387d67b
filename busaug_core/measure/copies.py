"""Near-copies: images that show the same picture as another, after resizing or mirroring."""

import numpy as np

from busaug_core.images import load_gray

THUMBNAIL = 48
COPY_CORRELATION = 0.9
"""Above it lie 93 % of the published pairs of duplicates in BUSI, and hardly another pair of it."""


def nearest_correlation(paths: list[str], references: list[str]) -> np.ndarray:
    """For each image the highest normalised correlation of its 48×48 thumbnail with a reference's.

    The references' mirror images count too. Float N, in −1…1.
    """
    images, others = _thumbnails(paths), _thumbnails(references)
    mirrored = others.reshape(-1, THUMBNAIL, THUMBNAIL)[:, :, ::-1].reshape(len(others), -1)
    return np.maximum((images @ others.T).max(1), (images @ mirrored.T).max(1))


def _thumbnails(paths: list[str]) -> np.ndarray:
    flat = np.stack([load_gray(p, THUMBNAIL) for p in paths]).reshape(len(paths), -1).astype(np.float64)
    centred = flat - flat.mean(1, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
