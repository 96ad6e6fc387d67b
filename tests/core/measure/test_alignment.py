"""Affine alignment."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from busaug_core.measure.alignment import align, correlation, detailed, warped

PLACE = np.float32([[[0.80, 0.05, 0.04], [-0.06, 0.86, -0.05]]])


@pytest.fixture
def picture():
    """Blurred noise of 128 pixels a side, float32 1×128×128."""
    noise = gaussian_filter(np.random.default_rng(5).normal(size=(128, 128)), 3)
    return np.float32(128 + 40 * noise / noise.std())[None]


def test_a_map_that_is_nearly_right_is_moved_to_where_it_belongs(picture):
    seen = detailed(warped(picture, PLACE, 64)[0])[0]
    start = PLACE + np.float32([[0.03, -0.03, 0.03], [0.02, -0.03, -0.03]])
    found = align(seen, picture, start, np.ones((1, 64 * 64), np.float32), 8)
    assert np.abs(found - PLACE).max() < 0.003 < np.abs(start - PLACE).max()


def test_a_map_is_moved_by_what_agrees_in_its_region_alone(picture):
    seen = warped(picture, PLACE, 64)[0]
    seen[:, :, 32:] = warped(picture[:, ::-1].copy(), PLACE, 64)[0][:, :, 32:]
    left = np.repeat(np.arange(64)[None] < 32, 64, 0).reshape(1, -1).astype(np.float32)
    found = align(detailed(seen)[0], picture, PLACE + np.float32(0.02), left, 8)
    assert np.abs(found - PLACE).max() < 0.01


def test_a_map_that_would_become_implausible_stays(picture):
    noise = np.random.default_rng(6).normal(size=64 * 64).astype(np.float32)
    start = np.float32([[[1.6, 0, 0], [0, 1, 0]]])
    assert np.array_equal(align(noise, picture, start, np.ones((1, 64 * 64), np.float32), 8), start)


def test_what_lies_outside_a_picture_is_told(picture):
    there = np.float32([[[1, 0, 1], [0, 1, 0]]])
    view, inside = warped(picture, there, 128)
    assert np.array_equal(inside.reshape(128, 128).any(1), np.arange(128) < 64)
    assert np.allclose(view[0, :64], picture[0, 64:], atol=0.01)


def test_correlation_is_pearsons_in_each_region():
    rng = np.random.default_rng(7)
    seen, found = rng.normal(1, 1, 100).astype(np.float32), rng.normal(2, 1, (3, 100)).astype(np.float32)
    found += seen
    regions = np.float32([np.arange(100) < 50, np.ones(100)])
    values = correlation(seen, found, np.ones((3, 100), bool), regions)
    assert np.allclose(values[:, 0], [np.corrcoef(seen[:50], f[:50])[0, 1] for f in found], atol=1e-4)
    assert np.allclose(values[:, 1], [np.corrcoef(seen, f)[0, 1] for f in found], atol=1e-4)


def test_a_black_region_with_a_word_in_it_correlates_little():
    rng = np.random.default_rng(8)
    seen, found = rng.normal(size=200).astype(np.float32), rng.normal(size=(1, 200)).astype(np.float32)
    seen[:100] = found[:, :100] = 0
    seen[10:15] = found[:, 10:15] = np.float32([1, -1, 1, -1, 1])
    regions = np.float32([np.arange(200) < 100])
    assert correlation(seen, found, np.ones((1, 200), bool), regions) < 0.3
