"""The Fréchet Radiomic Distance beside frd-score's, and which families of features move."""

import numpy as np
import pytest

from busaug_core.errors import UserError
from busaug_core.metrics.fid import frechet_distance
from busaug_core.metrics.frd import family_shifts, z_scores
from busaug_core.metrics.influence import fid_influence


def two_sets():
    """Features of very different scales, one of which does not vary in the reference."""
    i, j = np.arange(80)[:, None], np.arange(12)
    scale = 10.0 ** (j % 4)
    reference = np.sin(1.7 * i * (j + 1)) * scale + j
    other = np.cos(0.9 * i * (j + 2) + 0.3) * 1.2 * scale + j + 0.3 * scale
    reference[:, 5] = 7
    return reference, other[:60]


def frd(reference, other):
    return frechet_distance(z_scores(reference, reference), z_scores(other, reference))


def test_the_distance_equals_frd_scores_on_equal_features():
    # Of frd-score 1.0.1: z_score_normalize of both sets with the first as base_distribution (replace_nan and
    # handle_std_zero off), columns that are not finite left out, calculate_frechet_distance of their moments.
    assert frd(*two_sets()) == pytest.approx(7.1397793831501595, rel=1e-9)
    assert np.log(frd(*two_sets())) == pytest.approx(1.9656818771556528, rel=1e-9)  # as it prints it


def test_the_distance_is_blind_to_the_units_of_features_but_not_to_which_set_is_the_reference():
    reference, other = two_sets()
    units, offset = 3.0 ** np.arange(12), np.arange(12) * 10
    assert frd(reference * units + offset, other * units + offset) == pytest.approx(frd(reference, other))
    assert abs(frd(other, reference) - frd(reference, other)) > 0.1


def test_the_reference_has_mean_0_and_deviation_1_and_a_feature_constant_in_it_counts_nothing():
    reference, other = two_sets()
    scored = z_scores(reference.astype(np.float32), reference.astype(np.float32))
    expected = np.ones(12)
    expected[5] = 0
    np.testing.assert_allclose(scored.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(scored.std(0), expected)
    assert other[:, 5].std() > 0 and not z_scores(other, reference)[:, 5].any()
    reference[:, 5] = 0.1  # whose mean is not 0.1 to the last digit
    assert not z_scores(other, reference)[:, 5].any()


def test_an_images_influence_is_by_how_much_the_distance_falls_without_it():
    reference, other = two_sets()
    influence = fid_influence(z_scores(reference, reference), z_scores(other, reference))
    for i in (0, 17):
        without = frd(reference, np.delete(other, i, 0))
        assert influence[i] == pytest.approx(frd(reference, other) - without, rel=1e-6)


@pytest.mark.parametrize("n", [0, 1])
def test_a_reference_without_a_spread_is_refused(n):
    with pytest.raises(UserError, match=f"of which there are {n}; at least 2 are needed. Split the dataset"):
        z_scores(np.zeros((3, 2)), np.zeros((n, 2)))


def test_the_family_that_moved_most_comes_first_whatever_the_direction():
    reference, moved = np.zeros((4, 6)), np.zeros((5, 6))
    moved[:, :2], moved[:, 2:4], moved[:, 4] = 1, (-3, 1), 0.5
    families = {"a": slice(0, 2), "b": slice(2, 4), "c": slice(4, 6)}
    assert list(family_shifts(reference, moved, families).items()) == [("b", 2), ("a", 1), ("c", 0.25)]
