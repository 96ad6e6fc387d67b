"""Radiomic features as an extractor: a domain distance without a network, whose features have names."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from busaug_core.features.extractor import Extractor
from busaug_core.features.extractors import RADIOMICS
from busaug_core.metrics.frd import z_scores
from busaug_core.metrics.radiomics.radiomics import DEFINITION, radiomic_features
from busaug_core.parallel import in_order


class Radiomics(Extractor):
    """The 782 features of `radiomic_features`, on the CPU; distances are taken in their z-scores (see `metrics.frd`).

    Images have 224 px: frd-score halves them, which leaves about as many of a scan of BUSI as it is distributed.
    """

    name = RADIOMICS
    metric = "FRD"
    resolution = 224
    cpu_batch = 1024

    def __init__(self, device: torch.device, place: str = ""):
        self.device = torch.device("cpu")
        self.weights = hashlib.sha256(DEFINITION.encode()).hexdigest()
        self.families, end = {}, 0
        for family, features in radiomic_features(np.eye(8)).items():
            self.families[family] = slice(end, end := end + len(features))

    def prepare(self, images: Sequence[np.ndarray]) -> Tensor:
        """uint8 N×S×S."""
        return torch.from_numpy(np.stack(images))

    def features(self, images: Tensor) -> Tensor:
        return torch.tensor(list(in_order(_values, images.numpy())), dtype=torch.float32)

    def standardise(self, features: np.ndarray, reference: np.ndarray) -> np.ndarray:
        return z_scores(features, reference)


def _values(image: np.ndarray) -> list[float]:
    return [value for family in radiomic_features(image).values() for value in family.values()]
