"""KID beside torch-fidelity's, and its interval."""

import numpy as np
import pytest
import torch
from feature_sets import by_deletion, features, gaussians, share_covered
from torch_fidelity.metric_kid import kid_features_to_metric

from busaug_core.metrics.estimate import jackknife_error
from busaug_core.metrics.kid import kid


@pytest.mark.parametrize(("n", "m", "size"), [(157, 157, 100), (120, 90, 90), (60, 80, 20)])
def test_kid_equals_torch_fidelitys_on_the_same_subsets(n, m, size):
    one, other = (f.astype(np.float64) for f in (features(n, 192, 1), features(m, 192, 2, 0.05)))
    options = dict(kid_subsets=100, kid_subset_size=size, rng_seed=51, verbose=False)
    expected = kid_features_to_metric(torch.from_numpy(one), torch.from_numpy(other), **options)
    value = kid(one, other, size, 100, 51).value
    assert value == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-9)


def test_kid_of_large_sets_does_not_depend_on_holding_their_kernels(monkeypatch):
    one, other = features(130, 32, 1), features(150, 32, 2, 0.1)
    held = kid(one, other)
    monkeypatch.setattr("busaug_core.metrics.kid.HELD", 0)
    monkeypatch.setattr("busaug_core.metrics.kid.BLOCK", 32)
    streamed = kid(one, other)
    assert [streamed.value, streamed.low, streamed.high] == pytest.approx([held.value, held.low, held.high])


def test_kids_interval_is_the_jackknifes_of_all_rows_where_a_subset_is_all():
    one, other = features(40, 8, 1), features(40, 8, 2, 0.1)
    slow = by_deletion(lambda a, b: mmd2(a.astype(float), b.astype(float)), one, other)
    result = kid(one, other, 40)
    assert (result.high - result.low) / 2 == pytest.approx(2.0227 * jackknife_error(*slow), rel=1e-4)


def mmd2(x, y):
    xx, yy, xy = ((a @ b.T / x.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    within = [(k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in (xx, yy)]
    return sum(within) - 2 * xy.mean()


def test_the_default_subset_is_100_or_the_smaller_set():
    many, some, few = features(150, 8, 1), features(120, 8, 2), features(17, 8, 3)
    assert kid(many, some) == kid(many, some, 100)
    assert kid(many, few) == kid(many, few, 17)


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_kids_interval_covers_its_mean(shift):
    draw, _ = gaussians(60, 16, shift)
    assert share_covered(lambda a, b: kid(a, b, 50), draw, None, 150) >= 0.9
