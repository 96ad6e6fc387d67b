"""Which images show the same picture, or another frame of the same scan.

An image is shrunk to 64×64 and locally normalised (each pixel relative to its surroundings), so that gain and
the darkening with depth, which all scans share, do not count as likeness. Two images are compared at the best
shift, about 0.1 ms a pair; `perceptual_hash` finds the pairs that are worth comparing.
"""

import numpy as np
from scipy.fft import irfft2, rfft2
from scipy.ndimage import gaussian_filter

SIDE = 64
MAX_SHIFT = 12
PADDED = 80
"""Side to which pictures are padded, so that what is shifted out does not come in at the other side."""
PAIRS_AT_A_TIME = 512


def locally_normalised(gray: np.ndarray) -> np.ndarray:
    """A gray picture relative to its surroundings, float32 of the same size, of mean 0 and norm 1."""
    flat = relative_to_surroundings(gray)
    flat -= flat.mean()
    return flat / max(float(np.linalg.norm(flat)), 1e-6)


def relative_to_surroundings(gray: np.ndarray, width: float = 4) -> np.ndarray:
    """Gray pictures …×H×W relative to their surroundings of so many pixels, float32, of a contrast of about 1."""
    gray = gray.astype(np.float32)
    difference = gray - gaussian_filter(gray, width, axes=(-2, -1))
    contrast = np.sqrt(gaussian_filter(difference**2, 1.5 * width, axes=(-2, -1)))
    return difference / (contrast + 6)


def likeness(normalised: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The highest normalised cross-correlation of each pair over shifts of up to 12 pixels.

    Args:
        normalised: float32 N×64×64, as `locally_normalised` gives them
        pairs: int M×2, which of them are compared

    Returns:
        float32 M in −1…1
    """
    best = np.empty(len(pairs), np.float32)
    near = np.r_[0 : MAX_SHIFT + 1, -MAX_SHIFT:0]
    for i in range(0, len(pairs), PAIRS_AT_A_TIME):
        members, places = np.unique(pairs[i : i + PAIRS_AT_A_TIME], return_inverse=True)
        spectra = rfft2(normalised[members], s=(PADDED, PADDED))
        one, other = places.reshape(-1, 2).T
        surface = irfft2(spectra[one].conj() * spectra[other], s=(PADDED, PADDED))
        best[i : i + PAIRS_AT_A_TIME] = surface[:, near][:, :, near].max((1, 2))
    return best
