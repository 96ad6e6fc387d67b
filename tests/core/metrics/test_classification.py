"""Metrics of a classifier."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from busaug_core.metrics.classification import classification_metrics


def test_metrics_of_a_perfect_and_of_a_constant_classifier():
    truth = np.array([0, 1, 2, 0, 1, 2])
    perfect = classification_metrics(truth, np.eye(3)[truth] * 9)
    assert [perfect[k] for k in ("accuracy", "f1", "auc", "ppv", "recall", "specificity")] == [1, 1, 1, 1, 1, 1]
    assert perfect["ece"] == pytest.approx(1 - np.exp(9) / (np.exp(9) + 2))
    constant = classification_metrics(truth, np.tile([1.0, 0, 0], (6, 1)))
    assert constant["accuracy"] == pytest.approx(1 / 3)
    assert constant["ppv"] == pytest.approx(1 / 9)
    assert constant["auc"] == pytest.approx(0.5)
    assert constant["specificity"] == pytest.approx(2 / 3)
    assert constant["ece"] == pytest.approx(np.e / (np.e + 2) - 1 / 3)


def test_metrics_are_macro_averages():
    rng = np.random.default_rng(0)
    truth, logits = rng.integers(0, 3, 50), rng.normal(size=(50, 3))
    truth[:30] = 0
    found, predicted = classification_metrics(truth, logits), logits.argmax(1)
    assert found["f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    hits = [((predicted == c) & (truth == c)).sum() for c in range(3)]
    assert found["ppv"] == pytest.approx(np.mean([h / (predicted == c).sum() for c, h in enumerate(hits)]))
    assert found["recall"] == pytest.approx(np.mean([h / (truth == c).sum() for c, h in enumerate(hits)]))
    misses = [((predicted == c) & (truth != c)).sum() / (truth != c).sum() for c in range(3)]
    assert found["specificity"] == pytest.approx(1 - np.mean(misses))
    odds = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    pairs = [(odds[truth == c, c][:, None] > odds[truth != c, c][None]).mean() for c in range(3)]
    assert found["auc"] == pytest.approx(np.mean(pairs))
    sure, right = odds.max(1), predicted == truth
    bins = [(sure > i / 15) & (sure <= (i + 1) / 15) for i in range(15)]
    gaps = [abs(right[b].mean() - sure[b].mean()) * b.mean() for b in bins if b.any()]
    assert found["ece"] == pytest.approx(sum(gaps))


def test_auc_and_specificity_are_none_where_there_is_but_one_class():
    found = classification_metrics(np.array([1, 1]), np.eye(3)[:2])
    assert found["auc"] is None and found["specificity"] is None


def test_averages_are_over_the_classes_that_occur():
    truth = np.array([0, 0, 1, 1])
    perfect = classification_metrics(truth, np.eye(3)[truth])
    assert [perfect[k] for k in ("f1", "ppv", "recall", "auc")] == [1, 1, 1, 1]
    once_wrong = classification_metrics(truth, np.eye(3)[[0, 2, 1, 1]])
    assert [once_wrong[k] for k in ("accuracy", "ppv", "recall")] == [0.75, 1, 0.75]
