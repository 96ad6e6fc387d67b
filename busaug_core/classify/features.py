"""The penultimate layer of a classifier trained here."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from busaug_core.classify.config import WEIGHTS
from busaug_core.classify.model import load_network
from busaug_core.classify.weights import read_weights
from busaug_core.features.extractor import Extractor
from busaug_core.files import content_hash
from busaug_core.jobs.roles import refuse_synthetic_training
from busaug_core.jobs.run import Run


class ClassifierFeatures(Extractor):
    """A stand-in with a name of its own, not FID; the network normalises by itself."""

    metric = "FD (classifier)"

    def __init__(self, run: Run, device: torch.device, name: str | None = None):
        """`name`: what its features are called, by default the run's key."""
        refuse_synthetic_training(run)
        self.name = name or run.key
        self.device = device
        path = run.folder / WEIGHTS
        self.network = load_network(path, *read_weights(path)).to(device)
        self.resolution = self.network.resolution
        self.weights = content_hash(path)
        self.run = run

    def prepare(self, images: Sequence[np.ndarray]) -> Tensor:
        """uint8 N×S×S."""
        return torch.from_numpy(np.stack(images)).to(self.device)

    def features(self, images: Tensor) -> Tensor:
        return self.network.features(images)
