"""Inception v3 with the TF-ported weights of published FIDs, by pytorch-fid."""

from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from huggingface_hub import constants
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from busaug_core.base.weights import load_weights
from busaug_core.errors import MissingWeights, UserError, first_sentence
from busaug_core.features.extractor import Extractor
from busaug_core.features.extractors import INCEPTION, INCEPTION_FILE, LITE0, hub_folder, inception_weights
from busaug_core.features.pickled import read_pickled
from busaug_core.files import content_hash

PUBLISHED = "6726825d"
"""How the SHA-256 of the published weights begins."""


class Inception(Extractor):
    """Features of the last pooling (2048), or of a shallower block (64, 192, 768) averaged over space."""

    resolution = 299
    suffix = ""

    def __init__(self, device: torch.device, place: str = "", width: int = 2048):
        """`place`: a file of weights; by default the one in the torch cache, or else pytorch-fid's download."""
        from pytorch_fid import inception

        path = Path(place).expanduser() if place else inception_weights() or _download()
        wanted = "weights of pytorch-fid's Inception"
        state = load_weights(path, wanted) if path.suffix == ".safetensors" else read_pickled(path, wanted)
        try:
            with patch.object(inception, "load_state_dict_from_url", lambda *_, **__: state):
                blocks = [inception.InceptionV3.BLOCK_INDEX_BY_DIM[width]]
                network = inception.InceptionV3(blocks, resize_input=False)
        except RuntimeError as error:
            raise UserError(
                f"{path} holds other layers than pytorch-fid's Inception ({first_sentence(error)})."
            ) from None
        self.network = network.to(device, memory_format=torch.channels_last).eval()
        self.name = (INCEPTION if width == 2048 else f"{INCEPTION}_{width}") + self.suffix
        self.weights = content_hash(path)
        name = "FID" if self.weights.startswith(PUBLISHED) else "FD (Inception, other weights)"
        self.metric = name if width == 2048 else f"{name} ({width} features)"
        self.device = device

    def features(self, images: Tensor) -> Tensor:
        return adaptive_avg_pool2d(self.network(images)[0], 1).flatten(1)


class LegacyInception(Inception):
    """The same with pytorch-fid's own preprocessing, pixel for pixel: colour, and aliased where it is shrunk."""

    preprocessing = "pytorch-fid's: RGB, whole image to a square, torch bilinear without antialiasing, 299 px"
    suffix = "_legacy"

    def take(self, image: Image.Image) -> np.ndarray:
        """An image as uint8 H×W×3."""
        return np.array(image.convert("RGB"))

    def prepare(self, images: Sequence[np.ndarray]) -> Tensor:
        """One by one, since images of different sizes make no batch."""
        square = (self.resolution, self.resolution)
        tensors = (torch.from_numpy(image).to(self.device).permute(2, 0, 1).contiguous() for image in images)
        resized = [interpolate(t[None].float() / 255, square, mode="bilinear", align_corners=False) for t in tensors]
        return torch.cat(resized)


def _download() -> Path:
    """Fetch pytorch-fid's weights into the torch cache."""
    from pytorch_fid.inception import FID_WEIGHTS_URL, load_state_dict_from_url

    reason = "HF_HUB_OFFLINE is set"
    if not constants.HF_HUB_OFFLINE:
        try:
            load_state_dict_from_url(FID_WEIGHTS_URL, progress=False, check_hash=True, weights_only=True)
        except (OSError, RuntimeError) as error:
            reason = str(error)
        else:
            return hub_folder() / INCEPTION_FILE
    raise MissingWeights(
        f"The Inception weights of FID are not here and cannot be downloaded ({reason}). Put pytorch-fid's "
        f"{INCEPTION_FILE} into {hub_folder()}, name the file as 'inception:/path/to/{INCEPTION_FILE}', "
        f"or name another extractor, such as {LITE0}."
    )
