"""Metrics of two feature sets: the references' values, closed forms, brute force, and coverage of the intervals."""

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from pytorch_fid.fid_score import calculate_frechet_distance
from scipy.stats import spearmanr
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from busaug_core.errors import UserError
from busaug_core.metrics.estimate import Estimate, jackknife_error
from busaug_core.metrics.extrapolation import frechet_at_infinity
from busaug_core.metrics.fid import Moments, frechet_distance, frechet_distance_of_moments
from busaug_core.metrics.influence import fid_influence, frechet_interval, leave_one_out
from busaug_core.metrics.kid import default_subset_size, kid
from busaug_core.metrics.prdc import prdc
from busaug_core.metrics.two_sample import real_vs_synthetic_auc

FIGURES = ("precision", "recall", "density", "coverage")
METRICS = {
    "fid": frechet_distance,
    "fid's interval": frechet_interval,
    "fid at infinity": frechet_at_infinity,
    "kid": kid,
    "prdc": prdc,
    "auc": real_vs_synthetic_auc,
}


def features(n, width, seed, shift=0.0):
    """Like a network's: correlated, of a decaying spectrum, never negative; float32."""
    spectrum = np.arange(1, width + 1) ** -0.6
    mixing = np.random.default_rng(99).normal(size=(width, width)) / width**0.5
    noise = np.random.default_rng(seed).normal(size=(n, width))
    return np.maximum((noise * spectrum) @ mixing + 0.3 + shift, 0).astype(np.float32)


def of_pytorch_fid(one, other):
    return calculate_frechet_distance(*(v for f in (one, other) for v in (f.mean(0), np.cov(f, rowvar=False))))


def of_torch_fidelity(one, other):
    statistics = (fid_features_to_statistics(torch.from_numpy(f)) for f in (one, other))
    return fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]


def by_deletion(metric, real, synthetic):
    return (
        np.array([metric(np.delete(real, i, 0), synthetic) for i in range(len(real))]),
        np.array([metric(real, np.delete(synthetic, i, 0)) for i in range(len(synthetic))]),
    )


def share_covered(metric, draw, truth, repetitions):
    """How often the interval holds `truth`; None: the mean of the metric over these repetitions."""
    estimates = [metric(*draw(np.random.default_rng(seed))) for seed in range(repetitions)]
    truth = np.mean([e.value for e in estimates]) if truth is None else truth
    return np.mean([e.low <= truth <= e.high for e in estimates])


def gaussians(n, width, shift=0.0, scale=1.0):
    """A function that draws two sets, and the squared 2-Wasserstein distance of what they are drawn from."""
    spread = np.arange(1, width + 1) ** -0.5

    def draw(rng):
        one, other = rng.normal(size=(2, n, width))
        return one * spread, (other * scale + shift) * spread

    return draw, np.square(spread).sum() * (shift**2 + (1 - scale) ** 2)


# The Fréchet distance


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


# Leaving one out


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
    fast = fid_influence(one, other)[1][some]
    assert spearmanr(fast, slow)[0] >= 0.99
    assert np.allclose(fast, slow, rtol=0, atol=1e-5 * np.ptp(slow))


def test_the_sample_that_spoils_the_fid_has_the_highest_influence():
    one, other = features(60, 30, 1), features(60, 30, 2)
    other[17] += 3
    influence = fid_influence(one, other)[1]
    assert influence.argmax() == 17
    assert influence[17] > 0


# KID


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
    assert [default_subset_size(780, 157), default_subset_size(780, 17)] == [100, 17]


# Precision, recall, density, coverage


@pytest.mark.parametrize(("n", "m", "width", "shift"), [(780, 780, 64, 0.05), (157, 200, 8, 0.0), (60, 50, 256, 0.02)])
def test_prdc_equals_the_prdc_package(n, m, width, shift):
    one, other = features(n, width, 1), features(m, width, 2, shift)
    expected = compute_prdc(one, other, nearest_k=5)
    result = prdc(one, other)
    assert [getattr(result, name).value for name in FIGURES] == pytest.approx([expected[name] for name in FIGURES])


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


# The real-vs-synthetic AUC


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


# Intervals


@pytest.mark.parametrize(("n", "width"), [(60, 16), (100, 64), (60, 64)])
@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_fids_interval_covers_its_mean(n, width, shift):
    draw, _ = gaussians(n, width, shift)
    assert 0.9 <= share_covered(frechet_interval, draw, None, 200) <= 1


def test_the_extrapolation_is_nearer_the_truth_than_fid_and_its_interval_covers_it():
    draw, truth = gaussians(157, 16, shift=0.2, scale=0.8)
    pairs = [draw(np.random.default_rng(seed)) for seed in range(60)]
    extrapolated = [frechet_at_infinity(*pair) for pair in pairs]
    at_n = np.mean([frechet_distance(*pair) for pair in pairs])
    assert abs(np.mean([e.value for e in extrapolated]) - truth) < abs(at_n - truth) / 4
    assert np.mean([e.low <= truth <= e.high for e in extrapolated]) >= 0.9


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_kids_interval_covers_its_mean(shift):
    draw, _ = gaussians(60, 16, shift)
    assert share_covered(lambda a, b: kid(a, b, 50), draw, None, 150) >= 0.9


