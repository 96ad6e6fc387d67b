"""Paired comparisons of classifiers: against closed forms, other implementations and simulations of known truth."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm, rankdata, t, ttest_1samp

from busaug_core.errors import UserError
from busaug_core.metrics.classification import classification_metrics
from busaug_core.metrics.paired import (
    chance_not_better,
    compare_means,
    differences,
    holm,
    mcnemar,
    permuted_auc,
)

N = 150
TRUTH = np.arange(N) % 3


def logits(rng, skill, trainings=1, noise=1.0):
    """Logits of trainings that agree on what is hard: float S × N × 3."""
    image = rng.normal(size=(N, 3))
    return skill * np.eye(3)[TRUTH] + image + noise * rng.normal(size=(trainings, N, 3))


def differ(truth, before, after, groups, **more):
    return differences(truth, before, {"other": after}, groups, **more)["other"]


def accuracy_of(right, groups):
    """The values with all images and without each group, of which `compare_means` takes the differences."""
    member = (groups[:, None] == np.unique(groups)).astype(float)
    return right.mean(1), (right.sum(1)[:, None] - right @ member) / (len(groups) - member.sum(0))


def compared(before, others, groups, **more):
    one, without_one = accuracy_of(before, groups)
    several, without_several = zip(*[accuracy_of(other, groups) for other in others], strict=True)
    return compare_means(np.stack(several) - one, np.stack(without_several) - without_one, **more)


def test_with_one_training_and_single_images_accuracys_p_value_is_that_of_students_paired_test():
    rng = np.random.default_rng(0)
    before, after = logits(rng, 1.0), logits(rng, 1.6)
    found = differ(TRUTH, before, after, [str(i) for i in range(N)])["accuracy"]
    apart = (after[0].argmax(1) == TRUTH).astype(float) - (before[0].argmax(1) == TRUTH)
    reference = ttest_1samp(apart, 0)
    assert found.p == pytest.approx(reference.pvalue)
    interval = reference.confidence_interval()
    assert (found.low, found.value, found.high) == pytest.approx((interval.low, apart.mean(), interval.high))


def test_with_one_training_and_single_images_the_aucs_p_value_is_delongs():
    """DeLong, DeLong and Clarke-Pearson 1988, by midranks as in Sun and Xu 2014, on two classes."""
    rng = np.random.default_rng(1)
    truth = np.arange(200) % 2
    sides = [np.stack([np.zeros(200), skill * truth + rng.normal(size=200)], 1) for skill in (0.8, 1.4)]
    found = differ(truth, sides[0][None], sides[1][None], [str(i) for i in range(200)])["auc"]
    components = []
    for scores in (side[:, 1] for side in sides):
        positive, negative = scores[truth == 1], scores[truth == 0]
        everything = rankdata(np.concatenate([positive, negative]))
        of_positive = (everything[:100] - rankdata(positive)) / 100
        components.append((of_positive, 1 - (everything[100:] - rankdata(negative)) / 100))
    variance = sum(np.cov(np.stack([c[side] for c in components])) / 100 for side in (0, 1))
    apart = components[1][0].mean() - components[0][0].mean()
    z = apart / np.sqrt(variance[0, 0] + variance[1, 1] - 2 * variance[0, 1])
    assert found.value == pytest.approx(apart)
    assert t.isf(found.p / 2, 199) == pytest.approx(abs(z), rel=0.02)


def test_differences_are_those_of_the_metrics():
    rng = np.random.default_rng(2)
    before, after = logits(rng, 1.0, 3), logits(rng, 2.0, 3)
    found = differ(TRUTH, before, after, [f"scan {i // 2}" for i in range(N)])
    means = [
        {k: np.mean([classification_metrics(TRUTH, x)[k] for x in side]) for k in found} for side in (before, after)
    ]
    assert set(found) == {"accuracy", "f1", "ppv", "recall", "specificity", "auc", "ece"}
    for name, estimate in found.items():
        assert estimate.value == pytest.approx(means[1][name] - means[0][name])
        assert estimate.low < estimate.value < estimate.high
    back = differ(TRUTH, after, before, [f"scan {i // 2}" for i in range(N)])["f1"]
    assert (back.value, back.p) == pytest.approx((-found["f1"].value, found["f1"].p))


def test_a_classifier_against_itself_differs_in_nothing():
    same = logits(np.random.default_rng(3), 1.0, 2)
    for estimate in differ(TRUTH, same, same, [str(i) for i in range(N)]).values():
        assert (estimate.low, estimate.value, estimate.high, estimate.p) == (0, 0, 0, 1)


def test_images_that_belong_together_count_as_one():
    rng = np.random.default_rng(4)
    before, after = (np.repeat(rng.random((1, 50)) < chance, 3, axis=1) for chance in (0.6, 0.8))
    (single,) = compared(before[:, ::3], [after[:, ::3]], np.arange(50))
    assert compared(before, [after], np.repeat(np.arange(50), 3))[0].p == pytest.approx(single.p)
    assert compared(before, [after], np.arange(150))[0].p < single.p


def test_of_folds_a_difference_is_that_of_their_metrics_and_its_error_that_of_parts_on_their_own():
    rng = np.random.default_rng(4)
    before, after, folds = logits(rng, 1.0), logits(rng, 1.6), np.arange(N) // 50
    groups = [str(i) for i in range(N)]
    found = differ(TRUTH, before, after, groups, folds=folds)["auc"]
    parts = []
    for fold in range(3):
        here = folds == fold
        parts.append(differ(TRUTH[here], before[:, here], after[:, here], groups[:50])["auc"])
    error = np.sqrt(sum(((part.high - part.low) / 2 / t.ppf(0.975, 49)) ** 2 for part in parts)) / 3
    assert found.value == pytest.approx(np.mean([part.value for part in parts]))
    assert (found.high - found.low) / 2 / t.ppf(0.975, N - 1) == pytest.approx(error, rel=0.02)


def test_a_metric_without_a_value_and_a_single_group_are_told_apart():
    rng = np.random.default_rng(5)
    before, after = logits(rng, 1.0), logits(rng, 1.0)
    groups = np.where(TRUTH == 2, "one patient", [str(i) for i in range(N)])
    assert set(differ(TRUTH, before, after, groups)) == {"accuracy"}
    with pytest.raises(UserError, match="at least two"):
        differ(TRUTH, before, after, ["one"] * N)


@pytest.fixture(scope="module")
def experiments():
    """2,000 experiments of four arms that do not differ from a fifth: N, scans and trainings as in BUSI's.

    p-values, float 2,000 × 4. Images of a scan are alike, trainings differ as a whole and by image.
    """
    rng = np.random.default_rng(6)
    groups = np.sort(np.concatenate([np.arange(130), rng.integers(130, size=27)]))
    return np.array([[trial.p for trial in arms(rng, groups, [0] * 4)] for _ in range(2000)])


def arms(rng, groups, gains, trainings=3, shifts=None):
    """How arms compare with a baseline on fresh images, by fresh trainings that shift by `shifts`."""
    hard = rng.normal(0, 1.5, 130)[groups] + rng.normal(0, 0.5, len(groups))

    def right(gain, shift):
        own = rng.normal(0, shift, (trainings, 1)) + rng.normal(0, 0.7, (trainings, len(groups)))
        return 1.0 + gain + hard + own > 0

    shifts = shifts or [0.15] * (1 + len(gains))
    baseline = right(0, shifts[0])
    return compared(baseline, [right(*one) for one in zip(gains, shifts[1:], strict=True)], groups)


def test_an_arm_that_is_no_better_is_called_so_in_at_most_one_family_of_twenty(experiments):
    claimed = np.mean([min(holm(family)) < 0.05 for family in experiments])
    error = np.sqrt(0.05 * 0.95 / len(experiments))
    assert 0.005 < claimed < 0.05 + 2 * error


def test_p_values_without_a_difference_are_no_smaller_than_chance_has_it(experiments):
    for level in (0.05, 0.2, 0.5):
        assert 0.3 * level < np.mean(experiments < level) < level + 0.01


@pytest.mark.parametrize("trainings", [2, 3])
def test_an_arm_whose_trainings_differ_more_than_the_others_makes_no_more_claims(trainings):
    rng = np.random.default_rng(8)
    groups = np.arange(130)
    families = [arms(rng, groups, [0] * 4, trainings, [0.1] * 4 + [0.6]) for _ in range(600)]
    claimed = np.mean([min(holm([trial.p for trial in family])) < 0.05 for family in families])
    assert claimed < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 600)


def test_draws_of_the_training_images_that_bring_nothing_make_few_claims():
    """Twenty probes an arm on draws, each of which shifts a probe of both arms and a little each of them."""
    rng = np.random.default_rng(10)
    claimed = []
    for _ in range(600):
        hard, common = rng.normal(0, 1.5, 130), rng.normal(0, 0.3, (20, 1)) + rng.normal(0, 0.5, (20, 130))
        real = rng.normal(0, 0.15, (5, 1, 1))  # what these training images happen to bring an arm
        arms_of = [1 + hard + common + real[k] + rng.normal(0, 0.15, (20, 1)) > 0 for k in range(5)]
        claimed.append(
            min(holm([e.p for e in compared(arms_of[0], arms_of[1:], np.arange(130), of_draws=True)])) < 0.05
        )
    assert np.mean(claimed) < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 600)


def test_a_difference_is_found_as_often_as_its_size_over_its_error_says():
    rng = np.random.default_rng(7)
    groups = np.arange(130)
    found = [arms(rng, groups, [0.29], trainings=10)[0] for _ in range(400)]
    values = np.array([e.value for e in found])
    expected = norm.sf(norm.ppf(0.975) - values.mean() / values.std())
    assert 0.3 < expected < 0.98
    assert np.mean([e.p < 0.05 for e in found]) == pytest.approx(expected, abs=0.1)
    assert np.mean([e.low <= values.mean() <= e.high for e in found]) > 0.92


def test_trainings_on_draws_have_the_spread_of_one_training_and_not_of_their_mean():
    rng = np.random.default_rng(8)
    before = rng.random((20, N)) < 0.7
    after = rng.random((20, N)) < 0.7
    mean, one = (compared(before, [after], np.arange(N), of_draws=flag)[0] for flag in (False, True))
    assert one.high - one.low > 2 * (mean.high - mean.low)


def test_holm_is_that_of_the_textbook():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([]) == []


def test_mcnemar_is_a_sign_test_of_the_images_on_which_they_differ():
    before = np.array([True] * 5 + [False] * 12 + [True] * 40)
    after = np.array([False] * 5 + [True] * 12 + [True] * 40)
    assert mcnemar(before, after) == pytest.approx(binomtest(5, 17).pvalue)
    assert mcnemar(before, before) == 1


def test_the_probability_that_a_claim_is_false_is_that_of_a_dirichlets_draws():
    before = np.array([[True] * 6 + [False] * 14 + [True] * 137])
    after = np.array([[False] * 6 + [True] * 14 + [True] * 137])
    draws = np.random.default_rng(9).dirichlet([1 + 137, 1 + 6, 1 + 14, 1], 200_000)
    assert chance_not_better(before, after) == pytest.approx(np.mean(draws[:, 2] <= draws[:, 1]), abs=0.003)
    # .904 to .924 of 157 images: .14 to .23, for joint accuracies of .86 to .89.
    for both, expected in ((140, 0.14), (135, 0.23)):
        old, new = np.zeros((1, 157), bool), np.zeros((1, 157), bool)
        old[0, :142] = True
        new[0, :both] = new[0, 142 : 142 + 145 - both] = True
        assert chance_not_better(old, new) == pytest.approx(expected, abs=0.02)


def folded_experiment(rng, folds=3, arms=4, draws=8, made=40):
    """p-values of arms that differ from a baseline by chance alone, each with a generator of its own in every fold.

    Nearest-mean classifiers of 150 images, on draws of a fold's training images and of what a generator makes that is
    as far off as another arm's.
    """
    means = np.array([[0, 0, 0, 0], [1.3, 0, 0, 0], [0, 1.3, 0, 0]], float)
    images = means[TRUTH] + rng.normal(size=(N, 4))
    fold_of = rng.permutation(N) % folds
    logits = {str(arm): np.zeros((draws, N, 3)) for arm in range(1 + arms)}
    for fold in range(folds):
        training, held_out = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
        drawn = [rng.choice(training, len(training)) for _ in range(draws)]
        for values in logits.values():
            labels = np.arange(made) % 3
            off = 0.5 * rng.normal(size=(3, 4))
            synthetic = (means + off)[labels] + rng.normal(size=(made, 4))
            for number, real in enumerate(drawn):
                again = rng.integers(made, size=made)
                rows = np.concatenate([images[real], synthetic[again]])
                truth = np.concatenate([TRUTH[real], labels[again]])
                learned = np.stack([rows[truth == i].mean(0) for i in range(3)])
                values[number, held_out] = -((images[held_out][:, None] - learned) ** 2).sum(2)
    baseline = logits.pop("0")
    found = differences(TRUTH, baseline, logits, [str(i) for i in range(N)], True, fold_of)
    return [{metric: found[arm][metric].p for metric in ("accuracy", "auc")} for arm in logits]


@pytest.mark.parametrize("experiments", [100, pytest.param(2000, marks=pytest.mark.slow)])
def test_in_folds_too_an_arm_that_is_no_better_is_called_so_in_at_most_one_family_of_twenty(experiments):
    rng = np.random.default_rng(11)
    found = [folded_experiment(rng) for _ in range(experiments)]
    for metric in ("accuracy", "auc"):
        claimed = np.mean([min(holm([arm[metric] for arm in arms])) < 0.05 for arms in found])
        assert claimed < 0.05 + 2 * np.sqrt(0.05 * 0.95 / experiments)


def _scored(rng, n, strength):
    """Truth of two classes in groups of two, and logits of two classifiers that share half of their noise."""
    truth = np.repeat(rng.integers(0, 2, n // 2), 2)
    shared = np.repeat(rng.normal(size=n // 2), 2)
    scores = [shared + np.repeat(rng.normal(size=n // 2), 2) + s * truth for s in strength]
    return truth, [np.stack([-score, score], 1) for score in scores], [f"scan {i // 2}" for i in range(n)]


def test_exchanging_scans_calls_equal_aucs_different_as_often_as_it_says_and_finds_a_real_difference():
    p = []
    for seed in range(200):
        truth, (before, after), groups = _scored(np.random.default_rng(seed), 80, (1, 1))
        # Scores of any other scale and shape with the same order change nothing.
        p.append(permuted_auc(truth, before, np.sinh(after), groups, draws=199))
    assert 4 <= sum(x <= 0.05 for x in p) <= 19  # binomial, 200 × .05, 99.5 %
    truth, (before, after), groups = _scored(np.random.default_rng(0), 400, (0.5, 2.5))
    assert permuted_auc(truth, before, after, groups) < 0.005
    assert permuted_auc(truth, before, before, groups) == 1


def test_exchanging_single_images_agrees_with_delong_where_no_two_belong_together():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, 600)
    shared = rng.normal(size=600)
    before, after = (shared + rng.normal(size=600) + s * truth for s in (1, 1.25))
    logits = [np.stack([-score, score], 1) for score in (before, after)]
    ours = permuted_auc(truth, *logits, [str(i) for i in range(600)], draws=20_000)
    # DeLong et al. 1988: the AUCs' covariance from the placements of either class among the other.
    placements = []
    for score in (before, after):
        wins = np.sign(score[truth == 1][:, None] - score[truth == 0]) / 2 + 0.5
        placements.append((wins.mean(1), wins.mean(0)))
    gain = placements[1][0].mean() - placements[0][0].mean()
    variance = sum(np.var(b - a, ddof=1) / len(a) for a, b in zip(*placements, strict=True))
    assert ours == pytest.approx(2 * norm.sf(abs(gain) / np.sqrt(variance)), abs=0.01)
    assert 0.001 < ours < 0.5
