"""An independent judge of class consistency: a probe that has seen nothing but real training images.

It sees them in the generated images' size. A probe of full-size scans takes small ones for another class, and would
condemn any generator of that size; whether the judge is fair shows on real held-out images, which stand beside.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from busaug_core.classify.regression import FALLBACK, LinearClassifier, Regression
from busaug_core.errors import MissingWeights
from busaug_core.features.cache import Features, Seen, extract
from busaug_core.features.extractors import LITE0, make_extractor
from busaug_core.jobs.device import pick_device
from busaug_core.jobs.events import Notice, Steps
from busaug_core.jobs.run import Run
from busaug_core.measure.ladder import Way, decoded_features
from busaug_core.metrics.estimate import wilson_interval
from busaug_core.records import Record, count_labels

UNFAIR = 0.5
"""Recall of real held-out images below which a judge's word on a class is worth little."""
SEED = 0
"""Of the folds in which its regularisation is chosen."""
LEAST = 10
"""Training images of a class without which there is no judge."""


@dataclass
class Judge:
    """A probe that is fitted, and the images that it is asked about.

    Attributes:
        way: the way whose size it sees
        held_out: real images that it never saw, `seen` in that size and `decoded` out of the autoencoder
        others: features of the evaluation sets
    """

    way: Way
    probe: LinearClassifier
    weights: str
    n_train: int
    held_out: list[Record]
    seen: Features
    decoded: Features
    others: Features

    def verdict(self, variants: dict[str, list[Record]]) -> Steps[dict[str, Any]]:
        """Returns `rows` with `variant`, `class`, `n`, `value`, `low`, `high`: what share of each class's images it
        recognises, of the real ones, of these out of the autoencoder and of each variant; and what it is.

        Yields a notice where it is not fair to the real ones.
        """
        asked = {self.way.reduced: self.seen.of(self.held_out), self.way.decoded: self.decoded.of(self.held_out)}
        rows = [row for name, features in asked.items() for row in self._rows(name, self.held_out, features)]
        if doubtful := [r["class"] for r in rows if r["variant"] == self.way.reduced and r["value"] < UNFAIR]:
            yield Notice(
                f"The judge of class consistency recognises less than half of the real {' and '.join(doubtful)} scans, "
                "so its word on these classes says little."
            )
        for variant, members in variants.items():
            rows += self._rows(variant, members, self.others.of(members))
        return {
            "rows": rows,
            "side": self.way.side,
            "vae": self.way.vae,
            "n_train": self.n_train,
            "extractor": LITE0,
            "weights": self.weights,
        }

    def _rows(self, variant: str, members: list[Record], features: np.ndarray) -> list[dict]:
        """A row for each class that the members have: how many of its images are recognised."""
        predicted, rows = self.probe.predict(features), []
        for label, n in count_labels(members).items():
            share = float(np.mean([p == label for r, p in zip(members, predicted, strict=True) if r.label == label]))
            found = wilson_interval(share, np.sqrt(share * (1 - share) / n), n)
            rows.append({"variant": variant, "class": label, "n": n, **asdict(found)})
        return rows


def train_judge(
    way: Way, training: list[Record], held_out: list[Record], evaluation: list[Record], run: Run, batch_size: int
) -> Steps[Judge | None]:
    """A judge of a way's variants, which will be asked about their `evaluation` images; the others are real.

    None where there can be none, and in all processes but the main one.
    """
    counts = count_labels(training)
    if len(counts) < 2 or min(counts.values()) < LEAST:
        yield Notice(
            f"No judge of class consistency: it takes {LEAST} real training images of each of several classes."
        )
        return None
    try:
        extractor = make_extractor(LITE0, run, pick_device())
    except MissingWeights as reason:
        yield Notice(f"No judge of class consistency: {reason}")
        return None
    real = training + held_out
    seen = yield from extract(real, extractor, run, batch_size, Seen(side=way.side))
    decoded = yield from decoded_features(way, held_out, extractor, run, batch_size)
    others = yield from extract(evaluation, extractor, run, batch_size)
    if others is None:
        return None
    regression = Regression(seen.of(training), [r.label for r in training])
    choice = regression.choose([r.cluster for r in training], SEED)
    probe = regression.fit(choice.strength if choice else FALLBACK)
    return Judge(way, probe, extractor.weights, len(training), held_out, seen, decoded, others)
