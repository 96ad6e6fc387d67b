"""Radiomic features against matrices worked out by hand, and what holds for all of them."""

import numpy as np
import pytest
from scipy.ndimage import label

from busaug_core.metrics.radiomics.filters import filtered_images
from busaug_core.metrics.radiomics.glcm import matrices
from busaug_core.metrics.radiomics.gldm import dependences
from busaug_core.metrics.radiomics.glrlm import glrlm, runs
from busaug_core.metrics.radiomics.glszm import zones
from busaug_core.metrics.radiomics.levels import Levels, gray_levels
from busaug_core.metrics.radiomics.ngtdm import matrix
from busaug_core.metrics.radiomics.radiomics import radiomic_features
from busaug_core.simulate import simulate

PICTURE = Levels.of(np.array([[1, 1, 2, 4], [1, 2, 2, 4], [4, 4, 4, 1]]))
# Rows: the levels 1, 2, 4; columns: runs of one, two and three pixels.
ACROSS = [[2, 1, 0], [1, 1, 0], [2, 0, 1]]
DOWN = [[2, 1, 0], [1, 1, 0], [3, 1, 0]]
FALLING = [[4, 0, 0], [3, 0, 0], [5, 0, 0]]
RISING = DOWN

WAVELETS = ("LL", "LH", "HL", "HH")


def counted(rank, sizes, width=3):
    table = np.zeros((3, width), int)
    np.add.at(table, (rank, sizes - 1), 1)
    return table.tolist()


def test_runs_are_those_counted_by_hand_in_each_direction():
    assert [counted(*found) for found in runs(PICTURE)] == [ACROSS, DOWN, FALLING, RISING]


def by_definition(table, pixels):
    """The features of one run length matrix, sum by sum (Galloway 1975; Chu et al. 1990; Dasarathy and Holder 1991)."""
    p, i, j = np.array(table, float), np.array([1, 2, 4])[:, None], np.array([1, 2, 3])
    n = p.sum()
    share = p / n
    return {
        "ShortRunEmphasis": (share / j**2).sum(),
        "LongRunEmphasis": (share * j**2).sum(),
        "GrayLevelNonUniformity": (p.sum(1) ** 2).sum() / n,
        "GrayLevelNonUniformityNormalized": (p.sum(1) ** 2).sum() / n**2,
        "RunLengthNonUniformity": (p.sum(0) ** 2).sum() / n,
        "RunLengthNonUniformityNormalized": (p.sum(0) ** 2).sum() / n**2,
        "RunPercentage": n / pixels,
        "LowGrayLevelRunEmphasis": (share / i**2).sum(),
        "HighGrayLevelRunEmphasis": (share * i**2).sum(),
        "ShortRunLowGrayLevelEmphasis": (share / i**2 / j**2).sum(),
        "ShortRunHighGrayLevelEmphasis": (share * i**2 / j**2).sum(),
        "LongRunLowGrayLevelEmphasis": (share * j**2 / i**2).sum(),
        "LongRunHighGrayLevelEmphasis": (share * i**2 * j**2).sum(),
        "GrayLevelVariance": (share * (i - (share * i).sum()) ** 2).sum(),
        "RunVariance": (share * (j - (share * j).sum()) ** 2).sum(),
        "RunEntropy": -sum(x * np.log2(x) for x in share.ravel() if x),
    }


def test_run_length_features_are_the_means_of_those_of_the_matrices():
    tables = [by_definition(table, 12) for table in (ACROSS, DOWN, FALLING, RISING)]
    found = glrlm(PICTURE)
    assert found.keys() == tables[0].keys()
    for name, value in found.items():
        assert value == pytest.approx(np.mean([t[name] for t in tables]), rel=1e-12), name
    assert found["ShortRunEmphasis"] == pytest.approx(
        ((5 + 2 / 4 + 1 / 9) / 8 + (6 + 3 / 4) / 9 + 1 + (6 + 3 / 4) / 9) / 4
    )


def test_zones_touch_by_corners_too():
    rank, sizes = zones(PICTURE)
    assert sorted(zip(PICTURE.values[rank].tolist(), sizes.tolist(), strict=True)) == [(1, 1), (1, 3), (2, 3), (4, 5)]


