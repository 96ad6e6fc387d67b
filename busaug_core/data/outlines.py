"""Which images may show the same scan: candidates for the closer comparison of `similarity`.

An image's *outline* is 195 low-frequency DCT coefficients of its locally normalised picture, at each of 15
shifts. Outlines that correlate make a pair of images a candidate. Up to some 2,000 images all pairs are
compared, 0.1 s for the 300,000 of BUSI. Of more, the outlines are put into cells of about 128 alike ones and an
image is compared with the cells nearest to it (an inverted file: Sivic and Zisserman 2003), so that time and
memory grow with the number of images, not of pairs.
"""

import numpy as np
from scipy.fft import dctn
from sklearn.cluster import KMeans

from busaug_core.data.similarity import SIDE, normalised

LOW = 14
SHIFTS = [(down, right) for down in (-2, 0, 2) for right in (-6, -3, 0, 3, 6)]
"""Shifts at which outlines are compared, in pixels of 32."""
AT_REST = SHIFTS.index((0, 0))
PROMISING = 0.5
"""Correlation of outlines from which a pair may be a candidate; in BUSI no pair of one scan lies below 0.56."""
PARTNERS = 8
"""So many of an image's promising pairs are candidates; in BUSI every pair of one scan is among its best six."""
STRIKING = 0.75
"""Correlation from which all are, as in a set that holds many copies of one image."""
CELL = 128
CELLS_TRIED = 16
"""With these, all 270 pairs of BUSI are found among 5,500 images, and all but 6 of 1,722 in all."""


def outlines(gray: np.ndarray) -> np.ndarray:
    """The outline at each of the 15 `SHIFTS`, float32 15×195, of a gray 64×64 picture."""
    small = gray.astype(np.float32).reshape(SIDE // 2, 2, SIDE // 2, 2).mean((1, 3))
    flat = normalised(small, blur=4, surroundings=6)
    shifted = np.stack([np.roll(flat, shift, (0, 1)) for shift in SHIFTS])
    return dctn(shifted, axes=(1, 2), norm="ortho")[:, :LOW, :LOW].reshape(len(SHIFTS), -1)[:, 1:]


class Index:
    """The outlines of a set of images, ready to be searched.

    Args:
        outline: float32 N×15×195, as `outlines` gives them
    """

    def __init__(self, outline: np.ndarray) -> None:
        self.outline = outline
        self.mean = outline[:, AT_REST].mean(0)
        self.at_rest = _unit(outline[:, AT_REST] - self.mean)
        cells = round(len(outline) / CELL)
        if cells <= CELLS_TRIED:
            self.centres, self.members = self.at_rest[:1], [np.arange(len(outline))]
            return
        means = KMeans(cells, init="random", n_init=1, max_iter=5, random_state=0).fit(self.at_rest)
        self.centres = _unit(means.cluster_centers_)
        self.members = [np.flatnonzero(means.labels_ == cell) for cell in range(cells)]

    def candidates(self, block: slice) -> np.ndarray:
        """Pairs of the block's images with any whose outline correlates at some shift; int M×2.

        The smaller index comes first; a pair of two images of the block may come twice.
        """
        first, last, _ = block.indices(len(self.outline))
        shifted = _unit(self.outline[first:last] - self.mean).reshape(-1, self.outline.shape[-1])
        tried = min(CELLS_TRIED, len(self.centres))
        nearest = np.argpartition(shifted @ self.centres.T, -tried, axis=1)[:, -tried:]
        one, other, values = [], [], []
        for cell, members in enumerate(self.members):
            visitors = np.flatnonzero((nearest == cell).any(1))
            found = shifted[visitors] @ self.at_rest[members].T
            rows, columns = np.nonzero(found >= PROMISING)
            one.append(first + visitors[rows] // len(SHIFTS))
            other.append(members[columns])
            values.append(found[rows, columns])
        return _best(np.concatenate(one), np.concatenate(other), np.concatenate(values))


def _best(one: np.ndarray, other: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The striking pairs, and each first image's best others; int M×2, the smaller index first."""
    order = np.lexsort((-values, other, one))
    order = order[one[order] != other[order]]
    pairs, at = np.unique(np.stack([one[order], other[order]], 1), axis=0, return_index=True)
    values = values[order][at]
    order = np.lexsort((-values, pairs[:, 0]))
    pairs, values = pairs[order], values[order]
    rank = np.arange(len(pairs)) - np.searchsorted(pairs[:, 0], pairs[:, 0])
    return np.sort(pairs[(rank < PARTNERS) | (values >= STRIKING)], axis=1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)
