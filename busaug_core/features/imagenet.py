"""The penultimate layer of any torchvision classifier with its ImageNet weights."""

from pathlib import Path
from typing import Any

import torch
import torchvision
from huggingface_hub import constants
from torch import Tensor, nn
from torchvision.transforms.functional import normalize

from busaug_core.errors import MissingWeights, UserError, first_sentence
from busaug_core.features.extractor import Extractor
from busaug_core.features.pickled import read_pickled
from busaug_core.files import content_hash


class ImageNetClassifier(Extractor):
    """A torchvision classifier without its last layer; torchvision's weights, not TF's, so never FID."""

    def __init__(self, device: torch.device, arch: str):
        weights, path = _published(arch)
        self.network = headless(imagenet_network(arch)).to(device, memory_format=torch.channels_last).eval()
        seen = weights.transforms()
        self.resolution, self.mean, self.std = seen.crop_size[0], seen.mean, seen.std
        self.name, self.metric = arch, f"FD ({arch})"
        self.weights = content_hash(path)
        self.device = device

    def features(self, images: Tensor) -> Tensor:
        return self.network(normalize(images, self.mean, self.std))


def refuse_unknown_network(arch: str) -> None:
    """Raises UserError where torchvision has no classifier of that name."""
    if arch not in torchvision.models.list_models(module=torchvision.models):
        raise UserError(f"torchvision has no classifier '{arch}'; resnet18, densenet121 and vit_b_16 are some.")


def headless(network: nn.Module) -> nn.Module:
    """The classifier with its last layer taken out, so that it answers with that layer's input, N×D.

    Where the last layer is a convolution (SqueezeNet), the network's own pooling averages over space.
    """
    name = [n for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, nn.Identity())
    return network


def imagenet_network(arch: str, **options: Any) -> nn.Module:
    """A torchvision classifier with its newest ImageNet weights, from the torch cache or downloaded.

    Raises:
        UserError: the file in the cache is not what its name says
        MissingWeights: it is not there and cannot be downloaded
    """
    weights, path = _published(arch)
    reason = "HF_HUB_OFFLINE is set"
    if path.exists():
        read_pickled(path, f"torchvision's weights of {arch}")
    if path.exists() or not constants.HF_HUB_OFFLINE:
        try:
            return torchvision.models.get_model(arch, weights=weights, **options)
        except RuntimeError as error:
            raise UserError(f"{path} holds other layers than {arch} ({first_sentence(error)}).") from None
        except OSError as error:
            reason = first_sentence(error)
    raise MissingWeights(
        f"ImageNet weights of {arch} are not here and cannot be downloaded ({reason}). Put torchvision's file "
        f"{path.name} into {path.parent}."
    )


def _published(arch: str) -> tuple[torchvision.models.WeightsEnum, Path]:
    """The newest weights of a classifier, and where they lie in the torch cache."""
    weights = torchvision.models.get_model_weights(arch).DEFAULT
    return weights, Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
