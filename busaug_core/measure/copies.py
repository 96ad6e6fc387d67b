"""Near-copies: which real scan a synthetic image shows, cropped, stretched, turned, shifted or mirrored perhaps.

Of 628 images that a LoRA made, none is above a likeness of 0.32 to any of BUSI's 780 scans. Copies of forty scans that
are mirrored, cropped by up to 6 % a side, stretched by 10 %, shifted or turned by 2° all lie above 0.5, `NEAR_COPY`;
cropped by 8 % or turned by 5°, 75 of 80 do (`benchmarks/copies.py`).
"""

import numpy as np
from scipy.ndimage import affine_transform

from busaug_core.data.audit.perceptual_hash import LOW, UNSHIFTED, perceptual_hash, unit
from busaug_core.data.audit.similarity import SIDE, likeness, locally_normalised
from busaug_core.images import load_gray
from busaug_core.jobs.events import Progress, Steps
from busaug_core.parallel import in_order
from busaug_core.records import Record

CANDIDATES = 4
"""Scans, as they are or mirrored, that an image is compared with closely: those of the nearest hashes."""
ZOOMS = (0.88, 0.94, 1.06, 1.12)
TURNS = tuple(np.deg2rad((-4, -2, 2, 4)))
WARPS = [(1, 1, 0), *[(z, z, 0) for z in ZOOMS], *[(z, 1, 0) for z in ZOOMS], *[(1, z, 0) for z in ZOOMS]]
WARPS += [(1, 1, turn) for turn in TURNS]
"""Vertical and horizontal magnification, and angle in radians."""


class Originals:
    """Real images, to be searched for the one that another image is a near-copy of."""

    def __init__(self, records: list[Record]):
        self.records = records
        found = list(in_order(_described, [r.path for r in records]))
        self.normalised = np.stack([normalised for normalised, _ in found])
        hashes = unit(np.stack([found_hash for _, found_hash in found]))
        # Mirroring changes the sign of every second horizontal frequency.
        signs = np.where(np.arange(1, LOW * LOW) % LOW % 2, -1, 1).astype(np.float32)
        self.hashes = np.concatenate([hashes, hashes * signs])

    def nearest(self, records: list[Record]) -> Steps[tuple[np.ndarray, list[Record]]]:
        """The likeness of each record to the real image that it is most like, and which that is.

        Yields progress; returns float N in −1…1 (see `busaug_core.data.audit.similarity`) and N real records.
        """
        found = []
        for most_alike in in_order(self._most_alike, records):
            found.append(most_alike)
            if len(found) % 50 == 0 or len(found) == len(records):
                yield Progress(len(found), len(records), "Looking for copies")
        return np.array([value for value, _ in found]), [self.records[i] for _, i in found]

    def _most_alike(self, record: Record) -> tuple[float, int]:
        picture = load_gray(record.path, SIDE)
        correlation = (unit(perceptual_hash(picture)) @ self.hashes.T).max(0)
        best = np.argsort(correlation)[-CANDIDATES:]
        others = self.normalised[best % len(self.records)]
        mirrored = best >= len(self.records)
        others[mirrored] = others[mirrored, :, ::-1]
        warped = _warped(locally_normalised(picture))
        pairs = np.stack(np.meshgrid(np.arange(len(WARPS)), len(WARPS) + np.arange(len(best)), indexing="ij"), -1)
        values = likeness(np.concatenate([warped, others]), pairs.reshape(-1, 2)).reshape(len(WARPS), -1).max(0)
        return float(values.max()), int(best[values.argmax()] % len(self.records))


def _described(path: str) -> tuple[np.ndarray, np.ndarray]:
    """An image, locally normalised, and its unshifted hash."""
    picture = load_gray(path, SIDE)
    return locally_normalised(picture), perceptual_hash(picture)[UNSHIFTED]


def _warped(picture: np.ndarray) -> np.ndarray:
    """A locally normalised picture at each of the `WARPS` about its centre, float32 W×64×64 of norm 1."""
    centre = np.full(2, (SIDE - 1) / 2)
    found = []
    for down, right, angle in WARPS:
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = turn / np.array([[down], [right]])
        found.append(affine_transform(picture, matrix, centre - matrix @ centre, order=1))
    flat = np.stack(found).reshape(len(WARPS), -1)
    return unit(flat).reshape(-1, SIDE, SIDE).astype(np.float32)
