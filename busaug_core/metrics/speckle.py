"""Speckle: the texture of ultrasound, measured on gray images and compared between real and synthetic ones.

All statistics depend on the size that images were brought to; compare only images of one size.
"""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.stats import kurtosis, skew

from busaug_core.errors import UserError

DYNAMIC_RANGE = 60.0
"""dB between black and white that the envelope is recovered with; what the machine really showed is not known."""
PATCH = 16
DARK = 24
"""Mean gray of a patch below which, or as near white, clipping hides the speckle."""
GRAYS = 32
"""Gray levels of the co-occurrence matrix."""


def speckle_statistics(images: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics of each image, float64 N each, NaN where one is not defined (a blank image has no skewness).

    Of all gray values: `mean`, `std`, `skewness`, `kurtosis` (excess), `entropy` in bits. Of homogeneous tissue:
    `snr`, see `patch_snr`. Of neighbouring pixels: the width of the texture's autocorrelation in pixels down
    (`axial_width`) and across (`lateral_width`), see `autocorrelation_widths`; contrast, homogeneity and
    correlation (`glcm_…`) of the co-occurrence of 32 gray levels one pixel down and across (Haralick 1973).

    Args:
        images: uint8 N×S×S, S at least 32

    Raises:
        UserError: other shapes or dtypes
    """
    _check(images)
    rows = [_statistics(image) for image in images]
    return {name: np.array([row[name] for row in rows], np.float64) for name in rows[0]}


def patch_snr(image: np.ndarray) -> float:
    """Mean over standard deviation of the envelope in homogeneous patches; 1.91 is fully developed speckle.

    The envelope is 10^(gray/255 · 60 dB / 20), with the log compression undone as if it were over 60 dB. Patches
    are 16×16; those near black or white on average (shadow, saturation) and those of a single gray are left out,
    and of the others only the most homogeneous quarter counts, those whose four quadrants have the most similar mean
    grays. The result is their median, NaN where there is no such patch.
    """
    n = image.shape[0] // PATCH
    patches = image[: n * PATCH, : n * PATCH].reshape(n, PATCH, n, PATCH).swapaxes(1, 2).reshape(-1, PATCH, PATCH)
    mean, varied = patches.mean((1, 2)), patches.max((1, 2)) > patches.min((1, 2))
    patches = patches[(mean > DARK) & (mean < 255 - DARK) & varied].astype(np.float64)
    if not len(patches):
        return np.nan
    quadrants = patches.reshape(-1, 2, PATCH // 2, 2, PATCH // 2).mean((2, 4)).reshape(-1, 4)
    homogeneous = np.argsort(quadrants.std(1), kind="stable")[: max(1, len(patches) // 4)]
    envelope = 10 ** (patches[homogeneous] / 255 * DYNAMIC_RANGE / 20)
    return float(np.median(envelope.mean((1, 2)) / envelope.std((1, 2))))


def autocorrelation_widths(image: np.ndarray) -> tuple[float, float]:
    """Full width at half maximum of the texture's autocorrelation in pixels, down and across.

    The texture is the image less its Gaussian mean of S/32 pixels, so that anatomy does not count; it is
    windowed and padded, so that the image does not meet itself around the border. NaN for a blank image.
    """
    if image.min() == image.max():
        return np.nan, np.nan
    size = image.shape[0]
    gray = image.astype(np.float64)
    texture = (gray - gaussian_filter(gray, size / 32)) * _window(size)
    power = np.abs(np.fft.rfft2(texture, (2 * size, 2 * size))) ** 2
    correlation = np.fft.irfft2(power)
    return _full_width(correlation[:size, 0]), _full_width(correlation[0, :size])


def spectrum(images: np.ndarray, bands: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """The power spectrum averaged over directions.

    The mean gray is taken off and a Hann window laid on against leakage. Bands are rings of equal ratio from one
    cycle an image to half a cycle a pixel; the narrowest are one cycle wide, so there may be fewer than asked for.

    Args:
        images: uint8 N×S×S, S at least 32
        bands: at most so many rings

    Returns:
        The rings' mean frequency in cycles a pixel, float64 B, and the power, float64 N×B, in gray levels squared;
        white noise of variance v has power v in every band.
    """
    _check(images)
    size = images.shape[1]
    cycles = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)) * size
    edges = np.unique(np.round(np.geomspace(1, size // 2, bands + 1)))
    # Half of the plane is not computed, but the columns in between stand for two.
    weight = np.where((np.arange(size // 2 + 1) == 0) | (2 * np.arange(size // 2 + 1) == size), 1.0, 2.0)
    weight = np.broadcast_to(weight, cycles.shape).ravel()
    ring = np.searchsorted(edges, cycles.ravel(), side="right")  # 0 is below the first, len(edges) beyond the last
    inside = slice(1, len(edges))
    total = np.bincount(ring, weight, len(edges) + 1)[inside]
    window = _window(size)
    power = []
    for image in images:
        gray = image.astype(np.float64)
        raw = np.abs(np.fft.rfft2((gray - gray.mean()) * window)) ** 2 / np.square(window).sum()
        power.append(np.bincount(ring, raw.ravel() * weight, len(edges) + 1)[inside] / total)
    frequencies = np.bincount(ring, cycles.ravel() * weight, len(edges) + 1)[inside] / total / size
    return frequencies, np.array(power)


class Difference(NamedTuple):
    """How a statistic of synthetic images differs from that of real ones.

    d: mean difference, synthetic less real, over the pooled standard deviation (Cohen's d)
    low, high: its 95 % interval (Hedges and Olkin 1985)
    n: images where the statistic is defined, of real and synthetic ones
    """

    d: float | None
    low: float | None
    high: float | None
    n: tuple[int, int]


def compare(real: dict[str, np.ndarray], synthetic: dict[str, np.ndarray]) -> dict[str, Difference]:
    """The difference in each of the `speckle_statistics`.

    Images where one is not defined are left out of it; where a side has fewer than two images, or neither side
    varies, the numbers are None.
    """
    return {name: _difference(real[name], synthetic[name]) for name in real}


def _check(images: np.ndarray) -> None:
    if images.ndim != 3 or images.dtype != np.uint8 or images.shape[1] != images.shape[2] or images.shape[1] < 32:
        raise UserError(
            f"Images of shape {images.shape} and type {images.dtype} were given; speckle is measured on uint8 N×S×S "
            "with S of at least 32."
        )
    if not len(images):
        raise UserError("There is no image to measure speckle on.")


def _statistics(image: np.ndarray) -> dict[str, float]:
    gray = image.ravel().astype(np.float64)
    share = np.bincount(image.ravel(), minlength=256) / gray.size
    share = share[share > 0]
    varies = len(share) > 1
    axial, lateral = autocorrelation_widths(image)
    return {
        "mean": gray.mean(),
        "std": gray.std(),
        "skewness": skew(gray) if varies else np.nan,
        "kurtosis": kurtosis(gray) if varies else np.nan,
        "entropy": -(share * np.log2(share)).sum(),
        "snr": patch_snr(image),
        "axial_width": axial,
        "lateral_width": lateral,
        **_co_occurrence(image),
    }


def _co_occurrence(image: np.ndarray) -> dict[str, float]:
    """Contrast, homogeneity and correlation of the symmetric co-occurrence matrix, from the pairs themselves.

    Sums over the matrix are means over the pairs, so the matrix need not be built; down and across are averaged.
    """
    levels = image.astype(np.float64) // (256 // GRAYS)
    directions = []
    for one, other in ((levels[:-1], levels[1:]), (levels[:, :-1], levels[:, 1:])):
        squares = np.square(one - other)
        both = np.concatenate([one.ravel(), other.ravel()])
        mean, variance = both.mean(), both.var()
        covariance = ((one - mean) * (other - mean)).mean()
        correlation = covariance / variance if variance > 0 else np.nan
        directions.append((squares.mean(), (1 / (1 + squares)).mean(), correlation))
    return dict(zip(("glcm_contrast", "glcm_homogeneity", "glcm_correlation"), np.mean(directions, 0), strict=True))


def _window(size: int) -> np.ndarray:
    line = np.hanning(size + 2)[1:-1]
    return line[:, None] * line


def _full_width(profile: np.ndarray) -> float:
    """Twice the distance at which a profile that begins at its maximum first falls to the half, interpolated."""
    profile = profile / profile[0]
    after = int(np.argmax(profile < 0.5))
    if after == 0:
        return np.nan
    before, beyond = profile[after - 1], profile[after]
    return 2 * (after - 1 + (before - 0.5) / (before - beyond))


def _difference(real: np.ndarray, synthetic: np.ndarray) -> Difference:
    real, synthetic = real[np.isfinite(real)], synthetic[np.isfinite(synthetic)]
    n, m = len(real), len(synthetic)
    none = Difference(None, None, None, (n, m))
    if min(n, m) < 2:
        return none
    pooled = np.sqrt(((n - 1) * real.var(ddof=1) + (m - 1) * synthetic.var(ddof=1)) / (n + m - 2))
    if pooled == 0:
        return none
    d = float((synthetic.mean() - real.mean()) / pooled)
    margin = 1.96 * np.sqrt((n + m) / (n * m) + d**2 / (2 * (n + m)))
    return Difference(d, float(d - margin), float(d + margin), (n, m))
