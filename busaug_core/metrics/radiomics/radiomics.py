"""All radiomic features of an image, by family: the image that they are measured on, and their class."""

import numpy as np

from busaug_core.metrics.radiomics.filters import CONTRAST, ORIGINAL, SIGMAS, filtered_images
from busaug_core.metrics.radiomics.first_order import first_order
from busaug_core.metrics.radiomics.glcm import glcm
from busaug_core.metrics.radiomics.gldm import gldm
from busaug_core.metrics.radiomics.glrlm import glrlm
from busaug_core.metrics.radiomics.glszm import glszm
from busaug_core.metrics.radiomics.levels import BIN_WIDTH, gray_levels
from busaug_core.metrics.radiomics.ngtdm import ngtdm

DEFINITION = f"1: contrast {CONTRAST}, bins of {BIN_WIDTH}, LoG {SIGMAS}, coif1"
"""What the features depend on; its number is raised with every change of one, so that those kept are not mixed up."""
TEXTURES = {"GLCM": glcm, "GLRLM": glrlm, "GLSZM": glszm, "GLDM": gldm, "NGTDM": ngtdm}


def radiomic_features(image: np.ndarray) -> dict[str, dict[str, float]]:
    """Features by their name in pyradiomics, of each family such as `LoG 2 GLCM`; always the same names, in one order.

    Args:
        image: H×W of at least 2×2 pixels, any dtype
    """
    found = {}
    for name, values in filtered_images(image).items():
        levels = gray_levels(values)
        found[f"{name} first-order"] = first_order(values, levels)
        found |= {f"{name} {texture}": features(levels) for texture, features in TEXTURES.items()}
    del found[f"{ORIGINAL} first-order"]["Variance"]  # brought to one contrast, all images have the same
    return found
