"""What the audit compares images by; each image is decoded once for all of it."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from busaug_core.data.audit.annotations import annotation_score
from busaug_core.data.audit.perceptual_hash import perceptual_hash
from busaug_core.data.audit.similarity import SIDE, locally_normalised
from busaug_core.data.audit.text import TextReader
from busaug_core.images import to_gray


@dataclass
class Descriptors:
    """An image reduced to what the audit compares.

    Attributes:
        normalised: float32 64×64, see `similarity.locally_normalised`
        perceptual_hash: float32 15×195, see `perceptual_hash.perceptual_hash`
        annotation_score: see `annotations.annotation_score`
        text: what is burnt in, see `text.TextReader`; None where it was not read
    """

    normalised: np.ndarray
    perceptual_hash: np.ndarray
    annotation_score: float
    text: str | None = None


def describe(image: Image.Image, read_text: TextReader | None = None) -> Descriptors:
    """The descriptors of a decoded image; its text only where there is a reader."""
    gray = to_gray(image, SIDE)
    text = None if read_text is None else read_text(image)
    return Descriptors(locally_normalised(gray), perceptual_hash(gray), annotation_score(image), text)
