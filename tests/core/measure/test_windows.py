"""Descriptors of windows."""

import numpy as np
from PIL import Image

from busaug_core.measure.windows import windows
from busaug_core.simulate import simulate


def test_a_part_is_described_alike_in_a_picture_and_in_a_crop_of_it():
    scan = simulate("benign", 3, 256).image
    crop = np.asarray(Image.fromarray(scan[32:224, 32:224]).resize((128, 128)))
    of_scan, places = windows(scan, 0.375, 2)
    of_crop, middle = windows(crop, 0.5, 16)
    there = 0.75 * middle[0]
    same = np.abs(places - there).max(1).argmin()
    likeness = of_scan @ of_crop[0]
    assert likeness[same] > 0.8
    assert np.median(likeness) < 0.3


def test_places_are_middles_and_half_sides():
    _, places = windows(np.zeros((128, 128), np.uint8), 0.5, 8)
    assert places.shape == (9, 3)
    assert np.allclose(places[[0, 4, 8]], [[-0.5, -0.5, 0.5], [0, 0, 0.5], [0.5, 0.5, 0.5]])


def test_a_picture_of_one_gray_has_descriptors_of_zero():
    assert not np.abs(windows(np.full((128, 128), 90, np.uint8), 0.5, 8)[0]).max() > 1e-3
