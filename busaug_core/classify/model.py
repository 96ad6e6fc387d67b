"""A torchvision classifier for gray images: making, saving, loading, and its penultimate features."""

from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from busaug_core.classify.weights import save_weights
from busaug_core.errors import UserError, first_sentence
from busaug_core.features.efficientnet_lite import MEAN, STD, EfficientNetLite0, Lite0, lite0
from busaug_core.features.extractor import IMAGENET_MEAN, IMAGENET_STD
from busaug_core.features.extractors import LITE0
from busaug_core.features.imagenet import imagenet_network, refuse_unknown_network
from busaug_core.files import refuse_missing
from busaug_core.foreign import reading
from busaug_core.images import load_gray
from busaug_core.jobs.events import Progress, Steps
from busaug_core.jobs.run import Run
from busaug_core.parallel import in_order
from busaug_core.records import Record


class Classifier(nn.Module):
    """A torchvision network, or EfficientNet-Lite0, with one output for each class; takes uint8 N×S×S gray images.

    Attributes:
        arch: torchvision's name, or `efficientnet_lite0`
        classes: the labels, in the order of the outputs
        resolution: S, the side of its images in pixels
    """

    draws = ()

    def __init__(self, arch: str, classes: list[str], resolution: int, pretrained: bool = False):
        super().__init__()
        self.arch, self.classes, self.resolution = arch, classes, resolution
        if arch != LITE0:
            refuse_unknown_network(arch)
        self.network = _build(arch, resolution, pretrained)
        self.head_name = _replace_head(self.network, len(classes))
        mean, std = (MEAN, STD) if arch == LITE0 else (IMAGENET_MEAN, IMAGENET_STD)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N × classes, of uint8 images N×S×S."""
        gray = images[:, None].expand(-1, 3, -1, -1).float() / 255
        output = self.network((gray - self.mean) / self.std)
        # Inception and GoogLeNet answer with auxiliary outputs too while they train.
        return output if isinstance(output, Tensor) else output[0]

    def features(self, images: Tensor) -> Tensor:
        """The last layer's input, N × width; maps are averaged over space."""
        kept: list[Tensor] = []
        head = self.network.get_submodule(self.head_name)
        hook = head.register_forward_pre_hook(lambda _module, args: kept.append(args[0]))
        try:
            self(images)
        finally:
            hook.remove()
        return kept[0].mean((2, 3)) if kept[0].ndim == 4 else kept[0]

    def load(self, path: str) -> np.ndarray:
        """The image of a file, uint8 S×S; raises UserError where it cannot be read."""
        return load_gray(path, self.resolution)

    def scores(self, images: Sequence[np.ndarray]) -> Tensor:
        """Logits, N × classes, of N images as `load` returns them."""
        return self(torch.from_numpy(np.stack(images)).to(self.mean.device))

    def logits_of(self, records: list[Record], run: Run, batch_size: int) -> Steps[np.ndarray | None]:
        """Yield progress; returns logits, float32 N × classes, of images.

        None in all but the main process of `accelerate launch`, which does the work.
        """
        if not run.is_main:
            return None
        paths = [r.path for r in records]
        refuse_missing(paths)
        logits = []
        images = in_order(self.load, paths)
        for done in range(0, len(paths), batch_size):
            batch = np.stack(list(islice(images, batch_size)))
            logits.append(predict(self, batch, batch_size, self.mean.device))
            yield Progress(done + len(batch), len(paths), "Classifying images")
        return np.concatenate(logits)

    def save(self, folder: Path) -> None:
        document = {"arch": self.arch, "classes": self.classes, "resolution": self.resolution}
        save_weights(folder, {k: v.contiguous().cpu() for k, v in self.state_dict().items()}, document)


def refuse_network(arch: str, resolution: int) -> None:
    """Raises UserError where there is no such network or it cannot train on images of that size; makes no weights."""
    # RegNet looks at its weights while it is made; it takes images of any size.
    with torch.device("meta"), suppress(NotImplementedError):
        model = Classifier(arch, ["", ""], resolution)
        try:
            model.train()(torch.zeros(2, resolution, resolution, dtype=torch.uint8))
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            raise _of_another_size(arch, resolution, error) from None


def load_network(path: Path, document: dict[str, Any], tensors: dict[str, Tensor]) -> Classifier:
    """The classifier of a file, given what `read_weights` found in it, in evaluation mode.

    Raises UserError where they do not fit one another.
    """
    with reading(path, "a classifier", RuntimeError):
        model = Classifier(**document)
        model.load_state_dict(tensors)
    return model.eval()


@torch.no_grad()
def predict(model: Classifier, images: np.ndarray, batch_size: int, device: torch.device) -> np.ndarray:
    """Logits, float32 N × classes, of uint8 images N×S×S; raises UserError where they are not finite."""
    starts = range(0, len(images), batch_size)
    batches = [model(torch.from_numpy(images[i : i + batch_size]).to(device)) for i in starts]
    logits = torch.cat(batches).float().cpu().numpy()
    if not np.isfinite(logits).all():
        raise UserError("The classifier's outputs are not finite, so it was not trained well; lower learning_rate.")
    return logits


def _build(arch: str, resolution: int, pretrained: bool) -> nn.Module:
    """The network with ImageNet's head; of the same layers and the same input with its weights and without."""
    if arch == LITE0:
        return lite0() if pretrained else EfficientNetLite0()
    options: dict[str, Any] = {}
    if arch in ("googlenet", "inception_v3"):
        options = dict(aux_logits=True, transform_input=True)
    elif arch.startswith("vit_"):
        options = dict(image_size=resolution)
    elif arch.startswith("maxvit"):
        options = dict(input_size=(resolution, resolution))
    try:
        return imagenet_network(arch, **options) if pretrained else torchvision.models.get_model(arch, **options)
    except (AssertionError, ValueError) as error:
        raise _of_another_size(arch, resolution, error) from None


def _of_another_size(arch: str, resolution: int, error: Exception) -> UserError:
    own = Lite0.resolution
    if arch != LITE0:
        own = torchvision.models.get_model_weights(arch).DEFAULT.transforms().crop_size[0]
    reason = first_sentence(error)
    return UserError(f"{arch} takes no images of {resolution} px ({reason}); set another resolution, its own is {own}.")


def _replace_head(network: nn.Module, outputs: int) -> str:
    """Give the network's last layer the wanted number of outputs; returns that layer's name."""
    name, last = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    if isinstance(last, nn.Linear):
        head: nn.Module = nn.Linear(last.in_features, outputs)
    else:
        head = nn.Conv2d(last.in_channels, outputs, last.kernel_size, last.stride, last.padding)
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, head)
    return name
