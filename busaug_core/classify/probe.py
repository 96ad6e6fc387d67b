"""A linear probe: a classifier that reads classes off the features of a network that it does not train."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from busaug_core.classify.config import RESAMPLED
from busaug_core.classify.regression import LinearClassifier
from busaug_core.classify.weights import save_weights
from busaug_core.errors import UserError
from busaug_core.features.cache import AS_IS, Features, Seen, extract, is_larger
from busaug_core.features.extractor import Extractor
from busaug_core.features.extractors import PROBE, is_of_a_run, make_extractor
from busaug_core.foreign import reading
from busaug_core.jobs.events import Steps
from busaug_core.jobs.run import Run
from busaug_core.records import Record

BATCH_SIZE = 32
"""Images at a time while the features of a training are computed."""

TENSORS = ("mean", "std", "coefficients", "intercept")
OF_A_DRAW = TENSORS[2:]
"""What a probe on a draw of the training images has of its own."""


@dataclass(frozen=True)
class Probe:
    """A linear classifier of an extractor's features.

    Attributes:
        resolution: the side in pixels that larger images are reduced to; None: the extractor takes all as they are
        draws: the classifiers that were trained besides, on draws of the training images
    """

    extractor: Extractor
    resolution: int | None
    linear: LinearClassifier
    draws: tuple[LinearClassifier, ...] = ()

    @property
    def classes(self) -> list[str]:
        return self.linear.classes

    @property
    def network(self) -> nn.Module | None:
        return self.extractor.network

    def load(self, path: str) -> np.ndarray:
        """The image of a file as the extractor takes it, reduced where it is larger than `resolution`."""
        side = self.resolution
        return self.extractor.load(path, side if side is not None and is_larger(path, side) else None)

    def scores(self, images: Sequence[np.ndarray]) -> Tensor:
        """Logits, float32 N × classes, of N images as `load` returns them."""
        features = self.extractor.features(self.extractor.prepare(images)).float()
        scaled = self.linear.coefficients / self.linear.std
        offset = self.linear.intercept - scaled @ self.linear.mean
        weight, bias = (torch.from_numpy(part).to(features) for part in (scaled, offset))
        return features @ weight.T + bias

    def logits_of(self, records: list[Record], run: Run, batch_size: int) -> Steps[np.ndarray | None]:
        """Yield progress; returns logits, float32 N × classes, of images, whose features are kept.

        None in all but the main process of `accelerate launch`, each of which computes its share of the features.
        """
        features = yield from features_of(records, self.extractor, self.resolution, run, batch_size)
        return None if features is None else self.linear.logits(features.matrix)

    def logits_of_draws(self, records: list[Record], run: Run, batch_size: int) -> Steps[np.ndarray | None]:
        """As `logits_of`, by each of the `draws`: float32 R × N × classes."""
        features = yield from features_of(records, self.extractor, self.resolution, run, batch_size)
        return None if features is None else np.stack([drawn.logits(features.matrix) for drawn in self.draws])

    def save(self, run: Run) -> None:
        """Write the probe into the folder of the run that trained it."""
        tensors = {name: torch.from_numpy(getattr(self.linear, name).copy()) for name in TENSORS}
        document = {
            "arch": PROBE,
            "classes": self.classes,
            "resolution": self.resolution,
            "extractor": _name(run),
            "extractor_weights": self.extractor.weights,
        }
        save_weights(run.folder, tensors, document)


def load_probe(
    path: Path, document: dict[str, Any], tensors: dict[str, torch.Tensor], run: Run, device: torch.device
) -> Probe:
    """The probe of a file, given what `read_weights` found in it, for use in a run.

    Raises:
        UserError: the file is none of a probe, or its extractor has other weights here
        MissingWeights: its extractor's weights are not here
    """
    with reading(path, "a probe"):
        linear = LinearClassifier(document["classes"], *(tensors[name].numpy() for name in TENSORS))
        name, resolution, known = (document[key] for key in ("extractor", "resolution", "extractor_weights"))
        if linear.coefficients.shape != (len(linear.classes), len(linear.mean)):
            raise ValueError("its coefficients do not fit its classes")
    if is_of_a_run(name):
        name = str(Run(path.parent).sibling(name).folder)
    extractor = make_extractor(name, run, device)
    if extractor.weights != known:
        raise UserError(
            f"The probe {path} was trained on the features of {document['extractor']} with other weights than are here "
            f"(SHA-256 {known[:8]}…, here {extractor.weights[:8]}…); put those back, or train the probe anew."
        )
    return Probe(extractor, resolution, linear, _read_draws(path.parent / RESAMPLED, linear))


def _read_draws(path: Path, linear: LinearClassifier) -> tuple[LinearClassifier, ...]:
    """The probes on draws beside a probe; none where there is no such file, or an earlier version wrote it."""
    tensors = load_file(path) if path.exists() else {}
    shapes = [getattr(linear, name).shape for name in OF_A_DRAW]
    if not tensors.keys() >= {*OF_A_DRAW} or [tensors[name].shape[1:] for name in OF_A_DRAW] != shapes:
        return ()
    parts = zip(*(tensors[name] for name in OF_A_DRAW), strict=True)
    return tuple(replace(linear, **dict(zip(OF_A_DRAW, part, strict=True))) for part in parts)


def features_of(
    records: list[Record],
    extractor: Extractor,
    resolution: int | None,
    run: Run,
    batch_size: int = BATCH_SIZE,
    view: Seen = AS_IS,
) -> Steps[Features | None]:
    """The features that a probe sees, of the images as they are or of a view; as `extract` returns them."""
    return (yield from extract(records, extractor, run, batch_size, replace(view, side=resolution)))


def _name(run: Run) -> str:
    """What the extractor of a training is found by from there: a run beside it by its key, any other by its folder."""
    used = run.used.get("extractor")
    if used is None or used.run is None:
        return run.config["extractor"]
    return used.run.key if used.run.folder.parent == run.folder.parent else str(used.run.folder)
