"""What the audit sees of one image; a decoded image is looked at once."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from busaug_core.data.audit.annotations import annotation_score
from busaug_core.data.audit.perceptual_hash import outline
from busaug_core.data.audit.similarity import SIDE, detail
from busaug_core.images import to_gray


@dataclass
class Look:
    """An image as the audit sees it; the arrays are explained in `similarity` and `outlines`."""

    detail: np.ndarray
    outline: np.ndarray
    annotation_score: float

    @classmethod
    def at(cls, image: Image.Image) -> "Look":
        gray = to_gray(image, SIDE)
        return cls(detail(gray), outline(gray), annotation_score(image))
