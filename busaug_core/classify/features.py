"""The penultimate layer of a classifier trained here."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from busaug_core.classify.model import FILE, load_classifier
from busaug_core.errors import UserError
from busaug_core.features.extractor import Extractor
from busaug_core.images import content_hash
from busaug_core.jobs.run import Run


class ClassifierFeatures(Extractor):
    """A stand-in with a name of its own, not FID; the network normalises by itself."""

    metric = "FD (classifier)"

    def __init__(self, run: Run, device: torch.device, name: str | None = None):
        """`name`: what its features are called, by default the run's key."""
        trained = run.config if run.state == "done" else {}
        if trained.get("include"):
            raise UserError(
                f"Classifier '{run.key}' was trained with synthetic images ({', '.join(trained['include'])}), which "
                "would flatter them; name one that was trained on real images alone."
            )
        self.name = name or run.key
        self.device = device
        self.network = load_classifier(run).to(device)
        self.resolution = self.network.resolution
        self.weights = content_hash(run.folder / FILE)
        self.trained_on = run.training_files

    def prepare(self, images: Sequence[np.ndarray]) -> Tensor:
        """uint8 N×S×S."""
        return torch.from_numpy(np.stack(images)).to(self.device)

    def features(self, images: Tensor) -> Tensor:
        return self.network.features(images)


def classifiers_beside(run: Run) -> list[str]:
    """The keys of the dataset's finished classifier runs."""
    return sorted(path.parent.name for path in run.folder.parent.glob(f"*/{FILE}"))
