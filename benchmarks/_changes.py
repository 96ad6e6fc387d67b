"""Changes of a scan, uint8 H×W, that a distance should see."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

Change = Callable[[np.ndarray], np.ndarray]


def blurred(sigma: float) -> Change:
    return lambda image: gaussian_filter(image, sigma)


def noisy(std: float) -> Change:
    rng = np.random.default_rng(0)
    return lambda image: np.clip(image + rng.normal(0, std, image.shape), 0, 255).astype(np.uint8)


def recompressed(quality: int) -> Change:
    def change(image: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "jpeg", quality=quality)
        return np.asarray(Image.open(file))

    return change
