"""The scans of two sets, their features and probes of them, for what a probe of one loses on the other."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from _runs import drained, run
from _set_changes import Change, share
from PIL import Image

from busaug_core.classify.regression import FALLBACK, LinearClassifier, Regression
from busaug_core.classify.resampling import held_out_draws, training_draws
from busaug_core.features.cache import Seen, extract
from busaug_core.features.extractors import LITE0, make_extractor
from busaug_core.images import open_image, to_gray
from busaug_core.jobs.device import pick_device
from busaug_core.jobs.runs import run_of
from busaug_core.metrics.bootstrap import groups_of
from busaug_core.metrics.classification import weighted_metrics
from busaug_core.records import Record

FOLDS, TRAININGS, SIDE, SEED = 5, 10, 128, 51
CLASSES = ["benign", "malignant"]
FIGURES = ("balanced accuracy", "AUC", *(f"recall of {c}" for c in CLASSES))
Probes = list[list[LinearClassifier]]
"""Of each fold those on draws of its training images."""


class Scans:
    """The images of clear class of a dataset, those of `CLASSES` first."""

    def __init__(self, dataset: str, load: str, **values: object):
        run(load, [], dataset, run_key="load", dataset_name=dataset, folds=FOLDS, **values)
        self.run = run_of(dataset, "load")
        known = [r for r in self.run.products if fold_of(r) is not None and not (r.source and r.source.also_in)]
        self.tested = [r for r in known if r.label in CLASSES]
        self.records = self.tested + [r for r in known if r.label not in CLASSES]
        self.labels, self.fold = np.array([r.label for r in self.records]), np.array([fold_of(r) for r in self.records])
        self.truth = np.array([CLASSES.index(r.label) for r in self.tested])
        self.folds, self.groups = self.fold[: len(self.tested)], [r.cluster for r in self.tested]

    def features(self, change: Change | None = None, records: list[Record] | None = None) -> np.ndarray:
        """Float32 N×D of all records or of some, as they are or changed and reduced."""
        records = self.records if records is None else records
        with tempfile.TemporaryDirectory() as folder:
            if change is not None:
                records = [replace(r, path=written_to(folder, i, change, r)) for i, r in enumerate(records)]
            extractor = make_extractor(LITE0, self.run, pick_device())
            return drained(extract(records, extractor, self.run, 32, Seen(side=SIDE))).matrix

    def probes(self, matrix: np.ndarray, amounts: dict[str, int] | None = None) -> Probes:
        """Trained on the features of all other folds' images, or of so many of each class of them."""
        found, rng = [], np.random.default_rng(SEED)
        for fold in range(FOLDS):
            rows = np.flatnonzero(self.fold[: len(matrix)] != fold)
            if amounts:
                rows = np.concatenate([rng.permutation(rows[self.labels[rows] == c])[: amounts[c]] for c in CLASSES])
            training = [self.records[i] for i in rows]
            regression = Regression(matrix[rows], [r.label for r in training])
            choice = regression.choose([r.cluster for r in training], SEED)
            strength = choice.strength if choice else FALLBACK
            found.append([regression.fit(strength, drawn) for drawn in training_draws(training, TRAININGS, SEED)])
        return found

    def judged(self, probes: Probes, matrix: np.ndarray, own: bool = False) -> np.ndarray:
        """Logits, probes × N × 2, of the tested images' features; with `own` each by the probes of its own fold."""
        places = [[p.classes.index(c) for c in CLASSES] for p in (fold[0] for fold in probes)]
        matrix = matrix[: len(self.tested)]
        found = np.stack([[p.logits(matrix)[:, at] for p in fold] for fold, at in zip(probes, places, strict=True)])
        return found[self.folds, :, range(len(matrix))].swapaxes(0, 1) if own else found.reshape(-1, *found.shape[2:])

    def figures(self, logits: np.ndarray, own: bool = False, chosen: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Metrics, trainings × draws of the images, of logits as `judged`, perhaps on some of the images alone."""
        here = np.flatnonzero(np.ones(len(self.tested)) if chosen is None else chosen)
        truth, folds = self.truth[here], self.folds[here] if own else None
        draws = held_out_draws([self.tested[i] for i in here], SEED, self.folds[here])
        found: dict[str, list[np.ndarray]] = {}
        for one in logits[:, here]:
            told = weighted_metrics(truth, one, draws, folds)
            members = [truth == i for i in range(len(CLASSES))]
            recalls = [
                draws[:, here] @ (one.argmax(1) == i)[here] / draws[:, here].sum(1) for i, here in enumerate(members)
            ]
            for name, values in zip(FIGURES, (told["recall"], told["auc"], *recalls), strict=True):
                found.setdefault(name, []).append(values)
        return {n: np.stack(v).reshape(-1, TRAININGS, len(draws)).mean(0) for n, v in found.items()}

    def shifted(self, logits: np.ndarray) -> np.ndarray:
        """The logits less the offset that suits the other half of the scans or patients best."""
        half = np.random.default_rng(SEED).permutation(max(groups_of(self.groups)) + 1)[groups_of(self.groups)] % 2
        moved = logits.copy()
        for one in moved:
            margin = one[:, 1] - one[:, 0]
            for side in (0, 1):
                known, truth = margin[half != side], self.truth[half != side]
                cuts = np.quantile(known, np.linspace(0.02, 0.98, 97))
                gains = [(known > cut)[truth == 1].mean() - (known > cut)[truth == 0].mean() for cut in cuts]
                one[half == side, 1] -= cuts[int(np.argmax(gains))]
        return moved


def fold_of(record: Record) -> int | None:
    """The number of its fold, from 0 on; None for an image of doubtful class."""
    return next((int(tag.removeprefix("fold_")) - 1 for tag in record.tags if tag.startswith("fold_")), None)


def written_to(folder: str, number: int, change: Change, record: Record) -> str:
    """A PNG of the image, changed and then reduced."""
    path = Path(folder) / f"{number}.png"
    gray = np.asarray(open_image(record.path).convert("L"))
    Image.fromarray(to_gray(Image.fromarray(change(gray, record)), SIDE)).save(path)
    return str(path)


def looks(records: list[Record]) -> tuple[np.ndarray, np.ndarray, float]:
    """Of a set how frequent each gray level is, the lesions' shares of their images, and the median width / height."""
    images = [np.asarray(open_image(r.path).convert("L")) for r in records]
    levels = np.mean([np.bincount(i.ravel(), minlength=256) / i.size for i in images], 0)
    return levels, np.array([share(r) for r in records]), float(np.median([i.shape[1] / i.shape[0] for i in images]))


def subgroups(records: list[Record], shares: np.ndarray) -> dict[str, np.ndarray]:
    """Which of the records are of each subgroup; those of size are the thirds of the given shares."""
    marks, own = np.array([(r.annotation_score or 0) >= 1 for r in records]), np.array([share(r) for r in records])
    third = np.digitize(own, np.quantile(shares, (1 / 3, 2 / 3)))
    found = {"with marks": marks, "without marks": ~marks}
    found |= {f"{name} lesions": third == i for i, name in enumerate(("small", "middling", "large"))}
    for device in sorted({r.source.device for r in records if r.source and r.source.device}):
        found[device.split("@")[0].strip()] = np.array([r.source.device == device for r in records])
    return found
