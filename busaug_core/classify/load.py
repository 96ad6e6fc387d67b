"""A trained classifier from its file, whatever its architecture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from busaug_core.classify.model import load_network
from busaug_core.classify.probe import load_probe
from busaug_core.classify.regression import LinearClassifier
from busaug_core.classify.weights import read_weights
from busaug_core.features.extractors import PROBE
from busaug_core.jobs.events import Steps
from busaug_core.jobs.run import Run
from busaug_core.records import Record


class Trained(Protocol):
    """What every trained classifier has."""

    @property
    def classes(self) -> list[str]:
        """The labels, in the order of the outputs."""
        ...

    @property
    def draws(self) -> Sequence[LinearClassifier]:
        """Classifiers that were trained besides, on draws of the training images; a network has none."""
        ...

    @property
    def network(self) -> nn.Module | None:
        """What turns images into logits, or into the features that these are linear in; None for formulas."""
        ...

    def load(self, path: str) -> np.ndarray:
        """The image of a file as it is looked at; raises UserError where it cannot be read."""
        ...

    def scores(self, images: Sequence[np.ndarray]) -> Tensor:
        """Logits, N × classes, of N images as `load` returns them, with their derivatives where these are asked for."""
        ...

    def logits_of(self, records: list[Record], run: Run, batch_size: int) -> Steps[np.ndarray | None]:
        """Yield progress; returns logits, float32 N × classes, of images, for use in a run.

        None in all but the main process of `accelerate launch`; all of its processes must call it.
        """
        ...


def load_classifier(path: Path, run: Run, device: torch.device) -> Trained:
    """The classifier of a weight file of `train_classifier`, for use in a run.

    Raises:
        UserError: it is none, or is a probe and its extractor has other weights here
        MissingWeights: it is a probe, and its extractor's weights are not here
    """
    document, tensors = read_weights(path)
    if document["arch"] == PROBE:
        return load_probe(path, document, tensors, run, device)
    return load_network(path, document, tensors).to(device)