@pytest.mark.parametrize("figure", FIGURES)
def test_prdcs_intervals_cover_their_means(figure):
    draw, _ = gaussians(100, 16, shift=0.3, scale=0.8)
    assert share_covered(lambda a, b: getattr(prdc(a, b), figure), draw, None, 100) >= 0.9


@pytest.mark.parametrize(("shift", "truth"), [(0.0, 0.5), (0.3, None)])
def test_the_aucs_interval_covers_chance_and_its_mean(shift, truth):
    draw, _ = gaussians(60, 32, shift)
    assert share_covered(real_vs_synthetic_auc, draw, truth, 60) >= 0.88


# What all share


@pytest.mark.parametrize("name", METRICS)
def test_every_interval_holds_its_value_and_everything_is_a_float(name):
    result = METRICS[name](features(60, 20, 1), features(50, 20, 2, 0.1))
    estimates = [result] if isinstance(result, Estimate) else list(vars(result).values()) if name == "prdc" else []
    for estimate in estimates:
        assert estimate.low <= estimate.value <= estimate.high
        assert {type(v) for v in vars(estimate).values()} == {float}
    assert estimates or type(result) is float


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_gives_the_same_again(name):
    one, other = features(40, 20, 1), features(50, 20, 2, 0.1)
    assert METRICS[name](one, other) == METRICS[name](one.copy(), other.copy())


def test_the_order_of_rows_does_not_matter():
    one, other = features(50, 80, 1), features(60, 80, 2, 0.05)
    order = np.random.default_rng(0).permutation(60)
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(one, other[order]))
    assert np.allclose(leave_one_out(one, other)[1][order], leave_one_out(one, other[order])[1])
    assert prdc(one, other).recall.value == prdc(one, other[order]).recall.value
    assert prdc(one, other).coverage.low == pytest.approx(prdc(one, other[order]).coverage.low)
    whole = dict(subset_size=50, subsets=2)
    assert kid(one[:50], other[:50], **whole).low == pytest.approx(kid(one[::-1], other[:50][::-1], **whole).low)


@pytest.mark.parametrize(
    ("name", "n", "message"),
    [
        ("fid", 1, r"the Fréchet distance needs at least 2 images a side; there are 1 real"),
        ("fid's interval", 2, "needs at least 3 images a side"),
        ("fid at infinity", 19, "FID extrapolated to infinite N needs at least 20 images a side"),
        ("kid", 2, "KID needs at least 3 images a side"),
        ("prdc", 6, "precision and recall at k = 5 needs at least 7 images a side"),
        ("auc", 9, "real-vs-synthetic AUC needs at least 10 images a side"),
    ],
)
def test_too_few_samples_are_refused_with_the_reason(name, n, message):
    enough = np.random.default_rng(0).normal(size=(n + 1, 3))
    METRICS[name](enough, enough + 1)
    with pytest.raises(UserError, match=message):
        METRICS[name](enough[:n], enough)


@pytest.mark.parametrize("name", METRICS)
def test_sets_that_cannot_be_compared_are_refused_by_every_metric(name):
    with pytest.raises(UserError, match="3 and 4 wide"):
        METRICS[name](np.zeros((50, 3)), np.zeros((50, 4)))
    with pytest.raises(UserError, match="synthetic features hold values that are not finite"):
        METRICS[name](np.zeros((50, 3)), np.full((50, 3), np.inf))


def test_wrong_options_are_refused():
    one = features(30, 4, 1)
    with pytest.raises(UserError, match="subsets of 31; there are 30 and 30"):
        kid(one, one, subset_size=31)
    with pytest.raises(UserError, match="1 subsets; its interval needs at least 2"):
        kid(one, one, subsets=1)
    with pytest.raises(UserError, match="from 3 points; at least 4"):
        frechet_at_infinity(one, one, points=3)
    with pytest.raises(UserError, match="one label for each of 60 rows"):
        real_vs_synthetic_auc(one, one, groups=np.zeros(30))
    with pytest.raises(UserError, match="at least 10 groups a side; there are 1 and 1"):
        real_vs_synthetic_auc(one, one, groups=np.zeros(60))
    with pytest.raises(UserError, match="4 and 5 wide"):
        frechet_distance_of_moments(Moments(4), Moments(5))
    with pytest.raises(UserError, match="at least 2 rows; 0 came"):
        frechet_distance_of_moments(Moments(4), Moments(4))
    with pytest.raises(UserError, match="N×4 was expected"):
        Moments(4).add(np.zeros((3, 5)))
