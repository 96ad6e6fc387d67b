"""The Fréchet distance beside pytorch-fid's and torch-fidelity's, closed forms, and streamed rows."""

import numpy as np
import pytest
import torch
from feature_sets import correlated, features
from pytorch_fid.fid_score import calculate_frechet_distance
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from busaug_core.errors import UserError
from busaug_core.metrics.fid import Moments, frechet_distance, frechet_distance_of_moments
from busaug_core.metrics.influence import leave_one_out


def of_pytorch_fid(one, other):
    return calculate_frechet_distance(*(v for f in (one, other) for v in (f.mean(0), np.cov(f, rowvar=False))))


def of_torch_fidelity(one, other):
    statistics = (fid_features_to_statistics(torch.from_numpy(f)) for f in (one, other))
    return fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]


@pytest.mark.parametrize(("n", "m", "width"), [(780, 780, 64), (780, 780, 192), (400, 300, 512)])
def test_fid_equals_pytorch_fids_and_torch_fidelitys(n, m, width):
    one, other = features(n, width, 1), features(m, width, 2, 0.02)
    value = frechet_distance(one, other)
    assert value == pytest.approx(of_pytorch_fid(one, other), rel=1e-5)
    assert value == pytest.approx(of_torch_fidelity(one, other), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("n", [780, 5000])
@pytest.mark.parametrize("width", [64, 192, 768, 2048])
def test_fid_equals_the_references_at_full_size(n, width):
    one, other = features(n, width, 1), features(n, width, 2, 0.02)
    value = frechet_distance(one, other)
    assert value == pytest.approx(of_pytorch_fid(one, other), rel=1e-4)
    assert value == pytest.approx(of_torch_fidelity(one, other), rel=1e-4)


@pytest.mark.parametrize(("n", "width"), [(50, 80), (500, 32)])
def test_streamed_and_merged_moments_give_the_same_distance(n, width):
    one, other = features(n, width, 1), features(n, width, 2, 0.05)
    whole = Moments(width).add(one)
    parts = Moments(width).add(one[:7]).merge(Moments(width).add(one[7:20]).add(one[20:])).merge(Moments(width))
    assert parts.n == n
    assert np.allclose(parts.mean, one.mean(0, dtype=np.float64))
    assert np.allclose(parts.covariance, np.cov(one.astype(np.float64), rowvar=False))
    for moments in (whole, parts):
        value = frechet_distance_of_moments(moments, Moments(width).add(other))
        assert value == pytest.approx(frechet_distance(one, other), rel=1e-6)


def test_moments_keep_their_digits_far_from_the_origin():
    rows = np.random.default_rng(0).normal(size=(300, 4)) + 1e6
    moments = Moments(4)
    for row in rows:
        moments.add(row[None])
    assert np.allclose(moments.covariance, np.cov(rows, rowvar=False), rtol=1e-6)


def test_collapsed_and_constant_sets_have_a_distance():
    real = features(100, 30, 1)
    constant = np.repeat(features(1, 30, 2), 100, axis=0)
    expected = np.square(real.mean(0, dtype=float) - constant[0]).sum() + real.var(0, dtype=float, ddof=1).sum()
    assert frechet_distance(real, constant) == pytest.approx(expected, rel=1e-6)
    assert np.allclose(leave_one_out(real, constant)[1], expected, rtol=1e-6)


@pytest.mark.parametrize(("n", "m", "width"), [(300, 200, 16), (300, 300, 64), (40, 60, 128)])
def test_the_distance_equals_pytorch_fids(n, m, width):
    one, other = correlated(n, width, 1), correlated(m, width, 2, shift=0.3)
    moments = [v for f in (one, other) for v in (f.mean(0, dtype=np.float64), np.cov(f, rowvar=False))]
    assert frechet_distance(one, other) == pytest.approx(calculate_frechet_distance(*moments), rel=1e-5)


def test_the_distance_of_two_gaussians_approaches_the_closed_form():
    rng = np.random.default_rng(0)
    one = rng.normal(0, 1, (200_000, 2))
    other = rng.normal([1, 0], [2, 3], (200_000, 2))
    assert frechet_distance(one, other) == pytest.approx(1 + 1 + 4, rel=0.02)


def test_the_distance_is_zero_to_itself_symmetric_and_blind_to_order():
    one, other = correlated(50, 80, 1), correlated(60, 80, 2)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one))
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(one[::-1], other))


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (np.zeros((5, 3)), np.zeros((5, 4)), "3 and 4 wide"),
        (np.zeros((1, 3)), np.zeros((5, 3)), "needs at least 2 images a side; there are 1 real"),
        (np.zeros((5, 3)), np.full((5, 3), np.nan), "synthetic features hold values that are not finite"),
    ],
)
def test_features_that_cannot_be_compared_are_refused(one, other, message):
    with pytest.raises(UserError, match=message):
        frechet_distance(one, other)
