"""Vision transformers of the Hub: DINOv2 and CLIP."""

import hashlib
import re
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from torch import Tensor
from torchvision.transforms.functional import normalize

from busaug_core.base.weights import tensor_shapes
from busaug_core.errors import MissingWeights, UserError, first_sentence
from busaug_core.features.extractor import IMAGENET_MEAN, IMAGENET_STD, Extractor
from busaug_core.files import content_hash
from busaug_core.foreign import read_document

FILES = ["config.json", "model.safetensors", "model-*.safetensors", "model.safetensors.index.json"]


class Dinov2(Extractor):
    """The class token behind the last normalisation (Oquab et al. 2023); ViT-L as Stein et al. 2023 advise for FD."""

    default = "facebook/dinov2-large"
    resolution = 224

    def __init__(self, device: torch.device, place: str = ""):
        """`place`: a folder or Hub id."""
        from transformers import Dinov2Model

        folder = _folder(place or self.default, "dinov2")
        self.network = _load(Dinov2Model, folder).to(device)
        self.name, self.metric = "dinov2", "FD (DINOv2)"
        if place not in ("", self.default):
            self.name, self.metric = _own_names("dinov2", place)
        self.weights = _weights_of(folder)
        self.device = device

    def features(self, images: Tensor) -> Tensor:
        return self.network(normalize(images, IMAGENET_MEAN, IMAGENET_STD)).last_hidden_state[:, 0]


class Clip(Extractor):
    """The projected image embedding (Radford et al. 2021)."""

    default = "openai/clip-vit-large-patch14"

    def __init__(self, device: torch.device, place: str = ""):
        """`place`: a folder or Hub id."""
        from transformers import CLIPVisionModelWithProjection

        folder = _folder(place or self.default, "clip")
        self.network = _load(CLIPVisionModelWithProjection, folder).to(device)
        self.resolution = self.network.config.image_size
        self.name, self.metric = "clip", "FD (CLIP)"
        if place not in ("", self.default):
            self.name, self.metric = _own_names("clip", place)
        self.weights = _weights_of(folder)
        self.device = device

    def features(self, images: Tensor) -> Tensor:
        from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

        return self.network(normalize(images, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)).image_embeds


def _folder(place: str, kind: str) -> Path:
    """The folder itself, or the Hub's snapshot, with a config and safetensors."""
    folder = Path(place).expanduser()
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(place, allow_patterns=FILES))
        except (OSError, ValueError) as error:
            raise MissingWeights(
                f"'{place}' is no folder, and cannot be had from the Hub ({first_sentence(error)}). Download it "
                f"elsewhere and name its folder as in '{kind}:/path', or unset HF_HUB_OFFLINE where there is a network."
            ) from None
    if not list(folder.glob("model*.safetensors")):
        raise MissingWeights(f"'{place}' holds no model.safetensors; pickles are not read, so convert it first.")
    return folder


def _load(network: type, folder: Path) -> torch.nn.Module:
    """The network of a folder; layers that the folder lacks would be random, and are refused."""
    from transformers.utils import logging

    # The library's bar and its report of layers left unread would bury the job's progress.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    read_document(folder / "config.json", f"the configuration of a {network.__name__}")
    for path in sorted(folder.glob("model*.safetensors")):
        tensor_shapes(path, f"weights of a {network.__name__}")
    try:
        loaded, report = network.from_pretrained(folder, use_safetensors=True, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        reason = first_sentence(error)
        raise UserError(f"{folder} cannot be loaded as {network.__name__} ({reason}).") from None
    if report["missing_keys"]:
        raise UserError(f"{folder} holds no {network.__name__}: it lacks {sorted(report['missing_keys'])[0]}.")
    return loaded.eval()


def _weights_of(folder: Path) -> str:
    """SHA-256 of the weight file, or of the hashes of its shards."""
    hashes = [content_hash(path) for path in sorted(folder.glob("model*.safetensors"))]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _own_names(kind: str, place: str) -> tuple[str, str]:
    """Name and metric of other weights than the default, by their folder or Hub id."""
    own = re.sub(r"\W", "_", Path(place).name.lower())
    name = own if own.startswith(kind) else f"{kind}_{own}"
    return name, f"FD ({name})"
