"""The order in which synthetic samples stand for real ones."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from busaug_core.metrics.herding import herding


@pytest.fixture
def narrow_and_wide():
    """Real samples, and synthetic ones of which the first half lie too close together."""
    rng = np.random.default_rng(0)
    narrow, wide = rng.normal(0, 0.4, (200, 16)), rng.normal(size=(200, 16))
    return rng.normal(size=(300, 16)).astype(np.float32), np.concatenate([narrow, wide]).astype(np.float32)


def discrepancy(real, chosen):
    """Squared maximum mean discrepancy by the kernel that herding uses, written another way."""
    width = np.median(cdist(real, real)[np.triu_indices(len(real), 1)]) ** 2

    def mean(x, y):
        return np.exp(-(cdist(x, y) ** 2) / width).mean()

    return mean(real, real) - 2 * mean(real, chosen) + mean(chosen, chosen)


@pytest.mark.parametrize("n", [10, 40, 100])
def test_the_first_stand_for_the_real_ones_better_than_random_ones_and_than_all(narrow_and_wide, n):
    real, synthetic = narrow_and_wide
    order = herding(real, synthetic)
    assert sorted(order) == list(range(400))
    rng = np.random.default_rng(1)
    random = [discrepancy(real, synthetic[rng.choice(400, n, replace=False)]) for _ in range(20)]
    found = discrepancy(real, synthetic[order[:n]])
    assert found < min(random)
    assert n == 10 or found < discrepancy(real, synthetic)


def test_samples_too_close_together_come_last(narrow_and_wide):
    real, synthetic = narrow_and_wide
    assert (herding(real, synthetic)[:100] >= 200).mean() > 0.8


def test_each_choice_is_the_best_that_is_left(narrow_and_wide):
    real, synthetic = narrow_and_wide[0][:30], narrow_and_wide[1][190:210]
    order = list(herding(real, synthetic))
    for n in range(1, 6):
        # The kernel of a sample with itself is the same for all, so that the discrepancy decides.
        others = [discrepancy(real, synthetic[[*order[: n - 1], i]]) for i in order[n - 1 :]]
        assert np.argmin(others) == 0


def test_many_samples_are_ordered_in_blocks_as_few_are(narrow_and_wide, monkeypatch):
    real, synthetic = narrow_and_wide
    whole = herding(real, synthetic)
    monkeypatch.setattr("busaug_core.metrics.neighbours.BLOCK", 64)
    np.testing.assert_array_equal(herding(real, synthetic), whole)


@pytest.mark.parametrize("real", [np.zeros((1, 4)), np.ones((5, 4))], ids=["one", "all alike"])
def test_of_real_samples_that_do_not_differ_the_nearest_comes_first(real):
    synthetic = np.random.default_rng(0).normal(size=(6, 4))
    order = herding(real, synthetic)
    assert sorted(order) == list(range(6))
    assert order[0] == np.linalg.norm(synthetic - real[0], axis=1).argmin()


def test_the_width_of_many_real_samples_is_that_of_some_of_them(narrow_and_wide, monkeypatch):
    real, synthetic = narrow_and_wide
    whole = herding(real, synthetic)
    monkeypatch.setattr("busaug_core.metrics.herding.MOST", 100)
    of_some = discrepancy(real, synthetic[herding(real, synthetic)[:40]])
    assert of_some == pytest.approx(discrepancy(real, synthetic[whole[:40]]), rel=0.1)


def test_equal_samples_are_not_taken_twice_while_others_are_left():
    real = np.array([[0.0], [1.0]])
    order = herding(real, np.array([[0.0], [0.0], [1.0], [1.0]]))
    assert {order[0] // 2, order[1] // 2} == {0, 1}
