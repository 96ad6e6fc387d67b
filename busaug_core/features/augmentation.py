"""TrivialAugment of single images."""

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torchvision.transforms.v2 import TrivialAugmentWide


def trivial_augment(image: np.ndarray) -> np.ndarray:
    """An image, uint8 H×W or H×W×3, changed by one operation of TrivialAugment (Müller and Hutter 2021).

    Operation and strength are drawn from torch's generator.
    """
    channels = torch.tensor(np.atleast_3d(image)).permute(2, 0, 1)
    return TrivialAugmentWide()(channels).permute(1, 2, 0).numpy().reshape(image.shape)


def seeded_trivial_augment(image: np.ndarray, seed: Sequence[int]) -> np.ndarray:
    """`trivial_augment` with a draw of the seed and the image's pixels; torch's generator is left as it was."""
    rng = np.random.default_rng([*seed, zlib.crc32(image)])
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(rng.integers(2**31)))
        return trivial_augment(image)
