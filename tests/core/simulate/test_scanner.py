"""Image formation: speckle, beam, attenuation and compression."""

import dataclasses
from functools import cache

import numpy as np
import pytest

from busaug_core.simulate.phantom import GRID, PIXEL, Phantom
from busaug_core.simulate.scanner import (
    Scanner,
    display,
    envelope,
    lateral_sigma,
    path_loss,
)

SPECKLE = Scanner(looks=1, coherent=0.0, lateral=0.3, focus=20.0, field_depth=10.0, tgc=0.0)


def homogeneous(attenuation: float = 0.0) -> Phantom:
    flat = np.zeros((GRID, GRID), np.float32)
    return Phantom(flat, flat + np.float32(attenuation), np.zeros((GRID, GRID), bool))


@cache
def speckle(scanner: Scanner = SPECKLE, count: int = 8) -> np.ndarray:
    return np.stack([envelope(homogeneous(), scanner, np.random.default_rng(i)) for i in range(count)])


def lateral_width(rows: np.ndarray) -> float:
    """Sigma in pixels of the Gaussian that fits the lateral autocovariance of the intensity."""
    intensity = rows**2 - (rows**2).mean()
    lag = 2
    share = (intensity[..., lag:] * intensity[..., :-lag]).mean() / (intensity**2).mean()
    return lag / np.sqrt(-2 * np.log(share))


def test_speckle_of_homogeneous_tissue_has_the_rayleigh_ratio():
    echo = speckle()
    assert echo.mean() / echo.std() == pytest.approx(1.91, abs=0.1)


@pytest.mark.parametrize("looks", [2, 4])
def test_compounding_raises_the_ratio_by_the_root_of_the_looks(looks):
    echo = speckle(dataclasses.replace(SPECKLE, looks=looks))
    assert echo.mean() / echo.std() == pytest.approx(1.91 * looks**0.5, rel=0.06)


def test_power_of_homogeneous_tissue_is_one_at_every_depth():
    power = (speckle(count=24) ** 2).mean((0, 2)).reshape(6, -1).mean(1)
    np.testing.assert_allclose(power, 1.0, atol=0.12)


@pytest.mark.parametrize("depth", [4.0, 12.0, 20.0, 28.0, 36.0])
def test_lateral_speckle_size_follows_the_beam(depth):
    # The autocovariance of intensity is the squared autocorrelation of a Gaussian of sigma s,
    # whose own sigma is s: exp(-d**2 / (4 s**2)) squared.
    row = round(depth / PIXEL)
    measured = lateral_width(speckle(count=24)[:, row - 6 : row + 6]) * PIXEL
    expected = float(lateral_sigma(np.array(depth), SPECKLE))
    assert measured == pytest.approx(expected, rel=0.12)


def test_lateral_speckle_is_narrowest_at_the_focus():
    echo = speckle(count=24)
    widths = [lateral_width(echo[:, row : row + 24]) for row in range(0, GRID, 24)]
    assert np.argmin(widths) in (3, 4)
    assert widths[0] > 1.5 * min(widths) and widths[-1] > 1.5 * min(widths)


def test_uniform_attenuation_is_two_way_and_compensated_by_equal_tgc():
    depth = (np.arange(GRID) + 0.5) * PIXEL
    loss = path_loss(homogeneous(0.5), SPECKLE, depth)
    assert loss[-1].mean() == pytest.approx(-2 * 0.5 * SPECKLE.frequency * 4.0, rel=0.01)
    matched = path_loss(homogeneous(0.5), dataclasses.replace(SPECKLE, tgc=0.5), depth)
    assert np.abs(matched).max() < 0.2


def test_display_is_a_logarithmic_scale():
    scanner = Scanner(dynamic_range=60.0, level=0.5, noise_floor=-120.0, gamma=1.0, unsharp=0.0)
    linear = np.ones((64, 64), np.float32)
    linear[:2] = 0.1
    gray = display(linear, scanner, np.random.default_rng(0))
    assert gray[10, 10] == pytest.approx(0.5, abs=1e-3)
    assert gray[10, 10] - gray[0, 10] == pytest.approx(20 / 60, abs=1e-3)
