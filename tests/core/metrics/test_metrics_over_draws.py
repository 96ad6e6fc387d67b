"""Metrics over trainings and draws of the images: against those of the drawn images themselves."""

import numpy as np
import pytest

from busaug_core.metrics.bootstrap import group_draws
from busaug_core.metrics.classification import (
    classification_metrics,
    metrics_of_class,
    metrics_over_draws,
    weighted_metrics,
)

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 3, 60)
LOGITS = RNG.normal(size=(4, 60, 3)).astype(np.float32) + 2 * np.eye(3, dtype=np.float32)[TRUTH]
GROUPS = [f"g{i // 2}" for i in range(60)]


@pytest.mark.parametrize("present", [3, 2])
def test_a_draw_has_the_metrics_of_its_images(present):
    truth = np.where(present > TRUTH, TRUTH, 0)
    draws = group_draws(truth.astype(str), GROUPS, 3, np.random.default_rng(1))
    for counts in draws:
        chosen = np.repeat(np.arange(60), counts)
        rounded = LOGITS.round(1)  # with ties
        found = weighted_metrics(truth, rounded[0], counts[None])
        expected = classification_metrics(truth[chosen], rounded[0, chosen])
        for name, (value,) in found.items():
            assert value == pytest.approx(expected[name], abs=1e-9), name


def test_the_value_is_of_the_images_themselves_and_so_differs_between_arms_as_they_do():
    draws = group_draws(TRUTH.astype(str), GROUPS, 50, np.random.default_rng(1))
    found = metrics_over_draws(TRUTH, LOGITS, draws)
    own = [classification_metrics(TRUTH, logits) for logits in LOGITS]
    for name, estimate in found.items():
        assert estimate.value == pytest.approx(np.mean([metrics[name] for metrics in own])), name
        assert estimate.low < estimate.value < estimate.high


def test_the_classes_metrics_have_the_macro_averages_as_their_means():
    whole = classification_metrics(TRUTH, LOGITS[0])
    of_classes = [metrics_of_class(TRUTH, LOGITS[0], label) for label in range(3)]
    for name in ("f1", "auc", "ppv", "recall", "specificity"):
        assert np.mean([metrics[name] for metrics in of_classes]) == pytest.approx(whole[name]), name


def test_one_class_has_no_auc():
    found = metrics_over_draws(np.zeros(60, int), LOGITS, np.ones((2, 60), int))
    assert found.keys() == {"accuracy", "f1", "ppv", "recall", "ece"}


def test_an_interval_spans_trainings_and_images():
    draws = group_draws(TRUTH.astype(str), GROUPS, 200, np.random.default_rng(1))
    both = metrics_over_draws(TRUTH, LOGITS, draws)["accuracy"]
    trainings = metrics_over_draws(TRUTH, LOGITS, np.ones((1, 60), int))["accuracy"]
    images = metrics_over_draws(TRUTH, LOGITS[:1], draws)["accuracy"]
    assert both.high - both.low > max(trainings.high - trainings.low, images.high - images.low)


def test_each_stratum_gives_as_many_groups_as_it_has():
    strata, groups = np.repeat(["a", "b"], [20, 40]), GROUPS
    counts = group_draws(strata, groups, 100, np.random.default_rng(0))
    assert (counts[:, :20].sum(1) == 20).all() and (counts[:, 20:].sum(1) == 40).all()
    assert (counts[:, ::2] == counts[:, 1::2]).all()
    assert counts.mean() == pytest.approx(1)


def test_of_folds_every_metric_is_the_mean_by_the_number_of_images():
    folds = np.repeat([0, 1, 2], [10, 20, 30])
    shifted = LOGITS + 5 * folds[:, None] * np.array([1, 0, 0])  # no classifier's scores tell of another's
    found = metrics_over_draws(TRUTH, shifted[:1], np.ones((1, 60), int), folds)
    parts = [classification_metrics(TRUTH[folds == fold], shifted[0, folds == fold]) for fold in range(3)]
    for name, estimate in found.items():
        assert estimate.value == pytest.approx(np.average([part[name] for part in parts], weights=[10, 20, 30])), name
    whole = metrics_over_draws(TRUTH, shifted[:1], np.ones((1, 60), int))
    assert whole["accuracy"].value == pytest.approx(found["accuracy"].value)
    assert whole["auc"].value != pytest.approx(found["auc"].value, abs=0.01)
