"""What every extractor is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from busaug_core.images import PREPROCESSING, load_gray, open_image, to_gray
from busaug_core.jobs.run import Run

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""As torchvision's weights expect images to be scaled."""


class Extractor(ABC):
    """What turns images into features, and what it is called: a network, or a list of formulas.

    Networks see gray images of one size, repeated in three channels. Those with ImageNet weights are
    kept in memory with channels last, which makes Inception 1.8 times as fast on a CPU.

    Attributes:
        name: a Python identifier, as in the field `features_<name>`
        metric: what a Fréchet distance in these features is called
        run: the run that trained it, where it was trained here
        resolution: the side of its images in pixels
        weights: SHA-256 of its weights, or of what defines features that have none
        families: the columns of features that belong together, by name, where features have a meaning
        cpu_batch: images that a CPU takes at a time; for more, most layers would fetch their memory anew from the
            system, at several times the cost
        preprocessing: what is done to an image before the network's own normalisation
        network: in whose layers there are maps of features; None where it is a list of formulas
    """

    name: str
    metric: str
    run: Run | None = None
    resolution: int
    weights: str
    device: torch.device
    families: dict[str, slice] = {}
    cpu_batch = 4
    network: nn.Module | None = None

    @property
    def preprocessing(self) -> str:
        return f"{PREPROCESSING}, {self.resolution} px"

    def load(self, path: str, side: int | None = None) -> np.ndarray:
        """The image of a file as this extractor takes it, uint8 S×S, perhaps first brought to so many pixels a side.

        Raises UserError where it cannot be read.
        """
        return self.take(open_image(path) if side is None else Image.fromarray(load_gray(path, side)))

    def take(self, image: Image.Image) -> np.ndarray:
        """An image as `load` returns it."""
        return to_gray(image, self.resolution)

    @torch.no_grad()
    def __call__(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Features, float32 N×D, of N images as `load` returns them."""
        at_once = self.cpu_batch if self.device.type == "cpu" else len(images)
        parts = [images[i : i + at_once] for i in range(0, len(images), at_once)]
        return np.concatenate([self.features(self.prepare(part)).float().cpu().numpy() for part in parts])

    def prepare(self, images: Sequence[np.ndarray]) -> Tensor:
        """Images on the device, float32 N×3×S×S in [0, 1]."""
        return torch.from_numpy(np.stack(images)).to(self.device)[:, None].expand(-1, 3, -1, -1).float() / 255

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Features N×D of what `prepare` returns; the network's own normalisation is done here."""

    def standardise(self, features: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """Features N×D in the units that they are compared in, given those of a reference set, M×D: as they are."""
        return features
