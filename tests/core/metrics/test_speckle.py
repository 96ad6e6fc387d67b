"""Speckle statistics against closed forms, scikit-image and known changes of an image."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.feature import graycomatrix, graycoprops

from busaug_core.errors import UserError
from busaug_core.metrics.speckle import (
    autocorrelation_widths,
    compare,
    patch_snr,
    speckle_statistics,
    spectrum,
)
from busaug_core.simulate import simulate


def white(n, size, spread=20, seed=0):
    noise = np.random.default_rng(seed).normal(128, spread, (n, size, size))
    return noise.round().clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def scans():
    return np.stack([simulate(label, seed, 96).image for label in ("normal", "benign", "malignant") for seed in (0, 1)])


@pytest.fixture(scope="module")
def changed(scans):
    """The scans blurred and with noise added."""
    blurred = np.stack([gaussian_filter(scan.astype(float), 1) for scan in scans]).round().astype(np.uint8)
    noised = (scans + np.random.default_rng(0).normal(0, 15, scans.shape)).clip(0, 255).astype(np.uint8)
    return blurred, noised


@pytest.mark.parametrize("size", [64, 97])
def test_the_spectrum_of_white_noise_is_flat_at_its_variance(size):
    images = white(40, size)
    frequencies, power = spectrum(images)
    assert power.shape == (40, len(frequencies))
    assert np.all(np.diff(frequencies) > 0) and 1 / size <= frequencies[0] and frequencies[-1] < 0.5
    # The window takes some of the mean along in the lowest bands.
    assert power.mean(0)[3:] == pytest.approx(images.astype(float).var(), rel=0.15)


@pytest.mark.parametrize("angle", [0, 0.6, np.pi / 2])
def test_the_spectrum_of_a_wave_peaks_at_its_frequency_in_every_direction(angle):
    y, x = np.mgrid[:128, :128]
    wave = 128 + 90 * np.sin(2 * np.pi * 0.2 * (x * np.cos(angle) + y * np.sin(angle)))
    frequencies, power = spectrum(wave.round().astype(np.uint8)[None])
    assert frequencies[power[0].argmax()] == pytest.approx(0.2, rel=0.1)


def test_the_spectrum_does_not_leak_from_a_slope_into_high_frequencies():
    slope = np.broadcast_to(np.linspace(0, 255, 128), (128, 128)).round().astype(np.uint8)
    power = spectrum(slope[None])[1][0]
    assert power[-1] < 1e-5 * power[0]


def test_the_snr_of_fully_developed_speckle_is_that_of_rayleigh():
    rng = np.random.default_rng(0)
    envelope = np.hypot(*rng.normal(size=(2, 20, 128, 128)))
    decibel = 20 * np.log10(envelope / np.percentile(envelope, 90)) - 15
    images = ((decibel + 60) / 60 * 255).round().clip(0, 255).astype(np.uint8)
    assert np.mean([patch_snr(image) for image in images]) == pytest.approx(1.91, abs=0.05)
    assert np.isnan(patch_snr(np.zeros((64, 64), np.uint8)))


def test_autocorrelation_widths_are_those_of_the_point_spread():
    noise = np.random.default_rng(0).normal(size=(20, 256, 256))
    fields = [gaussian_filter(field, (1, 2)) for field in noise]
    images = [(128 + 40 * field / field.std()).clip(0, 255).astype(np.uint8) for field in fields]
    axial, lateral = np.mean([autocorrelation_widths(image) for image in images], 0)
    # The correlation of noise blurred by sigma is a Gaussian of sigma √2; taking anatomy off narrows it a little.
    full_width = 2 * np.sqrt(2 * np.log(2)) * np.sqrt(2)
    assert axial == pytest.approx(full_width * 1, rel=0.05)
    assert lateral == pytest.approx(full_width * 2, rel=0.1)


def test_co_occurrence_equals_scikit_images(scans):
    ours = speckle_statistics(scans)
    for i, scan in enumerate(scans):
        angles = [0, np.pi / 2]
        matrix = graycomatrix(scan // 8, [1], angles, levels=32, symmetric=True, normed=True)
        for name in ("contrast", "homogeneity", "correlation"):
            assert ours[f"glcm_{name}"][i] == pytest.approx(graycoprops(matrix, name).mean())


def test_first_order_statistics_have_their_closed_forms():
    ramp = np.arange(256, dtype=np.uint8).repeat(16).reshape(64, 64)
    found = {name: values[0] for name, values in speckle_statistics(ramp[None]).items()}
    assert found["mean"] == 127.5 and found["entropy"] == pytest.approx(8)
    assert found["std"] == pytest.approx(np.sqrt((256**2 - 1) / 12))
    assert found["skewness"] == pytest.approx(0, abs=1e-9) and found["kurtosis"] == pytest.approx(-1.2, abs=1e-3)


def test_a_blank_image_has_no_texture_and_raises_no_warning():
    with np.errstate(all="raise"):
        statistics = speckle_statistics(np.full((1, 64, 64), 90, np.uint8))
    absent = {name for name, values in statistics.items() if np.isnan(values[0])}
    assert absent == {"skewness", "kurtosis", "snr", "axial_width", "lateral_width", "glcm_correlation"}


def test_blur_and_noise_move_the_statistics_their_own_way(scans, changed):
    real, (blurred, noised) = speckle_statistics(scans), changed
    by_blur, by_noise = (compare(real, speckle_statistics(images)) for images in changed)
    for name, up in (("lateral_width", 1), ("glcm_homogeneity", 1), ("glcm_contrast", -1), ("snr", 1)):
        assert up * by_blur[name].d > 0 > up * by_noise[name].d
    assert by_blur["glcm_homogeneity"].low > 0 and abs(by_blur["mean"].d) < 0.1
    high = [spectrum(images)[1][:, -1].mean() for images in (blurred, scans, noised)]
    assert high == sorted(high)


def test_the_interval_of_a_difference_covers_the_truth():
    rng, inside = np.random.default_rng(0), []
    for _ in range(400):
        found = compare({"mean": rng.normal(0, 2, 30)}, {"mean": rng.normal(1, 2, 50)})["mean"]
        inside.append(found.low <= 0.5 <= found.high)
        assert found.low < found.d < found.high
    assert np.mean(inside) == pytest.approx(0.95, abs=0.03)


def test_statistics_that_images_lack_are_left_out_and_counted():
    found = compare({"snr": np.array([1, np.nan, 3])}, {"snr": np.array([2.0, 4, 6])})["snr"]
    assert found.n == (2, 3) and found.d == pytest.approx(2 / np.sqrt((2 + 2 * 4) / 3))
    assert compare({"snr": np.array([1, np.nan])}, {"snr": np.ones(3)})["snr"].d is None


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 64, 60), np.uint8), r"shape \(2, 64, 60\)"),
        (np.zeros((2, 64, 64)), "type float64"),
        (np.zeros((0, 64, 64), np.uint8), "no image to measure"),
    ],
)
def test_images_that_cannot_be_measured_are_refused(images, message):
    with pytest.raises(UserError, match=message):
        speckle_statistics(images)
    with pytest.raises(UserError, match=message):
        spectrum(images)
