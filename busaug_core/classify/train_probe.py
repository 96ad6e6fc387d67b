"""Training a probe: logistic regression on features, and on draws of the images for intervals."""

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from busaug_core.classify.confidence import confidences, mean_confidence
from busaug_core.classify.config import VIEWS, TrainClassifier
from busaug_core.classify.predictions import write_resampled
from busaug_core.classify.probe import OF_A_DRAW, Probe, features_of
from busaug_core.classify.regression import FALLBACK, Regression
from busaug_core.classify.resampling import held_out_draws, training_draws
from busaug_core.classify.task import Task
from busaug_core.features.cache import Seen
from busaug_core.features.extractors import make_extractor
from busaug_core.jobs.events import Notice, Progress, Steps
from busaug_core.jobs.run import Run
from busaug_core.metrics.classification import metrics_over_draws


class ProbeTraining:
    """The training of a probe; raises UserError or MissingWeights where its extractor cannot be had."""

    def __init__(self, config: TrainClassifier, run: Run, task: Task, device: torch.device):
        self.config, self.run, self.task = config, run, task
        self.extractor = make_extractor(config.extractor, run, device)

    def steps(self) -> Steps[tuple[np.ndarray, dict[str, Any]]]:
        """Train, save; returns the logits of the held-out images, float32 N × classes, and what the result tells.

        C is chosen in folds of the real training images, if there are any, since by such the probe is judged; synthetic
        ones train in every fold. An image's views train where it does, and none is tested. Among what is told are
        `inner_loss`, the log-loss in these folds, and, where draws were asked for, `resampled`: of each metric the mean
        over probes trained on draws of the training images, and the 95 % interval over these and draws of the held-out
        ones; the C is that of the probe itself, and so is the confidence in synthetic images.
        """
        config, run, task = self.config, self.run, self.task
        features = yield from features_of(task.training + task.held_out, self.extractor, config.resolution, run)
        labels, real = [r.label for r in task.training], np.array([not r.synthetic for r in task.training])
        weights = None
        if config.weighting == "confidence":
            weights = confidences(task.training, features.of(task.training), config.seed)
        views = [features.of(task.training)]
        for view in _views(config):
            found = yield from features_of(task.training, self.extractor, config.resolution, run, view=view)
            views.append(found.matrix)
        regression = Regression(np.stack(views, axis=1), labels, weights)
        yield Progress(0, 1 + config.resamples, "Training the probe")
        held_out = real if real.any() else None
        choice = regression.choose([r.cluster for r in task.training], config.seed, held_out)
        strength, remarks = choice.strength if choice else FALLBACK, []
        if choice is None:
            remarks.append(
                f"C is not chosen but {FALLBACK}: some class has images of a single scan, which cannot be both "
                "trained on and tested."
            )
        yield from map(Notice, remarks)
        linear = regression.fit(strength)
        Probe(self.extractor, config.resolution, linear).save(run)
        told = dict(
            remarks=remarks,
            extractor=self.extractor.name,
            extractor_weights=self.extractor.weights,
            preprocessing=self.extractor.preprocessing,
            resolution=config.resolution,
            C=strength,
            inner_loss=choice.loss if choice else None,
            confidence=mean_confidence(task.training, weights),
            resamples=config.resamples,
        )
        unseen = features.of(task.held_out)
        yield Progress(1, 1 + config.resamples, "Training the probe")
        if config.resamples:
            probes = []
            for done, counts in enumerate(training_draws(task.training, config.resamples, config.seed), 2):
                probes.append(regression.fit(strength, counts))
                yield Progress(done, 1 + config.resamples, "Training the probe")
            logits = np.stack([probe.logits(unseen) for probe in probes])
            own = {name: np.stack([getattr(probe, name) for probe in probes]) for name in OF_A_DRAW}
            write_resampled(run, logits, **own)
            draws = held_out_draws(task.held_out, config.seed)
            estimates = metrics_over_draws(task.held_out_truth, logits, draws)
            told["resampled"] = {name: asdict(estimate) for name, estimate in estimates.items()}
        return linear.logits(unseen), told


def _views(config: TrainClassifier) -> list[Seen]:
    """How a training image is seen besides as it is: mirrored, or changed by TrivialAugment and half so mirrored."""
    if config.augmentation == "trivial":
        return [Seen(mirrored=i % 2 == 1, trivial=(config.seed, i)) for i in range(VIEWS)]
    return [Seen(mirrored=True)] if config.augmentation == "flip" else []
