"""The Fréchet distance at infinite N."""

import numpy as np
import pytest
from feature_sets import features, gaussians

from busaug_core.errors import UserError
from busaug_core.metrics.extrapolation import frechet_at_infinity
from busaug_core.metrics.fid import frechet_distance


def test_the_extrapolation_is_nearer_the_truth_than_fid_and_its_interval_covers_it():
    draw, truth = gaussians(157, 16, shift=0.2, scale=0.8)
    pairs = [draw(np.random.default_rng(seed)) for seed in range(60)]
    extrapolated = [frechet_at_infinity(*pair) for pair in pairs]
    at_n = np.mean([frechet_distance(*pair) for pair in pairs])
    assert abs(np.mean([e.value for e in extrapolated]) - truth) < abs(at_n - truth) / 4
    assert np.mean([e.low <= truth <= e.high for e in extrapolated]) >= 0.9


def test_fewer_samples_than_features_are_not_extrapolated():
    enough, few = features(40, 40, 1), features(39, 40, 2)
    frechet_at_infinity(enough, enough)
    with pytest.raises(UserError, match=r"fewer images a side \(39\) than features \(40\)"):
        frechet_at_infinity(enough, few)
