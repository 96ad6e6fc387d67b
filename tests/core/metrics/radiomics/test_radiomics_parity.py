"""Radiomic features beside numpyradiomics', which has all but the run lengths in two dimensions."""

import numpy as np
import numpyradiomics
import pytest
from numpyradiomics.mod_filters import apply_log_numpy, apply_wavelet_numpy

from busaug_core.metrics.radiomics.filters import filtered_images
from busaug_core.metrics.radiomics.first_order import first_order
from busaug_core.metrics.radiomics.glcm import glcm
from busaug_core.metrics.radiomics.gldm import gldm
from busaug_core.metrics.radiomics.glszm import glszm
from busaug_core.metrics.radiomics.levels import BIN_WIDTH, gray_levels
from busaug_core.metrics.radiomics.ngtdm import ngtdm
from busaug_core.simulate import simulate

CLASSES = {"firstorder": first_order, "glcm": glcm, "glszm": glszm, "gldm": gldm, "ngtdm": ngtdm}
OTHER_NAMES = {
    "SizeZoneNonUniformity": "ZoneSizeNonUniformity",
    "SizeZoneNonUniformityNormalized": "ZoneSizeNonUniformityNormalized",
    "ZoneVariance": "ZoneSizeVariance",
}
RNG = np.random.default_rng(0)
IMAGES = {
    "scan": simulate("malignant", 3, 64).image,
    "noise": RNG.integers(0, 256, (64, 64), np.uint8),
    "two levels": RNG.integers(0, 2, (32, 32), np.uint8),
    "gaps between levels": (RNG.integers(0, 4, (32, 48)) ** 3 * 9).astype(np.uint8),
    "one bright pixel": np.pad([[255]], ((3, 8), (9, 6))).astype(np.uint8),
    "gradient": np.add.outer(np.arange(40), np.arange(64)).astype(np.uint8),
}


@pytest.mark.parametrize("features", CLASSES)
@pytest.mark.parametrize("image", IMAGES)
def test_features_equal_numpyradiomics_on_every_filtered_image(image, features):
    for name, values in filtered_images(IMAGES[image]).items():
        levels = gray_levels(values)
        ours = CLASSES[features](*([values] if features == "firstorder" else []), levels)
        theirs = getattr(numpyradiomics, features)(values, np.ones(values.shape), binWidth=BIN_WIDTH)
        assert len(ours) == {"firstorder": 14, "glcm": 22, "glszm": 16, "gldm": 14, "ngtdm": 5}[features]
        for feature, value in ours.items():
            expected = theirs[OTHER_NAMES.get(feature, feature)]
            assert value == pytest.approx(expected, rel=1e-6, abs=1e-6), f"{feature} of {name}"


@pytest.mark.parametrize("image", ["scan", "noise", "gaps between levels"])
def test_wavelet_bands_are_pywavelets_own(image):
    found = filtered_images(IMAGES[image])
    for name, band in apply_wavelet_numpy(found["original"]).items():
        np.testing.assert_allclose(found[f"wavelet {name[::-1]}"], band, atol=1e-9)  # there down comes first


@pytest.mark.parametrize("sigma", [2, 3, 4, 5])
def test_a_laplacian_of_gaussian_is_the_usual_one_within_a_hundredth(sigma):
    found = filtered_images(IMAGES["scan"])
    usual = sigma**2 * apply_log_numpy(found["original"], sigma, (1, 1))
    assert np.sqrt(np.mean(np.square(found[f"LoG {sigma}"] - usual))) < 0.01 * usual.std()
