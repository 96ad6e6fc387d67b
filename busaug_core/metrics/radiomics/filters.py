"""The images that radiomic features are measured on: an image of unit contrast, its edges and its wavelet bands."""

import numpy as np
from scipy.fft import dctn, idctn
from scipy.ndimage import convolve1d

CONTRAST = 100
"""Standard deviation that images are brought to, with mean 0, so that gain and offset do not count."""
SIGMAS = (2, 3, 4, 5)
"""Pixels of the Laplacians of Gaussian."""
ORIGINAL = "original"
COIFLET = np.array(
    [-3 + 7**0.5, 1 - 7**0.5, 14 - 2 * 7**0.5, 14 + 2 * 7**0.5, 5 + 7**0.5, 1 - 7**0.5]
) / (16 * 2**0.5)  # fmt: skip
"""The low pass of the first coiflet; the high pass is its quadrature mirror."""


def filtered_images(image: np.ndarray) -> dict[str, np.ndarray]:
    """The image at mean 0 and contrast 100, and what comes of it, float64 H×W each, all of mean 0.

    Named `original`, `LoG 2` to `LoG 5`, and `wavelet LL`, `LH`, `HL`, `HH`: low or high pass across, then down.

    Args:
        image: H×W, any dtype; one of a single gray gives zeros
    """
    gray = image - image.mean(dtype=np.float64)
    if image.min() < image.max():
        gray *= CONTRAST / gray.std()
    return {
        ORIGINAL: gray,
        **{f"LoG {sigma}": edges for sigma, edges in zip(SIGMAS, laplacians_of_gaussian(gray, SIGMAS), strict=True)},
        **{f"wavelet {name}": band for name, band in wavelet_bands(gray).items()},
    }


def laplacians_of_gaussian(gray: np.ndarray, sigmas: tuple[float, ...]) -> list[np.ndarray]:
    """σ²∇² of the image under a Gaussian of each σ in pixels, mirrored at its borders; by its cosine transform.

    Rounded to 10⁻⁶: in flat parts, such as black shadows, the transform's error would else fall on both sides of 0,
    which is a border of gray levels.
    """
    down, across = (np.square(np.pi * np.arange(n) / n) for n in gray.shape)
    squares = down[:, None] + across
    spectrum = dctn(gray, norm="ortho")
    kernels = (-(s**2) * squares * np.exp(-(s**2) / 2 * squares) for s in sigmas)
    return [np.round(idctn(kernel * spectrum, norm="ortho"), 6) for kernel in kernels]


def wavelet_bands(gray: np.ndarray) -> dict[str, np.ndarray]:
    """The first level of the stationary wavelet transform with the first coiflet, periodic at the borders."""
    passes = {"L": COIFLET, "H": COIFLET[::-1] * (-1, 1, -1, 1, -1, 1)}
    across = {name: convolve1d(gray, taps, axis=1, mode="wrap") for name, taps in passes.items()}
    return {
        one + other: convolve1d(image, taps, axis=0, mode="wrap")
        for one, image in across.items()
        for other, taps in passes.items()
    }
