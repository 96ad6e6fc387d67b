"""Training a network: Adam and cross-entropy for a fixed number of epochs."""

from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from busaug_core.classify.confidence import confidences, mean_confidence
from busaug_core.classify.config import TrainClassifier
from busaug_core.classify.model import Classifier, predict
from busaug_core.classify.probe import features_of
from busaug_core.classify.task import Task
from busaug_core.errors import UserError
from busaug_core.features.augmentation import trivial_augment
from busaug_core.features.extractors import LITE0, make_extractor
from busaug_core.images import PREPROCESSING, load_batch
from busaug_core.jobs.checkpoint import restore_checkpoint, save_checkpoint
from busaug_core.jobs.events import Progress, Steps
from busaug_core.jobs.run import CHECKPOINT, Run


class NetworkTraining:
    """The training of a torchvision classifier."""

    def __init__(self, config: TrainClassifier, run: Run, task: Task, device: torch.device):
        self.config, self.run, self.task, self.device = config, run, task, device
        torch.manual_seed(config.seed)
        model = Classifier(config.arch, task.classes, config.resolution, config.pretrained).to(device)
        self.model = model.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)

    def steps(self) -> Steps[tuple[np.ndarray, dict[str, Any]]]:
        """Train, save; returns the logits of the held-out images, float32 N × classes, and what the result tells."""
        config, task, checkpoint = self.config, self.task, self.run.folder / CHECKPOINT
        yield Progress(0, config.epochs, "Training the classifier")
        counts = np.ones(len(task.training))
        if config.weighting == "confidence":
            judge = make_extractor(LITE0, self.run, self.device)
            features = yield from features_of(task.training, judge, config.resolution, self.run)
            counts = confidences(task.training, features.of(task.training), config.seed)
        images = load_batch([r.path for r in task.training], config.resolution)
        start = restore_checkpoint(checkpoint, self.model.state_dict(), [self.optimizer])
        for epoch in range(start, config.epochs):
            loss = self._epoch(images, counts, epoch)
            save_checkpoint(checkpoint, epoch + 1, self.model.state_dict(), [self.optimizer])
            yield Progress(epoch + 1, config.epochs, "Training the classifier", {"loss": loss})
        self.model.eval()
        self.model.save(self.run.folder)
        images = load_batch([r.path for r in task.held_out], config.resolution)
        told = dict(
            pretrained=config.pretrained,
            epochs=config.epochs,
            resolution=config.resolution,
            augmentation=config.augmentation,
            balance=config.balance,
            confidence=mean_confidence(task.training, counts if config.weighting == "confidence" else None),
            preprocessing=PREPROCESSING,
        )
        return predict(self.model, images, config.batch_size, self.device), told

    def _epoch(self, images: np.ndarray, counts: np.ndarray, epoch: int) -> float:
        """One pass, its order, augmentation and dropout drawn from (seed, epoch); returns the mean loss.

        Images count as `counts`, N, say, and as their classes' weights.
        """
        config, truth = self.config, self.task.truth
        of_class = _class_weights(truth, counts) if config.balance == "class_weights" else np.ones(len(truth))
        weights = torch.from_numpy(of_class * counts).to(self.device, torch.float32)
        self.model.train()
        rng = np.random.default_rng([config.seed, epoch])
        torch.manual_seed(int(rng.integers(2**31)))
        order = rng.permutation(len(images))
        if config.balance == "oversample":
            shares = _class_weights(truth, np.ones(len(truth)))
            order = rng.choice(len(images), len(images), p=shares / shares.sum())
        losses = []
        for i in range(0, len(order), config.batch_size):
            chosen = order[i : i + config.batch_size]
            if len(chosen) == 1:
                continue  # batch normalisation cannot train on a single image
            batch = self._augmented(images[chosen], rng)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
                logits = self.model(torch.from_numpy(batch).to(self.device))
            own = cross_entropy(logits.float(), torch.from_numpy(truth[chosen]).to(self.device), reduction="none")
            loss = (own * weights[chosen]).sum() / float(of_class[chosen].sum())
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
            if not np.isfinite(losses[-1]):
                raise UserError(f"The loss is {losses[-1]} in epoch {epoch + 1}; lower learning_rate.")
        return float(np.mean(losses))

    def _augmented(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A batch as the network sees it, uint8 N×S×S; what TrivialAugment draws comes from torch's generator."""
        if self.config.augmentation != "none":
            mirrored = rng.random(len(images)) < 0.5
            images[mirrored] = images[mirrored, :, ::-1]
        if self.config.augmentation == "trivial":
            images = np.stack([trivial_augment(image) for image in images])
        return images


def _class_weights(truth: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """What N images that count so much weigh besides, by their classes, so that all classes weigh the same."""
    of_class = np.bincount(truth, counts)
    return counts.sum() / (len(of_class) * of_class)[truth]