@pytest.mark.parametrize("levels", [2, 3, 9])
def test_zones_are_those_of_labelling_every_level(levels):
    picture = np.random.default_rng(levels).integers(1, levels + 1, (40, 31))
    found = Levels.of(picture)
    rank, sizes = zones(found)
    for place, value in enumerate(found.values):
        labelled, _ = label(picture == value, np.ones((3, 3)))
        assert sorted(sizes[rank == place]) == sorted(np.bincount(labelled.ravel())[1:])


def test_a_dependence_is_one_more_than_the_neighbours_of_a_pixels_level():
    assert dependences(PICTURE).tolist() == [[3, 3, 3, 2], [3, 3, 3, 3], [2, 3, 3, 1]]


def test_co_occurrence_is_that_counted_by_hand():
    # Across: 11 12 24, 12 22 24, 44 44 41; each pair both ways.
    counts = np.array([[2, 2, 1], [2, 2, 2], [1, 2, 4]])
    np.testing.assert_allclose(matrices(PICTURE)[0], counts / 18)


def test_gray_tone_differences_are_those_worked_out_by_hand():
    shares, sums = matrix(PICTURE)
    np.testing.assert_allclose(shares, [4 / 12, 3 / 12, 5 / 12])
    ones = [1 - 4 / 3, 1 - 8 / 5, 1 - 12 / 5, 1 - 10 / 3]  # those with the means of their neighbours
    twos = [2 - 13 / 5, 2 - 19 / 8, 2 - 22 / 8]
    fours = [4 - 8 / 3, 4 - 13 / 5, 4 - 7 / 3, 4 - 13 / 5, 4 - 13 / 5]
    np.testing.assert_allclose(sums, [np.abs(x).sum() for x in (ones, twos, fours)])


def test_gray_levels_are_counted_from_one_in_bins_from_multiples_of_the_width():
    found = gray_levels(np.array([[-5.1, -5.0, -0.1], [0.0, 4.9, 21.0]]))
    assert found.values[found.rank].tolist() == [[1, 2, 2], [3, 3, 7]]


def test_filtered_images_have_mean_0_and_gain_and_offset_do_not_count():
    image = simulate("benign", 1, 64).image.astype(float)
    found, other = filtered_images(image), filtered_images(image * 0.5 + 40)
    assert list(found) == ["original", *(f"LoG {s}" for s in (2, 3, 4, 5)), *(f"wavelet {b}" for b in WAVELETS)]
    for name, values in found.items():
        assert abs(values.mean()) < 1e-6, name
        np.testing.assert_allclose(values, other[name], atol=2e-6)


def test_a_flat_part_has_one_level_in_every_filtered_image():
    image = simulate("normal", 2, 64).image
    image = np.vstack([image, np.zeros((64, 64), np.uint8)])
    for name, values in filtered_images(image).items():
        assert len(np.unique(gray_levels(values).rank[100:120])) == 1, name


def test_high_pass_across_sees_columns_and_down_sees_rows():
    columns = np.tile([0, 255], (32, 16))
    for image, name in ((columns, "HL"), (columns.T, "LH")):
        energy = {band: values.std() for band, values in filtered_images(image).items()}
        assert energy[f"wavelet {name}"] == pytest.approx(max(energy[f"wavelet {b}"] for b in WAVELETS))


@pytest.mark.parametrize(
    "image",
    [np.zeros((16, 16), np.uint8), np.full((16, 24), 255, np.uint8), np.eye(16, dtype=np.uint8), np.eye(64) * 1e6],
    ids=["black", "white", "line", "bright line"],
)
def test_the_features_of_any_image_are_finite_and_of_the_same_names(image):
    found = radiomic_features(image)
    assert len(found) == 54 and sum(map(len, found.values())) == 782
    names = {family: list(features) for family, features in radiomic_features(simulate("normal", 0, 64).image).items()}
    assert {family: list(features) for family, features in found.items()} == names
    assert all(np.isfinite(v) for features in found.values() for v in features.values())
