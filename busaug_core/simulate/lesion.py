"""Benign and malignant lesions: outline, interior, halo, and what they do to the beam."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_fill_holes
from scipy.ndimage import label as components

from busaug_core.simulate.fields import surface

BEAM = 10.0  # MHz at which a lesion's shadow or enhancement, in dB, is meant


@dataclass(frozen=True)
class Lesion:
    """What replaces the tissue; all maps are (n, n) float32.

    weight: share of lesion in each pixel, in [0, 1]; the mask is weight > 0.5.
    interior: echogenicity of the lesion, dB relative to the mean of the tissue it replaces.
    around: echogenicity added to the tissue about it (halo, rim, spicules), dB.
    attenuation: dB/cm/MHz within the lesion, one way.
    extra: attenuation added in the tissue at the lesion's edges, dB/cm/MHz.
    """

    weight: np.ndarray
    interior: np.ndarray
    around: np.ndarray
    attenuation: float
    extra: np.ndarray

    def apply(self, echogenicity: np.ndarray, attenuation: np.ndarray) -> np.ndarray:
        """Put the lesion into both maps, in place, and return its (n, n) bool mask."""
        inside = self.weight > 0.5
        replaced = echogenicity[inside].mean()
        echogenicity += self.around
        echogenicity += self.weight * (replaced + self.interior - echogenicity)
        attenuation += self.weight * (self.attenuation - attenuation) + self.extra
        return inside


def draw_lesion(label: str, rng: np.random.Generator, y: np.ndarray, x: np.ndarray, field: float) -> Lesion:
    """A random 'benign' or 'malignant' lesion on the grid of ``y`` and ``x`` (mm)."""
    return (_benign if label == "benign" else _malignant)(rng, y, x, field)


def _place(rng, field, width, height, depth):
    """Centre in mm, kept inside the field with a margin of a few pixels."""
    cx = np.clip(rng.normal(0.5, 0.17) * field, width / 2 + 2.8, field - width / 2 - 2.8)
    cy = np.clip(rng.normal(*depth) * field, height / 2 + 2.5, field - height / 2 - 2.5)
    return cx, cy


def _polar(y, x, cy, cx, height, width, tilt):
    """Normalised radius (1 on the ellipse) and angle about the centre."""
    dy, dx = y - cy, x - cx
    v = (dy * np.cos(tilt) - dx * np.sin(tilt)) / (height / 2)
    u = (dy * np.sin(tilt) + dx * np.cos(tilt)) / (width / 2)
    return np.hypot(u, v), np.arctan2(v, u)


def _one_piece(weight):
    """The same lesion without its stray islands and holes."""
    pieces, _ = components(weight > 0.5)
    largest = pieces == np.bincount(pieces[pieces > 0]).argmax()
    filled = binary_fill_holes(largest)
    weight = np.where((pieces > 0) & ~filled, 0, weight)
    return np.where(filled & ~largest, 1, weight)


def _benign(rng, y, x, field):
    width = field * np.clip(np.exp(rng.normal(np.log(0.29), 0.37)), 0.15, 0.56)
    height = width * np.clip(rng.normal(0.63, 0.10), 0.42, 0.85)
    height = min(height, 0.42 * field)
    cx, cy = _place(rng, field, width, height, (0.32, 0.08))
    radius, angle = _polar(y, x, cy, cx, height, width, rng.normal(0, 0.12))
    outline = np.ones_like(radius)
    for k in (2, 3, 4, 5):
        outline += rng.normal(0, 0.06 / (k - 0.5) ** 0.6) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    mean_half = (width + height) / 4
    distance = (radius - outline) * mean_half
    softness = rng.uniform(0.2, 0.55)
    weight = 0.5 - 0.5 * np.tanh(distance / softness)

    n = y.shape[0]
    cyst = rng.random() < 0.35
    if cyst:
        interior = rng.uniform(-36, -22) + 2.0 * surface(rng, n, 20, 12)
        reverberation = np.exp(-np.clip(y - cy + height / 2, 0, None) / rng.uniform(0.5, 1.5))
        interior += rng.uniform(0, 14) * reverberation
        attenuation = rng.uniform(0.0, 0.1)
    else:
        interior = rng.uniform(-18.5, -11.5) + 1.5 * surface(rng, n, 40, 16) + 1.2 * surface(rng, n, 12, 7)
        attenuation = rng.uniform(0.05, 0.25)
    rim = rng.uniform(3, 9) * np.exp(-((distance - 0.35) ** 2) / (2 * 0.22**2))
    rim *= 0.45 + 0.55 * np.abs((y - cy) / (height / 2)).clip(0, 1)
    around = rim + 2.0 * np.exp(-np.clip(distance, 0, None) / 1.2)

    extra = np.zeros_like(radius)
    if rng.random() < 0.5:  # refraction at the lateral edges
        total = rng.uniform(2, 6)
        for side in (-1, 1):
            edge = np.exp(-((x - cx - side * 0.99 * width / 2) ** 2) / (2 * 0.45**2))
            extra += edge * (np.abs(y - cy) < height / 4) * total / (2 * BEAM * height / 20)
    return Lesion(weight, interior, around, attenuation, extra)


def _malignant(rng, y, x, field):
    width = field * np.clip(np.exp(rng.normal(np.log(0.40), 0.30)), 0.17, 0.62)
    height = np.clip(width * np.exp(rng.normal(0.0, 0.22)), 0.15 * field, 0.54 * field)
    cx, cy = _place(rng, field, width, height, (0.36, 0.08))
    radius, angle = _polar(y, x, cy, cx, height, width, rng.normal(0, 0.3))
    outline = np.full_like(radius, 0.88)
    for k in range(2, 14):
        outline += rng.normal(0, 0.16 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    outline = np.clip(outline, 0.6, 1.25)
    rays = np.zeros_like(radius)
    for _ in range(rng.integers(5, 16)):
        sharp = rng.uniform(60, 300)
        rays += rng.uniform(0.2, 1.0) * np.exp(sharp * (np.cos(angle - rng.uniform(0, 2 * np.pi)) - 1))
    spiculation = rng.uniform(0.06, 0.34)
    n = y.shape[0]
    rough = 0.11 * surface(rng, n, 20, 13) + 0.07 * surface(rng, n, 44, 26)
    mean_half = (width + height) / 4
    distance = (radius - outline - spiculation * np.clip(rays, 0, 1) + rough) * mean_half
    below = np.clip((y - cy) / (height / 2), 0, 1)  # the far wall is lost in the shadow
    softness = rng.uniform(0.45, 1.2) + 1.2 * below
    weight = _one_piece(0.5 - 0.5 * np.tanh(distance / softness))

    interior = rng.uniform(-18, -11.5) + 2.5 * surface(rng, n, 34, 16) + 2.0 * surface(rng, n, 10, 7)
    if rng.random() < 0.3:  # microcalcifications
        for _ in range(rng.integers(3, 12)):
            at = rng.normal(0, 0.2, 2) * (height, width) + (cy, cx)
            interior += rng.uniform(8, 16) * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * 0.2**2))
    outside = np.clip(distance, 0, None)
    halo = rng.uniform(7, 16) * np.exp(-outside / rng.uniform(1.5, 4.0))
    halo *= np.clip(0.7 - 0.5 * (y - cy) / (height / 2), 0, 1.1)
    halo *= np.clip(0.75 + 0.35 * surface(rng, n, 12, 9), 0, 1.3)
    halo -= rng.uniform(2, 8) * np.clip(rays, 0, 1) * np.exp(-outside / 2.5)
    total = rng.uniform(7, 20)
    attenuation = 0.7 + total / (2 * BEAM * height / 10)
    return Lesion(weight, interior, halo, attenuation, np.zeros_like(radius))
