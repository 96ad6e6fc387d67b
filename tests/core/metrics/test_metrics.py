"""What all metrics of two feature sets share: types, determinism, refusals."""

import numpy as np
import pytest
from feature_sets import features

from busaug_core.errors import UserError
from busaug_core.metrics.estimate import Estimate
from busaug_core.metrics.extrapolation import frechet_at_infinity
from busaug_core.metrics.fid import Moments, frechet_distance, frechet_distance_of_moments
from busaug_core.metrics.influence import frechet_interval, leave_one_out
from busaug_core.metrics.kid import kid
from busaug_core.metrics.prdc import prdc
from busaug_core.metrics.two_sample import real_vs_synthetic_auc

METRICS = {
    "fid": frechet_distance,
    "fid's interval": frechet_interval,
    "fid at infinity": frechet_at_infinity,
    "kid": kid,
    "prdc": prdc,
    "auc": real_vs_synthetic_auc,
}


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
