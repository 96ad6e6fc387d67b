"""Classifier two-sample tests."""

import numpy as np
import pytest
from feature_sets import correlated, features, gaussians, share_covered

from busaug_core.metrics.two_sample import real_vs_synthetic_auc, two_sample_accuracy


def test_the_auc_tells_the_same_from_the_other():
    one, same, far = features(150, 64, 1), features(150, 64, 2), features(150, 64, 3, 0.5)
    result = real_vs_synthetic_auc(one, same)
    assert result.low < 0.5 < result.high
    result = real_vs_synthetic_auc(one, far)
    assert result.value > 0.99
    assert 0.9 < result.low < result.high <= 1


def test_rows_of_one_group_are_never_in_training_and_test_both():
    """Pairs of near-equal rows with a label each let an ungrouped classifier know the test row."""
    rng = np.random.default_rng(0)
    one, other = (np.repeat(rng.normal(size=(40, 200)), 2, axis=0) for _ in range(2))
    assert real_vs_synthetic_auc(one, other).value > 0.8
    result = real_vs_synthetic_auc(one, other, groups=np.arange(160) // 2)
    assert result.low < 0.5 < result.high


@pytest.mark.parametrize(("shift", "truth"), [(0.0, 0.5), (0.3, None)])
def test_the_aucs_interval_covers_chance_and_its_mean(shift, truth):
    draw, _ = gaussians(60, 32, shift)
    assert share_covered(real_vs_synthetic_auc, draw, truth, 60) >= 0.88


def test_the_two_sample_test_tells_the_same_from_the_other():
    rng = np.random.default_rng(3)
    assert two_sample_accuracy(rng.normal(size=(300, 3)), rng.normal(size=(300, 3))) == pytest.approx(0.5, abs=0.08)
    assert two_sample_accuracy(correlated(200, 4, 1), correlated(200, 4, 2, shift=30)) == 1
