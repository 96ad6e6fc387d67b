"""Affine alignment of pictures with a picture that shows the same, at least in part.

The inverse compositional method (Baker and Matthews 2004, section 3.2): how a small change of the map would change what
is seen is worked out once, and each step moves the map by what explains the remaining difference best.

A map is a 2×3 matrix that takes a place (down, right, 1) of what is seen to a place of a picture; places run from
−1 to 1 along both sides of either.
"""

import numpy as np

from busaug_core.data.audit.similarity import relative_to_surroundings

WIDTH = 2
"""Pixels of a picture's surroundings that its pixels are taken relative to."""
STRETCH, AREAS = 1.6, (0.15, 3)
"""How much more a map may stretch one way than the other, and by how much it may change areas."""
STEP = 0.1
"""Most that a coefficient of a map changes in a step."""
LEAST = 0.4
"""Share of a picture's detail; of two halves one holds more."""
FAINT = 0.3
"""Least contrast of a picture relative to what is seen that a step reckons with."""


def detailed(pictures: np.ndarray) -> np.ndarray:
    """Gray pictures K×S×S relative to their surroundings, float32 K×S²."""
    return relative_to_surroundings(pictures, WIDTH).reshape(len(pictures), -1)


def raster(side: int) -> np.ndarray:
    """The places (down, right, 1) of side×side pixels, float32 3×side²."""
    along = (2 * np.arange(side, dtype=np.float32) + 1) / side - 1
    down, right = np.meshgrid(along, along, indexing="ij")
    return np.stack([down.ravel(), right.ravel(), np.ones(side * side, np.float32)])


def warped(pictures: np.ndarray, maps: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """What the maps bring to side×side pixels, interpolated linearly, and which of these come from within a picture.

    Args:
        pictures: float32 K×S×S
        maps: float32 K×2×3
        side: in pixels

    Returns:
        float32 K×side×side and bool K×side²
    """
    size = pictures.shape[-1]
    places = maps @ raster(side)
    inside = (np.abs(places) <= 1).all(1)
    places = np.clip((places + 1) * (size / 2) - 0.5, 0, size - 1.001)
    corner = places.astype(int)
    down, right = (places - corner).astype(np.float32).transpose(1, 0, 2)
    at = (np.arange(len(pictures))[:, None] * size + corner[:, 0]) * size + corner[:, 1]
    flat = pictures.ravel()
    upper = flat[at] + right * (flat[at + 1] - flat[at])
    lower = flat[at + size] + right * (flat[at + size + 1] - flat[at + size])
    return (upper + down * (lower - upper)).reshape(-1, side, side), inside


def align(seen: np.ndarray, pictures: np.ndarray, maps: np.ndarray, regions: np.ndarray, steps: int) -> np.ndarray:
    """Move maps so that the pictures agree with what is seen.

    Args:
        seen: what all pictures are aligned with, float32 side², as `detailed` gives it
        pictures: gray, float32 K×S×S
        maps: float32 K×2×3, right to some 5 % of a side
        regions: float32 K×side², 1 where a picture is to agree and 0 elsewhere
        steps: how often each map is moved

    Returns:
        float32 K×2×3; a map stays as it was where it would become implausible
    """
    n, side = len(maps), round(len(seen) ** 0.5)
    down, right = (slope.ravel() * (side / 2) for slope in np.gradient(seen.reshape(side, side)))
    y, x, _ = raster(side)
    slopes = np.stack([down * y, down * x, down, right * y, right * x, right])
    weighted = regions[:, None] * slopes
    inverse = np.linalg.inv(weighted @ slopes.T + np.eye(6, dtype=np.float32))
    power = regions @ seen**2 + 1e-6
    unmoved = np.tile(np.eye(3, dtype=np.float32), (n, 1, 1))
    moved = unmoved.copy()
    moved[:, :2] = maps
    for _ in range(steps):
        views, inside = warped(pictures, moved[:, :2], side)
        found = detailed(views)
        contrast = np.maximum((regions * found) @ seen / power, FAINT)
        difference = inside * (found / contrast[:, None] - seen)
        change = unmoved.copy()
        change[:, :2] += np.clip(inverse @ (weighted @ difference[..., None]), -STEP, STEP).reshape(-1, 2, 3)
        moved = moved @ np.linalg.inv(change)
    return np.where(_plausible(moved[:, :2, :2])[:, None, None], moved[:, :2], maps)


def correlation(seen: np.ndarray, found: np.ndarray, inside: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Pearson's correlation of pictures with what is seen, in each of several regions.

    A region that is black but for a line or a word counts as if it held `LEAST` of the picture's detail, so that it
    correlates little with anything.

    Args:
        seen: float32 P
        found: float32 K×P
        inside: bool K×P; a picture counts as 0 elsewhere
        regions: float32 R×P, 0 or 1

    Returns:
        float32 K×R in −1…1
    """
    pixels, found = regions.sum(1), found * inside

    def spread(values: np.ndarray) -> np.ndarray:
        of_regions = values**2 @ regions.T - (values @ regions.T) ** 2 / pixels
        return np.maximum(of_regions, LEAST * len(seen) * values.var(-1, keepdims=True) + 1e-6)

    both = (found * seen) @ regions.T - (regions @ seen) * (found @ regions.T) / pixels
    return both / np.sqrt(spread(seen) * spread(found))


def _plausible(linear: np.ndarray) -> np.ndarray:
    """Which of K×2×2 linear maps change no shape or size too much; bool K."""
    area = np.abs(np.linalg.det(linear))
    # Of singular values a ≥ b: (a² + b²) / ab grows with a / b alone.
    stretched = (linear**2).sum((1, 2)) / np.maximum(area, 1e-6)
    return (area > AREAS[0]) & (area < AREAS[1]) & (stretched < STRETCH + 1 / STRETCH)
