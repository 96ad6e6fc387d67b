"""What the arms' classifiers say of the images that they are tested on, in one form for probes, networks and folds."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np

from busaug_core.classify.predictions import read_predictions, read_resampled
from busaug_core.classify.resampling import held_out_draws
from busaug_core.jobs.run import Run
from busaug_core.metrics.classification import metrics_of_class, metrics_over_draws, weighted_metrics
from busaug_core.records import Record

Classifiers = list[list[Run]]
"""The runs of an arm's classifiers, of `train_classifier` or `apply_classifier`: a list for each fold of the images."""


@dataclass(frozen=True)
class Tested:
    """The logits of several arms' classifiers on the same N images.

    Attributes:
        images: the N images
        classes: their classes, in the order of the logits
        truth: the index of each image's class, int N
        folds: the fold of each image, int N, or None where there is one alone
        of_draws: whether the trainings are probes on draws of the training images, and not networks of several seeds
        logits: of each arm, the first being that which the others are compared with, float S × N × classes
        first: of each arm the logits of its first classifier on all training images, float N × classes
        seed: of the draws of the images
    """

    images: list[Record]
    classes: list[str]
    truth: np.ndarray
    folds: np.ndarray | None
    of_draws: bool
    logits: dict[str, np.ndarray]
    first: dict[str, np.ndarray]
    seed: int

    @property
    def baseline(self) -> str:
        return next(iter(self.logits))

    @property
    def trainings(self) -> int:
        return min(map(len, self.logits.values()))

    def of_classes(self, labels: Collection[str], renormalised: bool) -> "Tested":
        """The images of some classes alone; `renormalised` as if the classifiers knew no other classes."""
        kept = [i for i, label in enumerate(self.classes) if label in labels or not renormalised]
        here = np.array([image.label in labels for image in self.images])
        classes, images = [self.classes[i] for i in kept], [image for image in self.images if image.label in labels]
        return replace(
            self,
            images=images,
            classes=classes,
            truth=np.array([classes.index(image.label) for image in images]),
            folds=None if self.folds is None else self.folds[here],
            logits={arm: logits[:, here][..., kept] for arm, logits in self.logits.items()},
            first={arm: logits[here][:, kept] for arm, logits in self.first.items()},
        )

    @cached_property
    def groups(self) -> list[str]:
        """What each image belongs together by: a scan or a patient."""
        return [image.cluster for image in self.images]

    @cached_property
    def metrics(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """Each arm's metrics by name, with `value`, `low` and `high`; with one training they have no interval."""
        if self.trainings == 1:
            once = np.ones((1, len(self.truth)))
            return {
                arm: {
                    name: {"value": float(values[0]), "low": None, "high": None}
                    for name, values in weighted_metrics(self.truth, logits, once, self.folds).items()
                }
                for arm, logits in self.first.items()
            }
        draws = held_out_draws(self.images, self.seed, self.folds)
        return {
            arm: {n: asdict(e) for n, e in metrics_over_draws(self.truth, logits, draws, self.folds).items()}
            for arm, logits in self.logits.items()
        }

    def by_class(self, arm: str) -> dict[str, dict[str, dict[str, float | None]]]:
        """The metrics of each class by its name, with `value`: means over trainings and, by their images, over folds.

        A class counts in the folds that have images of it and of others.
        """
        folds = np.zeros(len(self.truth), int) if self.folds is None else self.folds
        found = {}
        for label, name in enumerate(self.classes):
            places = [folds == fold for fold in np.unique(folds)]
            places = [here for here in places if len(set(self.truth[here] == label)) > 1]
            own = [
                [metrics_of_class(self.truth[here], logits[here], label) for logits in self.logits[arm]]
                for here in places
            ]
            if own:
                sizes = [here.sum() for here in places]
                found[name] = {
                    metric: {
                        "value": float(
                            np.average([np.mean([m[metric] for m in of_fold]) for of_fold in own], weights=sizes)
                        ),
                        "low": None,
                        "high": None,
                    }
                    for metric in own[0][0]
                }
        return found

    def confusion(self, arm: str) -> np.ndarray:
        """Which share of each class's images (rows) is taken for which class, mean over trainings.

        A class without an image has 0.
        """
        count = len(self.classes)
        predicted = np.eye(count)[self.logits[arm].argmax(2)].mean(0)
        members = [self.truth == i for i in range(count)]
        return np.stack([predicted[here].mean(0) if here.any() else np.zeros(count) for here in members])


def read_tested(arms: dict[str, Classifiers]) -> Tested:
    """What the runs of each arm's classifiers have kept, all tested on the same images."""
    first = [of_fold[0] for of_fold in next(iter(arms.values()))]
    evaluated = [{p.path for p in read_predictions(run.folder) if p.evaluated} for run in first]
    parts = [
        [r for r in run.records if r.path in paths and run.result["evaluated_on"] in r.tags]
        for run, paths in zip(first, evaluated, strict=True)
    ]
    images, classes = [image for part in parts for image in part], first[0].result["classes"]
    truth = np.array([classes.index(image.label) for image in images])
    logits, single = {}, {}
    for arm, runs in arms.items():
        own = [_own_logits(of_fold) for of_fold in runs]
        single[arm] = np.concatenate([part[0] for part in own])
        if _is_resampled(runs):
            own = [np.concatenate([read_resampled(run.folder) for run in of_fold]) for of_fold in runs]
        logits[arm] = np.concatenate(own, axis=1)
    folds = np.repeat(np.arange(len(parts)), [len(part) for part in parts]) if len(parts) > 1 else None
    seed = first[0].config.get("seed", 0)
    return Tested(images, classes, truth, folds, _is_resampled(next(iter(arms.values()))), logits, single, seed)


def _is_resampled(runs: Classifiers) -> bool:
    return bool(runs[0][0].result.get("resampled"))


def _own_logits(of_fold: list[Run]) -> np.ndarray:
    """The evaluated images' logits by the classifiers on all training images, float S × N × classes."""
    return np.array([[p.logits for p in read_predictions(run.folder) if p.evaluated] for run in of_fold])
