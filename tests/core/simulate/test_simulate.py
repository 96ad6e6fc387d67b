"""The simulator: speckle statistics, beam, lesions, determinism, and the BUSI layout it writes."""

import dataclasses
from functools import cache

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_erosion

from busaug_core.errors import UserError
from busaug_core.simulate import LABELS, SCANNERS, Scan, simulate, write_busi
from busaug_core.simulate.phantom import GRID, PIXEL, Phantom, make_phantom
from busaug_core.simulate.scanner import (
    Scanner,
    display,
    envelope,
    lateral_sigma,
    path_loss,
)

SEEDS = range(24)
SPECKLE = Scanner(looks=1, coherent=0.0, lateral=0.3, focus=20.0, field_depth=10.0, tgc=0.0)


def homogeneous(attenuation: float = 0.0) -> Phantom:
    flat = np.zeros((GRID, GRID), np.float32)
    return Phantom(flat, flat + np.float32(attenuation), np.zeros((GRID, GRID), bool))


@cache
def speckle(scanner: Scanner = SPECKLE, count: int = 8) -> np.ndarray:
    return np.stack([envelope(homogeneous(), scanner, np.random.default_rng(i)) for i in range(count)])


def lateral_width(rows: np.ndarray) -> float:
    """Sigma in pixels of the Gaussian that fits the lateral autocovariance of the intensity."""
    intensity = rows**2 - (rows**2).mean()
    lag = 2
    share = (intensity[..., lag:] * intensity[..., :-lag]).mean() / (intensity**2).mean()
    return lag / np.sqrt(-2 * np.log(share))


@pytest.fixture(scope="module")
def scans() -> dict[str, list[Scan]]:
    return {label: [simulate(label, seed) for seed in SEEDS] for label in LABELS}


def test_speckle_of_homogeneous_tissue_has_the_rayleigh_ratio():
    echo = speckle()
    assert echo.mean() / echo.std() == pytest.approx(1.91, abs=0.1)


@pytest.mark.parametrize("looks", [2, 4])
def test_compounding_raises_the_ratio_by_the_root_of_the_looks(looks):
    echo = speckle(dataclasses.replace(SPECKLE, looks=looks))
    assert echo.mean() / echo.std() == pytest.approx(1.91 * looks**0.5, rel=0.06)


def test_power_of_homogeneous_tissue_is_one_at_every_depth():
    power = (speckle(count=24) ** 2).mean((0, 2)).reshape(6, -1).mean(1)
    np.testing.assert_allclose(power, 1.0, atol=0.12)


@pytest.mark.parametrize("depth", [4.0, 12.0, 20.0, 28.0, 36.0])
def test_lateral_speckle_size_follows_the_beam(depth):
    # The autocovariance of intensity is the squared autocorrelation of a Gaussian of sigma s,
    # whose own sigma is s: exp(-d**2 / (4 s**2)) squared.
    row = round(depth / PIXEL)
    measured = lateral_width(speckle(count=24)[:, row - 6 : row + 6]) * PIXEL
    expected = float(lateral_sigma(np.array(depth), SPECKLE))
    assert measured == pytest.approx(expected, rel=0.12)


def test_lateral_speckle_is_narrowest_at_the_focus():
    echo = speckle(count=24)
    widths = [lateral_width(echo[:, row : row + 24]) for row in range(0, GRID, 24)]
    assert np.argmin(widths) in (3, 4)
    assert widths[0] > 1.5 * min(widths) and widths[-1] > 1.5 * min(widths)


def test_uniform_attenuation_is_two_way_and_compensated_by_equal_tgc():
    depth = (np.arange(GRID) + 0.5) * PIXEL
    loss = path_loss(homogeneous(0.5), SPECKLE, depth)
    assert loss[-1].mean() == pytest.approx(-2 * 0.5 * SPECKLE.frequency * 4.0, rel=0.01)
    matched = path_loss(homogeneous(0.5), dataclasses.replace(SPECKLE, tgc=0.5), depth)
    assert np.abs(matched).max() < 0.2


def test_display_is_a_logarithmic_scale():
    scanner = Scanner(dynamic_range=60.0, level=0.5, noise_floor=-120.0, gamma=1.0, unsharp=0.0)
    linear = np.ones((64, 64), np.float32)
    linear[:2] = 0.1
    gray = display(linear, scanner, np.random.default_rng(0))
    assert gray[10, 10] == pytest.approx(0.5, abs=1e-3)
    assert gray[10, 10] - gray[0, 10] == pytest.approx(20 / 60, abs=1e-3)


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


def read(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_write_busi_writes_busis_layout(tmp_path):
    seen = list(write_busi(tmp_path, {"benign": 2, "normal": 1}, seed=1, size=64))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert sorted(read(tmp_path)) == [
        "benign/benign (1).png",
        "benign/benign (1)_mask.png",
        "benign/benign (2).png",
        "benign/benign (2)_mask.png",
        "normal/normal (1).png",
        "normal/normal (1)_mask.png",
    ]
    mask = np.asarray(Image.open(tmp_path / "benign/benign (1)_mask.png"))
    assert set(np.unique(mask)) == {0, 255}
    assert not np.asarray(Image.open(tmp_path / "normal/normal (1)_mask.png")).any()


def test_workers_counts_and_resuming_do_not_change_the_bytes(tmp_path):
    counts = {"malignant": 3, "normal": 2}
    alone, many, resumed = (tmp_path / name for name in ("alone", "many", "resumed"))
    list(write_busi(alone, counts, seed=9, size=64))
    assert list(write_busi(many, counts, seed=9, size=64, workers=2))[-1] == (5, 5)
    for done, _ in write_busi(resumed, counts, seed=9, size=64):
        if done == 2:
            break
    (resumed / "malignant/malignant (1)_mask.png").unlink()
    list(write_busi(resumed, counts, seed=9, size=64))
    assert read(alone) == read(many) == read(resumed)


def test_complete_images_are_kept(tmp_path):
    list(write_busi(tmp_path, {"benign": 1}, size=64))
    path = tmp_path / "benign/benign (1).png"
    path.write_bytes(b"kept")
    assert list(write_busi(tmp_path, {"benign": 1}, size=64)) == [(1, 1)]
    assert path.read_bytes() == b"kept"


def test_another_seed_or_number_gives_another_image(tmp_path):
    list(write_busi(tmp_path / "a", {"benign": 2}, seed=0, size=64))
    list(write_busi(tmp_path / "b", {"benign": 1}, seed=1, size=64))
    first = (tmp_path / "a/benign/benign (1).png").read_bytes()
    assert first != (tmp_path / "a/benign/benign (2).png").read_bytes()
    assert first != (tmp_path / "b/benign/benign (1).png").read_bytes()


@pytest.mark.parametrize(
    "arguments",
    [("cyst", 0), ("benign", -1), ("benign", 0, 8), ("benign", 0, 128, "hp")],
)
def test_a_wrong_argument_is_a_user_error(arguments):
    with pytest.raises(UserError, match="expected"):
        simulate(*arguments)


@pytest.mark.parametrize("wrong", [{"counts": {"cyst": 1}}, {"counts": {"benign": -1}}, {"workers": 0}])
def test_write_busi_refuses_wrong_arguments_before_writing(tmp_path, wrong):
    with pytest.raises(UserError, match="expected"):
        next(write_busi(**{"folder": tmp_path / "new", "counts": {"benign": 1}, **wrong}))
    assert not (tmp_path / "new").exists()
