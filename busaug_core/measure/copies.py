"""Near-copies: which real scan a synthetic image shows, mirrored, cropped, turned, stretched or in half of it perhaps.

The quadrants of an image are looked for among windows of six sizes of all originals (`windows`); the image is aligned
with the few originals that agree best (`alignment`); its likeness is the correlation of fine detail in the half of
the picture, left, right, upper or lower, in which they agree best, so that a composite of two scans is a copy too.

Of sixty scans of BUSI all are found, at or above `NEAR_COPY`, after each of 23 changes but crops of 20 % a side, 59,
and all composites of two halves; of sixty with 16 % of another scan inlaid, 56. BUSI's scans stay below 0.49 among
those of other groups, BUS-BRA's below 0.41 in BUSI (`benchmarks/copies.py`).
"""

import numpy as np

from busaug_core.images import load_gray
from busaug_core.jobs.events import Progress, Steps
from busaug_core.measure.alignment import align, correlation, detailed, raster, warped
from busaug_core.measure.windows import windows
from busaug_core.parallel import in_order
from busaug_core.records import Record

SIDE = 128
SIZES, STRIDE = (0.3, 0.36, 0.42, 0.5, 0.6, 0.7), 3
"""The originals' windows: their sides, and from one to the next in sixteenths of a window."""
QUADRANT = 0.5
FLIP, TILT = np.diag([1.0, -1.0]), np.deg2rad(12)
"""Left to right; and the angle by which an image is turned for the search, so that up to some 20° are found."""
TURN = np.array([[np.cos(TILT), -np.sin(TILT)], [np.sin(TILT), np.cos(TILT)]])
VIEWS = np.float32([np.eye(2), FLIP, -FLIP, TURN, TURN.T, FLIP @ TURN, FLIP @ TURN.T])
"""How an image may lie: what takes places of it as it is searched for to places of it as it is."""
AGREEING = 2
"""Quadrants of an image, of four, by whose likeness originals are ranked: two may show something else."""
CANDIDATES, STARTS = 4, 2
"""Originals that an image is aligned with, and the quadrants from which each alignment starts."""
COARSE, STEPS = 32, 4
"""Pixels of a side, and steps, of the first alignments, each of a quadrant."""
FINER = ((32, 4, 3), (64, 3, 2))
"""Those of the next, each of the half that agrees best, and how many of the best so far they continue."""
BLOCK = 16
"""Originals that are searched at a time, so that what is compared stays in the processor's cache."""


