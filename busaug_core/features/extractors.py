"""Networks that turn images into features, by name."""

import torch

from busaug_core.classify.features import ClassifierFeatures, classifiers_beside
from busaug_core.errors import UserError
from busaug_core.features.extractor import Extractor
from busaug_core.features.imagenet import ImageNetClassifier
from busaug_core.features.inception import (
    INCEPTION,
    INCEPTION_FILE,
    Inception,
    LegacyInception,
    inception_weights,
)
from busaug_core.features.transformer import Clip, Dinov2
from busaug_core.jobs.run import Run

__all__ = [
    "CANONICAL",
    "INCEPTION",
    "INCEPTION_FILE",
    "LEGACY",
    "NAMES",
    "PREPROCESSINGS",
    "ClassifierFeatures",
    "Extractor",
    "Inception",
    "inception_weights",
    "make_extractor",
]

CANONICAL, LEGACY = "canonical", "legacy"
PREPROCESSINGS = (CANONICAL, LEGACY)
WIDTHS = {INCEPTION: 2048, "inception-64": 64, "inception-192": 192, "inception-768": 768}
TRANSFORMERS = {"dinov2": Dinov2, "clip": Clip}
TORCHVISION = "torchvision"
NAMES = (*WIDTHS, *TRANSFORMERS, f"{TORCHVISION}:resnet50")
"""What can be asked for without a run; any torchvision classifier may stand for resnet50."""


def make_extractor(name: str, run: Run, device: torch.device, preprocessing: str = CANONICAL) -> Extractor:
    """The extractor of that name.

    Args:
        name: `inception` (2048 features), `inception-64`, `inception-192`, `inception-768`, `dinov2` or `clip`,
            each perhaps with other weights behind a colon (a file, or for the latter two a folder or Hub id);
            `torchvision:` and a classifier's name; the key of a classifier run beside `run`, or the folder of any
        preprocessing: `canonical`, or for the Inceptions `legacy`, which is pytorch-fid's own

    Raises:
        UserError: there is no such extractor, or it cannot work with this preprocessing
        MissingWeights: its weights cannot be had here
    """
    kind, _, place = name.partition(":")
    if preprocessing not in PREPROCESSINGS:
        raise UserError(f"There is no preprocessing '{preprocessing}'; there are {' and '.join(PREPROCESSINGS)}.")
    if preprocessing == LEGACY and kind not in WIDTHS:
        raise UserError(f"The preprocessing '{LEGACY}' is pytorch-fid's, for {', '.join(WIDTHS)}; '{name}' has none.")
    if kind in WIDTHS:
        return (LegacyInception if preprocessing == LEGACY else Inception)(device, place, WIDTHS[kind])
    if kind in TRANSFORMERS:
        return TRANSFORMERS[kind](device, place)
    if kind == TORCHVISION:
        return ImageNetClassifier(device, place)
    trained = run.sibling(name)
    if not trained.folder.is_dir():
        runs = ", ".join(classifiers_beside(run)) or "none yet"
        raise UserError(
            f"There is no extractor '{name}'; there are {', '.join(NAMES)} (or another classifier of torchvision), "
            f"and the classifier runs of this dataset: {runs}."
        )
    return ClassifierFeatures(trained, device, run.name_of(trained))
