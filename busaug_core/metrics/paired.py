"""Whether one classifier is better than another: differences over the same images, and what chance explains of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.special import softmax
from scipy.stats import beta, binomtest, rankdata, t

from busaug_core.errors import UserError
from busaug_core.metrics.bootstrap import groups_of
from busaug_core.metrics.classification import weighted_metrics
from busaug_core.metrics.estimate import Estimate, jackknife_error, t_interval

OF_IMAGES = "accuracy"
"""The metric that is of images and not of classes."""


@dataclass(frozen=True)
class Difference(Estimate):
    """A difference, after − before, its interval, and the two-sided p-value of there being none."""

    p: float


def differences(
    truth: np.ndarray,
    before: np.ndarray,
    others: Mapping[str, np.ndarray],
    groups: Sequence[str],
    of_draws: bool = False,
    folds: np.ndarray | None = None,
) -> dict[str, dict[str, Difference]]:
    """By how much each metric of `classification_metrics` differs, of each of several classifiers from one, by name.

    Args:
        truth: class indices, int N
        before, others: logits of S trainings each, float S × N × classes
        groups: what images belong together by, such as a patient's or a scan's name, N
        of_draws: whether the trainings are on draws of the training images with replacement, whose spread is that of a
            training on these images, and not repetitions, of whose mean it is
        folds: as in `weighted_metrics`

    Where some class (of a fold) lies within one group there is accuracy alone: without that group no other metric has
    a value.
    Raises UserError where there is but one group.
    """
    numbers = groups_of(groups)
    count = int(numbers.max()) + 1
    if count < 2:
        raise UserError("A difference needs images of at least two scans or patients.")
    kept = np.ones((1 + count, len(truth)))
    kept[1 + numbers, np.arange(len(truth))] = 0

    def values_of(side: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(invalid="ignore", divide="ignore"):
            found = [weighted_metrics(truth, logits, kept, folds) for logits in side]
        return {name: np.stack([values[name] for values in found]) for name in found[0]}

    old, new = values_of(before), {name: values_of(side) for name, side in others.items()}
    strata = truth if folds is None else truth + (truth.max() + 1) * folds
    metrics = old if (kept @ (strata[:, None] == np.unique(strata))).all() else [OF_IMAGES]
    told: dict[str, dict[str, Difference]] = {name: {} for name in others}
    for metric in metrics if others else ():
        apart = np.stack([new[name][metric] - old[metric] for name in others])
        found = compare_means(apart[..., 0], apart[..., 1:], of_draws)
        for name, difference in zip(others, found, strict=True):
            told[name][metric] = difference
    return told


def compare_means(values: np.ndarray, left_out: np.ndarray, of_draws: bool = False) -> list[Difference]:
    """The means of K differences over S trainings, each for other trainings and other images alike.

    The variance of each is the sum of that over trainings and that over groups of images, by leaving each out (the
    jackknife), less what both hold, their interaction. Repetitions of a training are few, and by chance may differ
    little; so that over them is the mean of all K where a difference's own is smaller, which errs to the safe side.
    Degrees of freedom are Satterthwaite's. With one training a difference is over images alone, and says something of
    these two classifiers only.

    Args:
        values: float K × S
        left_out: float K × S × G, the same without each group of images
        of_draws: as in `differences`
    """
    several, trainings, count = left_out.shape
    over_trainings, freedom = np.zeros(several), np.ones(several)
    if trainings > 1:
        over_trainings = np.var(values, axis=1, ddof=1) / (1 if of_draws else trainings)
        freedom *= trainings - 1
    if trainings > 1 and not of_draws:
        pooled = over_trainings.mean()
        # Less than K times as many: all K have the one side in common.
        freedom = np.where(over_trainings > pooled, freedom, freedom * 4 * several / (several + 3))
        over_trainings = np.maximum(over_trainings, pooled)
    found = []
    for own, without, by_training, free in zip(values, left_out, over_trainings, freedom, strict=True):
        by_images = jackknife_error(without.mean(0)) ** 2
        shared = 0.0
        if trainings > 1:
            each = np.mean([jackknife_error(row) ** 2 for row in without])
            shared = max(each - by_images, 0) / (trainings - 1)
        variance = max(by_images + by_training - shared, by_images, by_training)
        value, error = float(own.mean()), float(np.sqrt(variance))
        if not error:
            found.append(Difference(value, value, value, 1.0))
            continue
        degrees = variance**2 / (by_images**2 / (count - 1) + by_training**2 / free)
        p = float(2 * t.sf(abs(value) / error, degrees))
        found.append(Difference(**asdict(t_interval(value, error, degrees)), p=p))
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of a family of tests, adjusted so that with a chance of α any below α is wrong (Holm 1979)."""
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    adjusted = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return [float(x) for x in adjusted[np.argsort(order)]]


def mcnemar(before: np.ndarray, after: np.ndarray) -> float:
    """The exact two-sided p-value of two classifiers being right equally often (McNemar 1947), on bool N each."""
    lost, gained = int((before & ~after).sum()), int((after & ~before).sum())
    return float(binomtest(gained, lost + gained).pvalue) if lost + gained else 1.0


def permuted_auc(
    truth: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    groups: Sequence[str],
    folds: np.ndarray | None = None,
    draws: int = 2000,
    seed: int = 51,
) -> float:
    """The two-sided p-value of two classifiers having one macro AUC, by exchanging what they say of whole groups.

    Of ranks within each class and fold, since one classifier's scores are no measure for another's (Venkatraman and
    Begg 1996); the AUCs of folds are averaged by their images. Takes logits, float N × classes each, and the rest as
    `differences`; 1 where there is but one class.
    """
    numbers = groups_of(groups)
    places = [np.full(len(truth), True)] if folds is None else [folds == fold for fold in np.unique(folds)]
    exchanged = np.random.default_rng(seed).random((1 + draws, int(numbers.max()) + 1)) < 0.5
    exchanged[0] = False
    apart = np.zeros(1 + draws)
    for here in places:
        known, swapped = truth[here], exchanged[:, numbers[here]]
        classes = np.unique(known)
        for label in classes if len(classes) > 1 else ():
            positive = known == label
            sides = [rankdata(softmax(side[here].astype(np.float64), axis=1)[:, label]) for side in (before, after)]
            pairs = positive.sum() * (~positive).sum()
            old, new = (
                rankdata(np.where(swapped, sides[1 - i], sides[i]), axis=1)[:, positive].sum(1) / pairs for i in (0, 1)
            )
            apart += (new - old) * here.sum() / len(classes)
    return float((1 + (np.abs(apart[1:]) >= abs(apart[0]) - 1e-9).sum()) / (1 + draws))


def chance_not_better(before: np.ndarray, after: np.ndarray) -> float:
    """The probability that the second is right no more often than the first, given on which images they are right.

    After a flat prior over the four cases, both, one, the other, neither (arXiv 2505.04720). Takes bool S × N of S
    trainings, whose counts are averaged, and of all images as if none belonged together.
    """
    lost, gained = (before & ~after).sum(1).mean(), (after & ~before).sum(1).mean()
    return float(beta.cdf(0.5, 1 + gained, 1 + lost))
