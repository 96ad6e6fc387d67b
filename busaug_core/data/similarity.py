"""Which images show the same picture, or another frame of the same scan.

An image is reduced to a small *detail*: 64×64, each pixel relative to its surroundings, so that depth
darkening and gain, which all scans share, do not count as likeness. Two details are compared at the
best shift. Candidates come from an index of sampled bits of the detail's low frequencies (locality-
sensitive hashing, Indyk and Motwani 1998), so that the work grows with the images, not with their pairs.
"""

import numpy as np
from scipy.fft import dctn, irfft2, rfft2
from scipy.ndimage import gaussian_filter

SIDE = 64

LOW = 10
TABLES, KEY_BITS = 128, 16
MAX_SHIFT = 12
PAIRS_AT_A_TIME = 512
REFINED = 5


def detail(gray: np.ndarray) -> np.ndarray:
    """The locally normalised picture, float32 64×64 of mean 0 and norm 1, of a gray one of that size."""
    return _normalised(gray, blur=4, surroundings=6)


def bits(gray: np.ndarray) -> np.ndarray:
    """Low-frequency DCT coefficients, float32 99, whose signs (round their means) are the hash."""
    small = gray.astype(np.float32).reshape(SIDE // 2, 2, SIDE // 2, 2).mean((1, 3))
    return dctn(_normalised(small, blur=6, surroundings=8), norm="ortho")[:LOW, :LOW].ravel()[1:]


def candidates(coefficients: np.ndarray, seed: int = 0) -> np.ndarray:
    """Pairs of images, int M×2 with the smaller index first, that agree in all bits of some table.

    Args:
        coefficients: N×99, as `bits` gives them
        seed: seed of the tables
    """
    signs = coefficients > coefficients.mean(0)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(TABLES):
        chosen = rng.choice(signs.shape[1], KEY_BITS, replace=False)
        keys = signs[:, chosen] @ (1 << np.arange(KEY_BITS))
        order = np.argsort(keys, kind="stable")
        bounds = np.flatnonzero(np.diff(keys[order])) + 1
        for bucket in np.split(order, bounds):
            if len(bucket) > 1:
                i, j = np.triu_indices(len(bucket), 1)
                found.append(np.sort(np.stack([bucket[i], bucket[j]], 1), axis=1))
    return np.unique(np.concatenate(found), axis=0) if found else np.empty((0, 2), int)


def likeness(details: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The highest normalised correlation of each pair over shifts of up to 12 of 64 pixels; float M in −1…1."""
    spectra = rfft2(details, s=(2 * SIDE, 2 * SIDE)).astype(np.complex64)
    best = np.empty(len(pairs), np.float32)
    near = np.r_[0 : MAX_SHIFT + 1, -MAX_SHIFT:0]
    for i in range(0, len(pairs), PAIRS_AT_A_TIME):
        one, other = pairs[i : i + PAIRS_AT_A_TIME].T
        surface = irfft2(spectra[one].conj() * spectra[other], s=(2 * SIDE, 2 * SIDE))
        best[i : i + PAIRS_AT_A_TIME] = surface[:, near][:, :, near].max((1, 2))
    return best


def nearest_likeness(details: np.ndarray, references: np.ndarray) -> np.ndarray:
    """For each of N details its likeness to the nearest of M references or their mirror images; float N.

    The few best without a shift are compared at the best one.
    """
    others = np.concatenate([references, references[:, :, ::-1]])
    at_rest = details.reshape(len(details), -1) @ others.reshape(len(others), -1).T
    count = min(REFINED, len(others))
    best = np.argpartition(at_rest, -count, axis=1)[:, -count:]
    pairs = np.stack([np.repeat(np.arange(len(details)), count), len(details) + best.ravel()], 1)
    return likeness(np.concatenate([details, others]), pairs).reshape(-1, count).max(1)


def _normalised(gray: np.ndarray, blur: float, surroundings: float) -> np.ndarray:
    gray = gray.astype(np.float32)
    difference = gray - gaussian_filter(gray, blur)
    contrast = np.sqrt(gaussian_filter(difference**2, surroundings))
    flat = difference / (contrast + 6)
    flat -= flat.mean()
    return flat / max(float(np.linalg.norm(flat)), 1e-6)
