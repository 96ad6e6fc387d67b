"""Networks that turn images into features. All take uint8 gray images N×S×S with S their `resolution`."""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from busaug_core.classify.model import FILE as CLASSIFIER_FILE
from busaug_core.classify.model import load_classifier
from busaug_core.errors import MissingWeights, UserError
from busaug_core.images import content_hash
from busaug_core.job import Run

INCEPTION = "inception"
INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"


class Extractor(Protocol):
    """A network and what it is called.

    Attributes:
        name: a Python identifier, as in the field `features_<name>`
        metric: what a Fréchet distance in these features is called
        caveat: what its distances suffer from, or nothing
        resolution: the side of its images in pixels
        weights: SHA-256 of its weights
    """

    name: str
    metric: str
    caveat: str
    resolution: int
    weights: str

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features, float32 N×D, of uint8 images N×S×S."""


class Inception:
    """Inception v3 with the TF-ported weights of published FIDs, by pytorch-fid; 2048 features."""

    name = INCEPTION
    metric = "FID"
    caveat = ""
    resolution = 299

    def __init__(self, device: torch.device):
        from pytorch_fid.inception import InceptionV3

        path = inception_weights()
        if path is None:
            raise MissingWeights(
                f"The Inception weights of FID are not here. Put pytorch-fid's {INCEPTION_FILE} into "
                f"{_hub_folder()}, or name a classifier's run as the extractor."
            )
        self.weights = content_hash(path)
        self.device = device
        self.network = InceptionV3([InceptionV3.BLOCK_INDEX_BY_DIM[2048]], resize_input=False).to(device).eval()

    @torch.no_grad()
    def __call__(self, images: np.ndarray) -> np.ndarray:
        gray = torch.from_numpy(images).to(self.device)[:, None].expand(-1, 3, -1, -1).float() / 255
        return self.network(gray)[0].flatten(1).cpu().numpy()


class ClassifierFeatures:
    """The penultimate layer of a classifier trained here; a stand-in with a name of its own, not FID."""

    metric = "FD (classifier)"
    caveat = "; the classifier was trained on some of them, so the floor is too high if anything"

    def __init__(self, run: Run, device: torch.device):
        trained = run.config if run.state == "done" else {}
        if trained.get("include"):
            raise UserError(
                f"Classifier '{run.key}' was trained with synthetic images ({', '.join(trained['include'])}), which "
                "would flatter them; name one that was trained on real images alone."
            )
        self.name = run.key
        self.device = device
        self.network = load_classifier(run).to(device)
        self.resolution = self.network.resolution
        self.weights = content_hash(run.folder / CLASSIFIER_FILE)

    @torch.no_grad()
    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self.network.features(torch.from_numpy(images).to(self.device)).float().cpu().numpy()


def make_extractor(name: str, run: Run, device: torch.device) -> Extractor:
    """`inception`, or the classifier run of that key beside `run`."""
    if name == INCEPTION:
        return Inception(device)
    return ClassifierFeatures(run.sibling(name), device)


def inception_weights() -> Path | None:
    """Where pytorch-fid's weights lie in the torch cache, or None."""
    path = _hub_folder() / INCEPTION_FILE
    return path if path.exists() else None


def _hub_folder() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"
