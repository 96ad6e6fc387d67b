"""What an experiment shows: which arms are better or worse than that of the real images alone, and how sure that is."""

from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import norm

from busaug_core.classify.predictions import read_predictions, read_resampled
from busaug_core.classify.resampling import held_out_draws
from busaug_core.jobs.roles import of_split
from busaug_core.jobs.run import Run
from busaug_core.metrics.classification import metrics_over_draws, weighted_metrics
from busaug_core.metrics.estimate import LEVEL
from busaug_core.metrics.paired import chance_not_better, differences, holm, mcnemar
from busaug_core.records import Record

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
        mcnemar: of accuracy, the exact p-value of both being right equally often, by the first classifier of each
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
    mcnemar: float | None
    not_better: float | None
    n: int
    groups: int
    trainings: int

    @property
    def shown(self) -> bool:
        """Whether there is a difference by what is called certain here."""
        return self.p_holm < 1 - LEVEL


Classifiers = list[list[Run]]
"""The runs of an arm's classifiers: a list for each fold, all of one length."""


def compare(arms: dict[str, Classifiers]) -> list[Claim]:
    """All arms but the first against it, in each metric, given the runs of each arm's classifiers.

    Nothing where an arm has but one classifier, whose chance nobody knows (probes need `resamples`, networks seeds), or
    where all held-out images are of one scan or patient.
    """
    baseline, *others = arms
    held_out, truth, folds = held_out_of(arms[baseline])
    groups = [record.cluster for record in held_out]
    logits = {arm: logits_of(runs) for arm, runs in arms.items()}
    if len(set(groups)) < 2 or any(len(values) < 2 for values in logits.values()):
        return []
    right = {arm: values.argmax(2) == truth for arm, values in logits.items()}
    single = {arm: np.concatenate([_right(runs[0]) for runs in of_folds]) for arm, of_folds in arms.items()}
    of_draws = is_resampled(arms[baseline])
    found = differences(truth, logits[baseline], {arm: logits[arm] for arm in others}, groups, of_draws, folds)
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
                mcnemar=mcnemar(single[baseline], single[arm]) if metric == CLAIMED else None,
                not_better=chance_not_better(right[baseline], right[arm]) if metric == CLAIMED else None,
                n=len(truth),
                groups=len(set(groups)),
                trainings=len(logits[arm]),
            )
            for arm, p_holm in zip(others, adjusted, strict=True)
        ]
    return claims


def metrics_of(runs: Classifiers) -> dict[str, dict[str, float | None]]:
    """An arm's metrics by name, each with `value`, `low` and `high`; no interval where it has but one classifier."""
    held_out, truth, folds = held_out_of(runs)
    logits, draws = logits_of(runs), held_out_draws(held_out, runs[0][0].config["seed"], folds)
    if len(logits) == 1:
        found = weighted_metrics(truth, logits[0], np.ones((1, len(truth))), folds)
        return {name: {"value": float(values[0]), "low": None, "high": None} for name, values in found.items()}
    return {name: asdict(e) for name, e in metrics_over_draws(truth, logits, draws, folds).items()}


def is_resampled(runs: Classifiers) -> bool:
    """Whether an arm's classifiers are probes on draws of the training images, trained by one run of each fold."""
    return bool(runs[0][0].result.get("resampled"))


def held_out_of(runs: Classifiers) -> tuple[list[Record], np.ndarray, np.ndarray | None]:
    """The images on which an arm's classifiers were tested, their class indices and folds, int N.

    There are no folds where there is one alone.
    """
    parts = [of_split(of_fold[0].records, of_fold[0].result["evaluated_on"]) for of_fold in runs]
    classes = runs[0][0].result["classes"]
    truth = np.array([classes.index(record.label) for part in parts for record in part])
    folds = np.repeat(np.arange(len(parts)), [len(part) for part in parts]) if len(parts) > 1 else None
    return [record for part in parts for record in part], truth, folds


def logits_of(runs: Classifiers) -> np.ndarray:
    """The held-out images' logits by each of an arm's classifiers, float S × N × classes."""
    if is_resampled(runs):
        return np.concatenate([read_resampled(of_fold[0].folder) for of_fold in runs], axis=1)
    return np.concatenate(
        [[[row.logits for row in read_predictions(run.folder)] for run in of_fold] for of_fold in runs], axis=1
    )


def confusion(truth: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Which share of each class's images (rows) is taken for which class, mean over trainings; a missing class has 0.

    Args:
        truth: class indices, int N
        logits: float S × N × classes
    """
    count = logits.shape[2]
    predicted = np.eye(count)[logits.argmax(2)].mean(0)
    return np.stack([predicted[truth == i].mean(0) if (truth == i).any() else np.zeros(count) for i in range(count)])


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
        f"+ {claim.arm} is {how} than the {claim.baseline} in {claim.metric} by {sign * claim.value:.3f} "
        f"({low:.3f} to {high:.3f}; p = {claim.p_holm:.2g} after Holm's correction)."
    )


def _right(run: Run) -> np.ndarray:
    """Whether the run's classifier on all training images is right on each held-out image, bool N."""
    return np.array([row.label == row.truth for row in read_predictions(run.folder)])
