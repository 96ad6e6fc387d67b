"""Smooth random fields and the thin lines drawn from them."""

from functools import lru_cache

import numpy as np
from scipy.ndimage import map_coordinates


@lru_cache(maxsize=256)
def _spline_basis(n: int, cells: int) -> np.ndarray:
    """(n, cells + 3) float32 values of the uniform cubic B-splines over n samples."""
    position = np.linspace(0, cells, n, endpoint=False)
    distance = np.abs(position[:, None] - (np.arange(cells + 3) - 1))
    inner = 2 / 3 - distance**2 + distance**3 / 2
    outer = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, inner, outer).astype(np.float32)


def surface(rng: np.random.Generator, n: int, cells_y: int, cells_x: int) -> np.ndarray:
    """(n, n) float32 smooth Gaussian field of about zero mean and unit variance.

    ``cells_y`` and ``cells_x`` say how many independent values the field has down and across.
    """
    knots = rng.standard_normal((cells_y + 3, cells_x + 3), dtype=np.float32)
    return _spline_basis(n, cells_y) @ knots @ _spline_basis(n, cells_x).T / 0.48


def curve(rng: np.random.Generator, n: int, cells: int) -> np.ndarray:
    """(n,) float32 smooth Gaussian curve of about zero mean and unit variance."""
    return _spline_basis(n, cells) @ rng.standard_normal(cells + 3, dtype=np.float32) / 0.69


def warp(field: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The (n, n) field read at fractional ``rows`` (n, n), columns unchanged."""
    columns = np.broadcast_to(np.arange(field.shape[1], dtype=np.float32), rows.shape)
    return map_coordinates(field, (rows, columns), order=1, mode="nearest")


def ridges(field: np.ndarray, width: float, specular: float) -> np.ndarray:
    """Lines in [0, 1] along the zero level of ``field``, ``width`` pixels wide (one sigma).

    A line fades as it leaves the horizontal, as ``cos(angle) ** specular``: a smooth interface
    answers most where the beam meets it squarely.
    """
    slope_y, slope_x = np.gradient(field)
    slope = slope_x**2 + slope_y**2 + 1e-8
    return np.exp(-(field**2) / (2 * width**2 * slope)) * (slope_y**2 / slope) ** (specular / 2)
