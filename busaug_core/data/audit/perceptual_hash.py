"""Perceptual hashes, which find the pairs of images that may show one scan, for `similarity` to compare closely.

An image's hash is 195 low-frequency DCT coefficients of its locally normalised picture, at each of 15 shifts; they
are kept as numbers, not reduced to bits, and compared by correlation. Two images are a candidate pair where a hash
of one correlates with the unshifted hash of the other and few other images do better. Up to some 2,000 images all
are compared with all, 0.1 s for BUSI. Larger sets are clustered into cells of about 128 similar hashes, and each
image is compared with those in the cells nearest to it (an inverted file: Sivic and Zisserman 2003), so that time
and memory grow with the number of images and not of pairs.
"""

import numpy as np
from scipy.fft import dctn
from sklearn.cluster import KMeans

from busaug_core.data.audit.similarity import SIDE, locally_normalised

LOW = 14
"""Frequencies a side that a hash keeps, of 32."""
SHIFTS = [(down, right) for down in (-2, 0, 2) for right in (-6, -3, 0, 3, 6)]
"""In pixels of 32."""
UNSHIFTED = SHIFTS.index((0, 0))
PROMISING = 0.55
"""Correlation from which a pair may be a candidate; in BUSI no pair of one scan lies below 0.58."""
PARTNERS = 8
"""Candidates that an image has at most; in BUSI each pair of one scan is among the best six."""
STRIKING, MANY_PARTNERS = 0.75, 64
"""Correlation from which an image has more candidates, and how many: a set may hold many copies of one image."""
CELL = 128
"""Images in a cell, on average."""
CELLS_TRIED = 16


def perceptual_hash(gray: np.ndarray) -> np.ndarray:
    """The hash of a gray 64×64 picture at each of the 15 `SHIFTS`, float32 15×195."""
    small = gray.astype(np.float32).reshape(SIDE // 2, 2, SIDE // 2, 2).mean((1, 3))
    flat = locally_normalised(small)
    shifted = np.stack([np.roll(flat, shift, (0, 1)) for shift in SHIFTS])
    return dctn(shifted, axes=(1, 2), norm="ortho")[:, :LOW, :LOW].reshape(len(SHIFTS), -1)[:, 1:]


class HashIndex:
    """The perceptual hashes of a set of images, ready to be searched.

    Args:
        hashes: float32 N×15×195, as `perceptual_hash` gives them
    """

    def __init__(self, hashes: np.ndarray) -> None:
        self.hashes = hashes
        self.unshifted = unit(hashes[:, UNSHIFTED])
        self.centres, self.members = self.unshifted[:1], [np.arange(len(hashes))]
        cells = round(len(hashes) / CELL)
        if cells > CELLS_TRIED:
            means = KMeans(cells, init="random", n_init=1, max_iter=5, random_state=0).fit(self.unshifted)
            self.centres = unit(means.cluster_centers_)
            self.members = [np.flatnonzero(means.labels_ == cell) for cell in range(cells)]

    def candidates(self, block: slice) -> np.ndarray:
        """The candidate pairs with an image of the block, int M×2, the smaller index first.

        A pair within the block may come twice.
        """
        first, last, _ = block.indices(len(self.hashes))
        shifted = unit(self.hashes[first:last]).reshape(-1, self.hashes.shape[-1])
        tried = min(CELLS_TRIED, len(self.centres))
        nearest = np.argpartition(shifted @ self.centres.T, -tried, axis=1)[:, -tried:]
        visits = np.argsort(nearest, axis=None)
        ends = np.searchsorted(nearest.ravel()[visits], np.arange(1, len(self.members)))
        found = []
        for members, visitors in zip(self.members, np.split(visits // tried, ends), strict=True):
            values = shifted[visitors] @ self.unshifted[members].T
            rows, columns = np.nonzero(values >= PROMISING)
            found.append((first + visitors[rows] // len(SHIFTS), members[columns], values[rows, columns]))
        return _best(*(np.concatenate(part) for part in zip(*found, strict=True)), len(self.hashes))


def _best(one: np.ndarray, other: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Each first image's best partners; int M×2, the smaller index first."""
    order = np.lexsort((-values, one * n + other))
    pairs, at = np.unique((one * n + other)[order], return_index=True)
    one, other, values = pairs // n, pairs % n, values[order][at]
    order = np.lexsort((-values, one))
    order = order[one[order] != other[order]]
    one, other, values = one[order], other[order], values[order]
    rank = np.arange(len(one)) - np.searchsorted(one, one)
    kept = rank < np.where(values >= STRIKING, MANY_PARTNERS, PARTNERS)
    return np.sort(np.stack([one[kept], other[kept]], 1), axis=1)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors along the last axis, of norm 1; what is nearly 0 stays so."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)
