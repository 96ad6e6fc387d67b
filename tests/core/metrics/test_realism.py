"""The scale of copy ratios, and realism."""

import numpy as np
import pytest

from busaug_core.errors import UserError
from busaug_core.metrics.realism import realism, typical_distance


def test_the_typical_distance_leaves_out_images_of_one_group():
    real = np.array([[0.0], [0.1], [5.0], [9.0]])
    far = real + 1000
    assert typical_distance(real, far, [None] * 4) == pytest.approx(np.median([0.1, 0.1, 4.0, 4.0]))
    assert typical_distance(real, far, ["a", "a", None, None]) == pytest.approx(np.median([5.0, 4.9, 4.0, 4.0]))
    mirrored = np.array([[2.0], [3.1], [5.0], [9.0]])
    assert typical_distance(real, mirrored, [None] * 4) == pytest.approx(np.median([0.1, 0.1, 1.9, 4.0]))
    with pytest.raises(UserError, match="all of one group"):
        typical_distance(real, far, ["a"] * 4)


def test_realism_is_at_least_one_just_within_the_compact_balls():
    rng = np.random.default_rng(0)
    real, inside, outside = rng.normal(size=(60, 3)), np.zeros((1, 3)), np.full((1, 3), 20.0)
    assert realism(real, inside, 3)[0] > 1 > realism(real, outside, 3)[0]
