"""Logistic regression on features: against scikit-learn's own pipeline, and what its folds keep apart."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_sample_weight

from busaug_core.classify.regression import STRENGTHS, Regression
from busaug_core.classify.resampling import held_out_draws, training_draws
from busaug_core.errors import UserError
from busaug_core.records import Record


def clouds(n, width, classes=3, distance=1.0, seed=0):
    """Features N×width of unequal classes whose centres lie apart, and the class of each."""
    rng = np.random.default_rng(seed)
    truth = np.sort(np.concatenate([np.arange(classes), rng.choice(classes, n - classes, p=None)]))
    features = rng.normal(size=(n, width)) * rng.uniform(0.8, 1.2, width)
    features[np.arange(n), truth] += distance
    return features.astype(np.float32), truth


@pytest.mark.parametrize(("n", "width"), [(40, 100), (100, 12)])
@pytest.mark.parametrize("classes", [2, 3])
def test_it_is_scikit_learns_on_standardised_features_with_balanced_classes(n, width, classes):
    features, truth = clouds(n, width, classes)
    found = Regression(features, truth).fit(0.01).logits(features)
    scaled = (features - features.mean(0)) / features.std(0)
    weights = compute_sample_weight("balanced", truth)
    model = LogisticRegression(C=0.01, tol=1e-8, max_iter=5000).fit(scaled, truth, sample_weight=weights)
    expected = model.decision_function(scaled)
    if classes == 2:
        assert np.allclose(found[:, 1] - found[:, 0], expected, atol=2e-3)
    else:
        assert np.allclose(found, expected, atol=2e-3)


def test_counts_are_as_if_images_were_there_so_often():
    features, truth = clouds(40, 100)
    regression = Regression(features, truth)
    counts = np.arange(40) % 3
    counts[:3] = 1
    chosen = np.repeat(np.arange(40), counts)
    repeated = Regression(features, truth).fit(0.01, counts).logits(features)
    scaled = (features - regression.mean) / regression.std
    weights = compute_sample_weight("balanced", truth[chosen])
    model = LogisticRegression(C=0.01, tol=1e-8, max_iter=5000)
    model.fit(scaled[chosen], truth[chosen], sample_weight=weights)
    assert np.allclose(repeated, model.decision_function(scaled), atol=2e-3)


@pytest.mark.parametrize(("n", "width"), [(40, 300), (100, 12)])
def test_views_count_together_as_much_as_their_image_did(n, width):
    """Whether they are copies of it, or others that scikit-learn is given as rows of a part of its weight each."""
    features, truth = clouds(n, width)
    rng = np.random.default_rng(3)
    counts, own = rng.integers(0, 3, n), rng.uniform(0.2, 1, n)
    counts[:3] = 1
    plain, copied = Regression(features, truth, own), Regression(np.stack([features] * 5, axis=1), truth, own)
    for given in (None, counts):
        one, other = (regression.fit(0.01, given).logits(features) for regression in (plain, copied))
        assert np.allclose(one, other, atol=2e-3)
    views = features[:, None] + rng.normal(scale=0.5, size=(n, 3, width)).astype(np.float32)
    regression = Regression(views, truth, own)
    rows = (views.reshape(-1, width) - regression.mean) / regression.std
    weights = counts * own
    weights *= weights.sum() / (3 * np.bincount(truth, weights))[truth]
    model = LogisticRegression(C=0.01, tol=1e-8, max_iter=5000)
    model.fit(rows, np.repeat(truth, 3), sample_weight=np.repeat(weights / 3, 3))
    expected = model.decision_function((features - regression.mean) / regression.std)
    assert np.allclose(regression.fit(0.01, counts).logits(features), expected, atol=2e-3)


def test_no_view_of_an_image_is_trained_on_while_it_is_tested():
    """Views that are copies of images of pure noise would tell what there is not."""
    rng = np.random.default_rng(1)
    features, truth = rng.normal(size=(60, 200)), np.arange(60) % 2
    choice = Regression(np.stack([features] * 5, axis=1), truth).choose([str(i) for i in range(60)], 0)
    assert choice.strength == STRENGTHS[0] and choice.loss > np.log(2) - 0.01


def test_only_the_image_itself_is_tested_and_none_of_its_views():
    """Of views that show nothing no class could be told, at a loss of log 3 each."""
    features, truth = clouds(60, 20, distance=8)
    views = np.stack([features, *[np.full_like(features, features.mean())] * 4], axis=1)
    assert Regression(views, truth).choose([str(i) for i in range(60)], 0).loss < 0.6


def test_a_feature_that_hardly_varies_in_training_is_not_blown_up():
    features, truth = clouds(60, 20)
    features[:, 5] = 0.5
    features[0, 5] += 1e-4
    features[:, 6] = 0.5
    regression = Regression(features, truth)
    odd = features[:1].copy()
    odd[0, 5:7] += 1
    moved = regression.fit(0.01).logits(odd) - regression.fit(0.01).logits(features[:1])
    assert np.abs(moved).max() < 0.5


def test_features_that_are_not_finite_are_refused():
    features, truth = clouds(20, 5)
    features[3, 2] = np.nan
    with pytest.raises(UserError, match="not finite"):
        Regression(features, truth)


def test_noise_is_regularised_more_than_signal():
    rng = np.random.default_rng(0)
    noise, truth = rng.normal(size=(80, 300)), np.arange(80) % 3
    clear = noise.copy()
    clear[np.arange(80), truth] += 12
    groups = [str(i) for i in range(80)]
    of_noise, of_clear = (Regression(f, truth).choose(groups, 0) for f in (noise, clear))
    assert of_clear.loss < 0.9 < np.log(3) - 0.01 < of_noise.loss
    assert of_noise.strength == STRENGTHS[0]
    assert of_clear.strength > of_noise.strength


def test_copies_of_a_group_are_never_on_both_sides_of_a_fold():
    """Where each image of pure noise has a copy, only folds that part them find something to learn."""
    rng = np.random.default_rng(1)
    features, truth = np.repeat(rng.normal(size=(40, 200)), 2, axis=0), np.repeat(np.arange(40) % 2, 2)
    regression = Regression(features, truth)
    apart = regression.choose([str(i) for i in range(80)], 0)
    together = regression.choose([str(i // 2) for i in range(80)], 0)
    assert apart.strength == STRENGTHS[-1]
    assert together.strength == STRENGTHS[0]


def test_only_what_may_be_held_out_is_tested_on():
    """The others are noise of the wrong class: tested on them, little regularisation would look bad."""
    features, truth = clouds(60, 30, distance=6)
    rng = np.random.default_rng(2)
    added = rng.permutation(truth)
    both, of_both = np.concatenate([features, features]), np.concatenate([truth, added])
    regression, groups = Regression(both, of_both), [str(i) for i in range(120)]
    real = np.arange(120) < 60
    assert regression.choose(groups, 0, real).strength >= regression.choose(groups, 0, ~real).strength


def test_a_class_of_one_group_leaves_nothing_to_choose_by():
    features, truth = clouds(30, 10)
    groups = [f"{c} {i}" if c else "0" for i, c in enumerate(truth)]
    assert Regression(features, truth).choose(groups, 0) is None


def records():
    made = [Record(f"r{i}", "ab"[i % 2], split_group=f"g{i // 4}" if i < 8 else None) for i in range(20)]
    made += [Record(f"s{i}", "ab"[i % 2], "synthetic", "sd" if i < 6 else "base") for i in range(12)]
    return made


def test_real_images_are_drawn_the_same_whatever_is_added():
    everything = records()
    real = [r for r in everything if not r.synthetic]
    shuffled = everything[::-1]
    alone, beside = training_draws(real, 7, 3), training_draws(shuffled, 7, 3)
    assert (alone == beside[:, [shuffled.index(r) for r in real]]).all()
    assert (alone != training_draws(real, 7, 4)).any()


def test_images_are_drawn_by_whole_groups_within_class_and_variant():
    everything = records()
    counts = training_draws(everything, 50, 0)
    for label in "ab":
        group = [i for i, r in enumerate(everything) if r.split_group == "g0" and r.label == label]
        assert (counts[:, group] == counts[:, group[:1]]).all()
        for variant in ("sd", "base"):
            members = [i for i, r in enumerate(everything) if r.variant == variant and r.label == label]
            assert (counts[:, members].sum(1) == len(members)).all()
    assert 0 < (counts == 0).mean() < 0.5
    held_out = held_out_draws([r for r in everything if not r.synthetic], 0)
    assert (held_out.sum(1) > 0).all() and held_out.shape[1] == 20
