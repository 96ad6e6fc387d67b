"""Precision, recall, density and coverage beside the prdc package's, and their intervals."""

import numpy as np
import pytest
from feature_sets import by_deletion, features, gaussians, share_covered
from prdc import compute_prdc

from busaug_core.metrics.estimate import jackknife_error
from busaug_core.metrics.prdc import prdc

PRDC = ("precision", "recall", "density", "coverage")


@pytest.mark.parametrize(("n", "m", "width", "shift"), [(780, 780, 64, 0.05), (157, 200, 8, 0.0), (60, 50, 256, 0.02)])
def test_prdc_equals_the_prdc_package(n, m, width, shift):
    one, other = features(n, width, 1), features(m, width, 2, shift)
    expected = compute_prdc(one, other, nearest_k=5)
    result = prdc(one, other)
    assert [getattr(result, name).value for name in PRDC] == pytest.approx([expected[name] for name in PRDC])


@pytest.mark.parametrize("shift", [0.02, 0.3, 1.5])
def test_prdcs_errors_are_those_of_brute_force(shift, monkeypatch):
    rng = np.random.default_rng(4)
    one, other = rng.normal(size=(30, 2)), rng.normal(size=(35, 2)) + shift
    errors = []
    with monkeypatch.context() as watching:
        watching.setattr(
            "busaug_core.metrics.prdc.jackknife_error", lambda *v: errors.append(jackknife_error(*v)) or errors[-1]
        )
        prdc(one, other)
    for name, error in zip(("density", "precision", "recall", "coverage"), errors, strict=True):
        slow = by_deletion(lambda a, b, name=name: getattr(prdc(a, b), name).value, one, other)
        assert error == pytest.approx(jackknife_error(*slow))


def test_prdc_does_not_depend_on_the_block(monkeypatch):
    one, other = features(100, 8, 1), features(120, 8, 2)
    whole = prdc(one, other)
    monkeypatch.setattr("busaug_core.metrics.neighbours.BLOCK", 17)
    assert prdc(one, other) == whole


def test_of_a_set_and_its_copy_everything_is_held():
    one = features(50, 8, 1)
    result = prdc(one, one[::-1])
    assert (result.precision.value, result.recall.value, result.coverage.value) == (1, 1, 1)
    assert result.coverage.low < 1


@pytest.mark.parametrize("name", PRDC)
def test_prdcs_intervals_cover_their_means(name):
    draw, _ = gaussians(100, 16, shift=0.3, scale=0.8)
    assert share_covered(lambda a, b: getattr(prdc(a, b), name), draw, None, 100) >= 0.9