class Originals:
    """Real images, to be searched for the one that another image is a near-copy of; about 90 kB each."""

    def __init__(self, records: list[Record]):
        self.records = records
        described = list(in_order(_described, [r.path for r in records]))
        self.pictures = np.stack([picture for picture, _, _ in described])
        self.windows = np.stack([descriptors for _, descriptors, _ in described])
        self.places = described[0][2]

    def nearest(self, records: list[Record]) -> Steps[tuple[np.ndarray, list[Record]]]:
        """The likeness of each record to the real image that it is most like, and which that is.

        Yields progress; returns float N in −1…1 and N real records.
        """
        found = []
        # One by one: NumPy keeps the interpreter to itself here, so that threads would only wait for each other.
        for record in records:
            found.append(self._most_alike(record))
            if len(found) % 50 == 0 or len(found) == len(records):
                yield Progress(len(found), len(records), "Looking for copies")
        return np.array([value for value, _ in found]), [self.records[i] for _, i in found]

    def _most_alike(self, record: Record) -> tuple[float, int]:
        """The likeness to the most alike original, and its index."""
        picture = load_gray(record.path, SIDE).astype(np.float32)
        members, maps, quadrants = self._starts(picture)
        values, maps = self._aligned(picture, members, maps, quadrants, COARSE, STEPS)
        for side, steps, kept in FINER:
            best = np.argsort(-values.max(1))[:kept]
            members, regions = members[best], _halves(side)[values[best].argmax(1)]
            values, maps = self._aligned(picture, members, maps[best], regions, side, steps)
        best = values.max(1).argmax()
        return float(values[best].max()), int(members[best])

    def _aligned(
        self, picture: np.ndarray, members: np.ndarray, maps: np.ndarray, regions: np.ndarray, side: int, steps: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The correlation in each half of the picture, aligned with originals in a region of it, and the maps to them.

        Args:
            picture: float32 128×128
            members: the originals' indices, int K
            maps: to each of them, float K×2×3
            regions: float32 K×side²
            side: of the pictures that are aligned, in pixels
            steps: of the alignment

        Returns:
            float32 K×4 and float32 K×2×3
        """
        seen = detailed(_shrunk(picture[None], side))[0]
        # Twice as fine, since an image may show a part of them only.
        originals = _shrunk(self.pictures[members], 2 * side)
        maps = align(seen, originals, maps, regions, steps)
        views, inside = warped(originals, maps, side)
        return correlation(seen, detailed(views), inside, _halves(side)), maps

    def _starts(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What an image may show: K originals by their index, the maps to them, K×2×3, and where it shows them.

        The last is a quadrant in each case, as a region of `COARSE` pixels a side.
        """
        maps = np.pad(VIEWS, ((0, 0), (0, 0), (0, 1)))
        views, _ = warped(np.repeat(picture[None], len(VIEWS), 0), maps, SIDE // 2)
        described = [windows(view.astype(np.uint8), QUADRANT, 16) for view in views]
        quadrants, places = np.stack([descriptors for descriptors, _ in described]), described[0][1]
        likeness = self._likeness_of_windows(quadrants.reshape(-1, quadrants.shape[-1]))
        likeness = likeness.reshape(*quadrants.shape[:2], -1)
        rank = np.sort(likeness, axis=1)[:, -AGREEING:].mean(1)
        best = np.argsort(-rank, axis=None)[:CANDIDATES]
        view, member = (np.repeat(index, STARTS) for index in np.unravel_index(best, rank.shape))
        quadrant = np.argsort(-likeness[view[::STARTS], :, member[::STARTS]], axis=1)[:, :STARTS].ravel()
        agreeing = (self.windows[member] @ quadrants[view, quadrant][:, :, None])[..., 0].argmax(1)
        here, there = places[quadrant], self.places[agreeing]
        back, scale = np.linalg.inv(VIEWS)[view], there[:, 2:] / here[:, 2:]
        shift = there[:, :2] - scale * here[:, :2]
        maps = np.concatenate([scale[..., None] * back, shift[..., None]], axis=2)
        distance = np.abs(back @ raster(COARSE)[:2] - here[:, :2, None]).max(1)
        return member, maps, (distance <= here[:, 2:]).astype(np.float32)

    def _likeness_of_windows(self, wanted: np.ndarray) -> np.ndarray:
        """The correlation of M×38 descriptors with the most alike window of each original; float32 M×N."""
        found = np.empty((len(wanted), len(self.windows)), np.float32)
        for first in range(0, len(self.windows), BLOCK):
            block = self.windows[first : first + BLOCK]
            values = wanted @ block.reshape(-1, block.shape[-1]).T
            found[:, first : first + BLOCK] = values.reshape(len(wanted), len(block), -1).max(2)
        return found


def _described(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image, uint8 128×128, and its windows' descriptors and places."""
    picture = load_gray(path, SIDE)
    descriptors, places = zip(*(windows(picture, size, STRIDE) for size in SIZES), strict=True)
    return picture, np.concatenate(descriptors), np.concatenate(places)


def _shrunk(pictures: np.ndarray, side: int) -> np.ndarray:
    """Pictures K×S×S as float32 K×side×side, where S is a multiple of the side."""
    times = pictures.shape[-1] // side
    return pictures.reshape(-1, side, times, side, times).mean((2, 4), dtype=np.float32)


def _halves(side: int) -> np.ndarray:
    """The upper, lower, left and right half of side×side pixels, float32 4×side²."""
    down, right, _ = raster(side)
    return np.float32([down < 0, down > 0, right < 0, right > 0])
