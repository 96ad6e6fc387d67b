"""Which images show the same picture, or another frame of the same scan.

An image is reduced to a small *detail*: 64×64, each pixel relative to its surroundings, so that depth
darkening and gain, which all scans share, do not count as likeness. Two details are compared at the
best shift. Candidates come from a coarser *outline* of 195 numbers, compared at a few shifts by matrix
products: 0.1 s for the 300,000 pairs of BUSI, about a minute for 20,000 images.
"""

import numpy as np
from scipy.fft import dctn, irfft2, rfft2
from scipy.ndimage import gaussian_filter

SIDE = 64
LOW = 14
SHIFTS = [(down, right) for down in (-2, 0, 2) for right in (-6, -3, 0, 3, 6)]
"""Shifts at which outlines are compared, in pixels of 32."""
PROMISING = 0.5
"""Correlation of outlines from which a pair is a candidate; in BUSI no pair of one scan lies below 0.56."""
MAX_SHIFT = 12
PADDED = 80
"""Side to which details are padded, so that what is shifted out does not come in at the other side."""
PAIRS_AT_A_TIME = 512
REFINED = 5


def detail(gray: np.ndarray) -> np.ndarray:
    """The locally normalised picture, float32 64×64 of mean 0 and norm 1, of a gray one of that size."""
    return _normalised(gray, blur=4, surroundings=6)


def outlines(gray: np.ndarray) -> np.ndarray:
    """Low-frequency DCT coefficients at each of the 15 `SHIFTS`, float32 15×195, of a gray 64×64 picture."""
    small = gray.astype(np.float32).reshape(SIDE // 2, 2, SIDE // 2, 2).mean((1, 3))
    flat = _normalised(small, blur=4, surroundings=6)
    shifted = np.stack([np.roll(flat, shift, (0, 1)) for shift in SHIFTS])
    return dctn(shifted, axes=(1, 2), norm="ortho")[:, :LOW, :LOW].reshape(len(SHIFTS), -1)[:, 1:]


def candidates(outline: np.ndarray, block: slice = slice(None)) -> np.ndarray:
    """Pairs of images whose outlines correlate at some shift, one of the pair in the block; int M×2.

    The smaller index comes first; over all blocks each pair comes once.

    Args:
        outline: N×15×195, as `outlines` gives them
        block: the images whose pairs with those of higher index are looked for
    """
    centre = outline[:, SHIFTS.index((0, 0))].mean(0)
    first, last, _ = block.indices(len(outline))
    at_rest = _unit(outline[first:, SHIFTS.index((0, 0))] - centre)
    best = np.full((last - first, len(at_rest)), -1, np.float32)
    for k in range(len(SHIFTS)):
        np.maximum(best, _unit(outline[first:last, k] - centre) @ at_rest.T, out=best)
        # The other image may be the one that is shifted, beyond what its own opposite shift tells.
        np.maximum(best, at_rest[: last - first] @ _unit(outline[first:, k] - centre).T, out=best)
    one, other = np.nonzero(np.triu(best >= PROMISING, 1))
    return np.stack([one + first, other + first], 1)


def likeness(details: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The highest normalised correlation of each pair over shifts of up to 12 of 64 pixels; float M in −1…1."""
    best = np.empty(len(pairs), np.float32)
    near = np.r_[0 : MAX_SHIFT + 1, -MAX_SHIFT:0]
    for i in range(0, len(pairs), PAIRS_AT_A_TIME):
        members, places = np.unique(pairs[i : i + PAIRS_AT_A_TIME], return_inverse=True)
        spectra = rfft2(details[members], s=(PADDED, PADDED))
        one, other = places.reshape(-1, 2).T
        surface = irfft2(spectra[one].conj() * spectra[other], s=(PADDED, PADDED))
        best[i : i + PAIRS_AT_A_TIME] = surface[:, near][:, :, near].max((1, 2))
    return best


def nearest(details: np.ndarray, references: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of N details its likeness to the nearest of M references or their mirror images, and which it is.

    The few best without a shift are compared at the best one. Returns float N and int N.
    """
    others = np.concatenate([references, references[:, :, ::-1]])
    at_rest = details.reshape(len(details), -1) @ others.reshape(len(others), -1).T
    count = min(REFINED, len(others))
    best = np.argpartition(at_rest, -count, axis=1)[:, -count:]
    pairs = np.stack([np.repeat(np.arange(len(details)), count), len(details) + best.ravel()], 1)
    values = likeness(np.concatenate([details, others]), pairs).reshape(-1, count)
    rows = np.arange(len(details))
    return values.max(1), best[rows, values.argmax(1)] % len(references)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)


def _normalised(gray: np.ndarray, blur: float, surroundings: float) -> np.ndarray:
    gray = gray.astype(np.float32)
    difference = gray - gaussian_filter(gray, blur)
    contrast = np.sqrt(gaussian_filter(difference**2, surroundings))
    flat = difference / (contrast + 6)
    flat -= flat.mean()
    return flat / max(float(np.linalg.norm(flat)), 1e-6)
