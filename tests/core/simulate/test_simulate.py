"""Simulated scans: lesions, gray levels, determinism."""

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from busaug_core.errors import UserError
from busaug_core.simulate import LABELS, SCANNERS, Scan, simulate
from busaug_core.simulate.phantom import make_phantom

SEEDS = range(24)


@pytest.fixture(scope="module")
def scans() -> dict[str, list[Scan]]:
    return {label: [simulate(label, seed) for seed in SEEDS] for label in LABELS}


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("scanner", [None, *SCANNERS])
def test_a_scan_has_the_promised_types(label, scanner):
    scan = simulate(label, 3, size=64, scanner=scanner)
    assert scan.image.shape == scan.mask.shape == (64, 64)
    assert scan.image.dtype == np.uint8 and scan.mask.dtype == bool
    assert scan.label == label and scan.scanner in SCANNERS and scanner in (None, scan.scanner)
    assert scan.image.std() > 15


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    one, same, other = simulate("benign", 5), simulate("benign", 5), simulate("benign", 6)
    assert one.image.tobytes() == same.image.tobytes() and one.mask.tobytes() == same.mask.tobytes()
    assert one.image.tobytes() != other.image.tobytes()


def test_only_lesions_have_a_mask(scans):
    assert not any(scan.mask.any() for scan in scans["normal"])
    for scan in scans["benign"] + scans["malignant"]:
        assert 0.004 < scan.mask.mean() < 0.4


@pytest.mark.parametrize("label", ["benign", "malignant"])
def test_the_mask_lies_on_the_hypoechoic_lesion(label):
    rng = np.random.default_rng(0)
    for _ in SEEDS:
        phantom = make_phantom(label, rng)
        rows, columns = np.nonzero(phantom.mask)
        beside = ~phantom.mask
        beside[: rows.min()] = beside[rows.max() + 1 :] = False
        beside[:, : max(columns.min() - 8, 0)] = beside[:, columns.max() + 9 :] = False
        core = binary_erosion(phantom.mask, iterations=3)
        assert phantom.echogenicity[core].mean() < phantom.echogenicity[beside].mean() - 5


def behind_minus_beside(scan: Scan) -> float:
    """Mean gray directly below the lesion less that to both sides at the same depth."""
    rows, columns = np.nonzero(scan.mask)
    bottom, left, right = rows.max() + 2, columns.min(), columns.max() + 1
    width = right - left
    band = scan.image[bottom : bottom + max(width // 2, 6)].astype(float)
    middle = band[:, left + width // 4 : right - width // 4]
    sides = np.concatenate([band[:, max(left - width // 2, 0) : left], band[:, right : right + width // 2]], 1)
    return middle.mean() - sides.mean()


def test_behind_a_benign_lesion_is_brighter_and_behind_a_malignant_darker(scans):
    benign = np.array([behind_minus_beside(scan) for scan in scans["benign"]])
    malignant = np.array([behind_minus_beside(scan) for scan in scans["malignant"]])
    assert benign.mean() > 15 and (benign > 0).mean() > 0.8
    assert malignant.mean() < -10 and (malignant < 0).mean() > 0.7


def irregularity(mask: np.ndarray) -> float:
    """Perimeter squared over area, in units of a square's 16 per pixel edge walked."""
    padded = np.pad(mask, 1).astype(int)
    edges = np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()
    return edges**2 / mask.sum()


def test_a_malignant_outline_is_more_irregular_than_a_benign_one(scans):
    benign = [irregularity(scan.mask) for scan in scans["benign"]]
    malignant = [irregularity(scan.mask) for scan in scans["malignant"]]
    assert np.median(malignant) > 1.25 * np.median(benign)
    assert np.quantile(malignant, 0.2) > np.quantile(benign, 0.8)


def test_gray_levels_are_those_of_a_breast_scan(scans):
    images = np.stack([scan.image for label in LABELS for scan in scans[label]]).astype(float)
    assert 70 < images.mean() < 100  # BUSI: about 84
    rows = images.mean((0, 2))
    assert rows[:32].mean() > 2 * rows[-32:].mean()  # depth darkens


@pytest.mark.parametrize(
    "arguments",
    [("cyst", 0), ("benign", -1), ("benign", 0, 8), ("benign", 0, 128, "hp")],
)
def test_a_wrong_argument_is_a_user_error(arguments):
    with pytest.raises(UserError, match="expected"):
        simulate(*arguments)
