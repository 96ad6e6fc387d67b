"""Leaving one sample out of the Fréchet distance, or adding one, beside brute force; and the interval."""

import numpy as np
import pytest
from feature_sets import by_deletion, features, gaussians, share_covered
from scipy.stats import spearmanr

from busaug_core.metrics.fid import frechet_distance
from busaug_core.metrics.influence import fid_influence, fid_influence_of_new, frechet_interval, leave_one_out


@pytest.mark.parametrize(("n", "m", "width"), [(40, 40, 64), (60, 25, 64), (25, 60, 40), (90, 70, 16), (30, 80, 48)])
def test_leaving_one_out_equals_brute_force_on_either_side(n, m, width):
    one, other = features(n, width, 1), features(m, width, 2, 0.05)
    for fast, slow in zip(leave_one_out(one, other), by_deletion(frechet_distance, one, other), strict=True):
        assert np.allclose(fast, slow, rtol=0, atol=1e-7 * slow.mean())


def test_leaving_out_a_copy_or_an_outlier_equals_brute_force():
    one, other = features(30, 40, 1), features(30, 40, 2)
    other[1], other[2] = other[0], 50 * other[2]
    slow = by_deletion(frechet_distance, one, other)[1]
    assert np.allclose(leave_one_out(one, other)[1], slow, rtol=1e-7)


def test_influence_ranks_as_brute_force_does_at_200_by_2048():
    one, other = features(200, 2048, 1), features(200, 2048, 2, 0.02)
    some = np.arange(0, 200, 5)
    value = frechet_distance(one, other)
    slow = np.array([value - frechet_distance(one, np.delete(other, i, 0)) for i in some])
    fast = fid_influence(one, other)[some]
    assert spearmanr(fast, slow)[0] >= 0.99
    assert np.allclose(fast, slow, rtol=0, atol=1e-5 * np.ptp(slow))


def test_the_sample_that_spoils_the_fid_has_the_highest_influence():
    one, other = features(60, 30, 1), features(60, 30, 2)
    other[17] += 3
    influence = fid_influence(one, other)
    assert influence.argmax() == 17
    assert influence[17] > 0


@pytest.mark.parametrize(("n", "width"), [(60, 16), (100, 64), (60, 64)])
@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_fids_interval_covers_its_mean(n, width, shift):
    draw, _ = gaussians(n, width, shift)
    assert 0.9 <= share_covered(frechet_interval, draw, None, 200) <= 1


@pytest.mark.parametrize(("n", "m", "width"), [(30, 20, 64), (20, 30, 64), (80, 90, 8)])
def test_the_influence_of_a_new_image_is_what_adding_it_does(n, m, width):
    rng = np.random.default_rng(1)
    real, own, new = rng.normal(size=(n, width)), rng.normal(0.3, 1.2, (m, width)), rng.normal(1, 1, (5, width))
    before = frechet_distance(real, own)
    expected = [frechet_distance(real, np.concatenate([own, row[None]])) - before for row in new]
    assert np.allclose(fid_influence_of_new(real, own, new), expected, rtol=1e-6, atol=1e-8)
