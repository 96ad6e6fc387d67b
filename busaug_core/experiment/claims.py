"""What an experiment shows: which arms are better or worse than that of the real images alone, and how sure that is."""

from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import norm, ttest_1samp

from busaug_core.experiment.tested import Tested
from busaug_core.metrics.estimate import LEVEL
from busaug_core.metrics.paired import chance_not_better, differences, holm, mcnemar, permuted_auc

CLAIMED = "accuracy"
"""The metric that arms are called better or worse by; the others are told beside it."""
POWER = 0.8
"""How often a gain is to be shown that an experiment is said to be able to show."""


@dataclass(frozen=True)
class Claim:
    """An arm against its baseline in one metric.

    Attributes:
        value, low, high: the difference with its 95 % interval
        p, p_holm: the p-value of there being none, and this over all arms of the metric (Holm)
        permuted: of AUC, the p-value of the first classifiers having the same, by exchanging what they say of scans
        mcnemar: of accuracy, the exact p-value of both being right equally often, by the first classifier of each
        t_test: of accuracy, the p-value of the paired t-test over trainings, which knows nothing of other images
        not_better: of accuracy, the probability that the arm is right no more often, after a flat prior
        n, groups, trainings: images, scans or patients, and classifiers of each arm
    """

    arm: str
    baseline: str
    metric: str
    value: float
    low: float
    high: float
    p: float
    p_holm: float
    permuted: float | None
    mcnemar: float | None
    t_test: float | None
    not_better: float | None
    n: int
    groups: int
    trainings: int

    @property
    def shown(self) -> bool:
        """Whether there is a difference by what is called certain here."""
        return self.p_holm < 1 - LEVEL


def compare(tested: Tested) -> list[Claim]:
    """All arms but the first against it, in each metric.

    Nothing where an arm has but one classifier, whose chance nobody knows (probes need `resamples`, networks seeds), or
    where all images are of one scan or patient.
    """
    baseline, *others = tested.logits
    count = len(set(tested.groups))
    if count < 2 or tested.trainings < 2:
        return []
    right = {arm: values.argmax(2) == tested.truth for arm, values in tested.logits.items()}
    single = {arm: values.argmax(1) == tested.truth for arm, values in tested.first.items()}
    after = {arm: tested.logits[arm] for arm in others}
    before = tested.logits[baseline]
    found = differences(tested.truth, before, after, tested.groups, tested.of_draws, tested.folds)
    claims = []
    for metric in next(iter(found.values()), {}):
        adjusted = holm([found[arm][metric].p for arm in others])
        claims += [
            Claim(
                arm=arm,
                baseline=baseline,
                metric=metric,
                **asdict(found[arm][metric]),
                p_holm=p_holm,
                permuted=_permuted(tested, baseline, arm) if metric == "auc" else None,
                mcnemar=mcnemar(single[baseline], single[arm]) if metric == CLAIMED else None,
                t_test=_t_test(right[baseline], right[arm]) if metric == CLAIMED else None,
                not_better=chance_not_better(right[baseline], right[arm]) if metric == CLAIMED else None,
                n=len(tested.truth),
                groups=count,
                trainings=len(tested.logits[arm]),
            )
            for arm, p_holm in zip(others, adjusted, strict=True)
        ]
    return claims


def _permuted(tested: Tested, before: str, after: str) -> float:
    return permuted_auc(tested.truth, tested.first[before], tested.first[after], tested.groups, tested.folds)


def _t_test(before: np.ndarray, after: np.ndarray) -> float:
    """The p-value of no difference between the accuracies of paired trainings, bool S × N each."""
    apart = after.mean(1) - before.mean(1)
    return float(ttest_1samp(apart, 0).pvalue) if np.ptp(apart) > 1e-12 else float(np.allclose(apart, 0))


def answer(claims: list[Claim]) -> str:
    """What the claims say, in words."""
    claims = [claim for claim in claims if claim.metric == CLAIMED]
    shown = [claim for claim in claims if claim.shown]
    gains = [_sentence(claim, "better", 1) for claim in shown if claim.value > 0]
    losses = [_sentence(claim, "worse", -1) for claim in shown if claim.value < 0]
    return " ".join([*(gains or ["No gain shown: no arm is better than the original with certainty."]), *losses])


def least_shown(claims: list[Claim]) -> float | None:
    """The gain that an arm would have to bring to be shown four times in five, by the errors of the claims' intervals.

    Approximate: normal, and at the strictest of Holm's levels. None where the intervals have no width.
    """
    of_metric = [claim for claim in claims if claim.metric == CLAIMED]
    error = float(np.median([claim.high - claim.low for claim in of_metric])) / 2 / norm.ppf((1 + LEVEL) / 2)
    return float(norm.ppf(1 - (1 - LEVEL) / 2 / len(of_metric)) + norm.ppf(POWER)) * error or None


def _sentence(claim: Claim, how: str, sign: int) -> str:
    low, high = sorted((sign * claim.low, sign * claim.high))
    return (
        f"Arm {claim.arm} is {how} than the {claim.baseline} in {claim.metric} by {sign * claim.value:.3f} "
        f"({low:.3f} to {high:.3f}; p = {claim.p_holm:.2g} after Holm's correction)."
    )
