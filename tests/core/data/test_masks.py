"""What a mask file says, whatever its levels, colours and format."""

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFilter
from scipy.ndimage import binary_dilation, binary_erosion

from busaug_core.data.masks import CUT, EMPTY, OUTLINE, SCATTERED, doubts, interpret_mask, read_mask
from busaug_core.errors import UserError
from busaug_core.images import decode
from busaug_core.simulate import simulate

LESION = np.zeros((80, 100), bool)
LESION[20:50, 30:70] = True
LESION[25, 31] = False


def save(path, values, **options):
    Image.fromarray(values).save(path, **options)
    return path


def interpret(path, **more):
    return interpret_mask(path, decode(path), **more)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P"])
def test_masks_of_any_channels_are_read_and_alpha_is_no_signal(tmp_path, mode):
    mask = np.zeros((20, 30), np.uint8)
    mask[5:9, 4:10] = 255
    image = Image.fromarray(mask).convert("RGBA" if mode == "RGBA" else "L").convert(mode)
    image.save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png"), mask > 0)


@pytest.mark.parametrize(
    ("background", "lesion", "dtype"),
    [
        *((0, lesion, "u1") for lesion in (1, 2, 38, 128, 255)),
        *((0, lesion, dtype) for lesion in (1, 255) for dtype in ("u2", "i4", "f4")),
        (0, 65535, "u2"),
        (10, 200, "u1"),
        (0, -1, "i2"),
    ],
)
def test_two_levels_are_background_and_lesion_whatever_they_are(tmp_path, background, lesion, dtype):
    tifffile.imwrite(tmp_path / "m.tif", np.where(LESION, lesion, background).astype(dtype))
    mask, notes = interpret(tmp_path / "m.tif")
    assert np.array_equal(mask, LESION)
    assert notes == []


def test_a_mask_of_16_bits_counts_from_1_on(tmp_path):
    mask = np.zeros((20, 30), np.uint16)
    mask[5:9, 4:10] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png"), mask > 0)


@pytest.mark.parametrize("level", [0, 1, 255])
def test_a_mask_of_one_level_is_empty_or_full(tmp_path, level):
    assert read_mask(save(tmp_path / "m.png", np.full((9, 9), level, np.uint8))).all() == (level > 0)


@pytest.mark.parametrize("quality", [95, 75, 50, 30])
@pytest.mark.parametrize("number", range(3))
def test_a_mask_saved_as_jpeg_comes_back_within_a_pixel(tmp_path, quality, number):
    lesion = simulate("benign", number, 224).mask
    mask, notes = interpret(save(tmp_path / "m.jpg", lesion.astype(np.uint8) * 255, quality=quality))
    assert (mask <= binary_dilation(lesion, np.ones((3, 3)))).all()
    assert (mask >= binary_erosion(lesion, np.ones((3, 3)))).all()
    assert abs(int(mask.sum()) - int(lesion.sum())) < 0.02 * lesion.sum()
    assert notes == [CUT]


def test_a_blurred_mask_and_a_map_of_probabilities_are_cut_at_half(tmp_path):
    soft = Image.fromarray(LESION.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(1))
    soft.save(tmp_path / "soft.png")
    tifffile.imwrite(tmp_path / "soft.tif", np.asarray(soft).astype(np.float32) / 255)
    tifffile.imwrite(tmp_path / "deep.tif", np.asarray(soft).astype(np.uint16) * 16)
    for name in ("soft.png", "soft.tif", "deep.tif"):
        mask, notes = interpret(tmp_path / name)
        assert (mask != LESION).sum() <= 12, name
        assert CUT in notes


@pytest.mark.parametrize(
    ("values", "suffix"),
    [
        (np.random.default_rng(0).integers(0, 2, (80, 100)), "png"),
        (np.random.default_rng(0).integers(0, 4, (80, 100)), "png"),
        (np.random.default_rng(0).poisson(0.05, (80, 100)), "png"),
        (np.abs(np.random.default_rng(0).normal(0, 4, (80, 100))), "png"),
        (np.abs(np.random.default_rng(0).normal(0, 4, (80, 100))), "jpg"),
    ],
)
def test_noise_about_zero_is_an_empty_mask(tmp_path, values, suffix):
    mask, notes = interpret(save(tmp_path / f"m.{suffix}", values.astype(np.uint8)))
    assert not mask.any()
    assert notes == [EMPTY]


def labels():
    values = np.zeros((80, 100), np.uint8)
    values[10:40, 10:40], values[40:70, 50:90] = 1, 2
    return values


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (labels(), "holds the levels 0, 1, 2; which is the lesion"),
        (labels() * 64, "no clear mask"),
        (np.where(LESION, 100, np.arange(100)[None] % 3 * 40), "no clear mask"),
        (simulate("benign", 3, 96).image, "no clear mask"),
        (np.full((80, 100), 100), "no clear mask"),
    ],
)
def test_an_unclear_mask_is_refused_by_name(tmp_path, values, reason):
    with pytest.raises(UserError, match=rf"m\.png.*{reason}"):
        read_mask(save(tmp_path / "m.png", values.astype(np.uint8)))


BLACK, WHITE, RED, GREEN, GRAY = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (90, 90, 90)


def coloured(lesion, background=BLACK):
    return np.where(LESION[..., None], np.uint8(lesion), np.uint8(background)).astype(np.uint8)


@pytest.mark.parametrize(
    ("lesion", "background"),
    [(RED, BLACK), ((128, 0, 0), BLACK), (RED, WHITE), (GREEN, GRAY), ((253, 231, 37), (68, 1, 84)), (WHITE, BLACK)],
)
def test_of_two_colours_the_one_that_stands_out_is_the_lesion(tmp_path, lesion, background):
    assert np.array_equal(read_mask(save(tmp_path / "m.png", coloured(lesion, background))), LESION)
    Image.open(tmp_path / "m.png").convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "p.png")
    assert np.array_equal(read_mask(tmp_path / "p.png"), LESION)


def test_several_colours_are_lesions_only_where_the_layout_says_so(tmp_path):
    both = coloured(RED)
    both[5:15, 5:20] = GREEN
    save(tmp_path / "m.png", both)
    with pytest.raises(UserError, match=r"m\.png has the colours red, green; which of them is the lesion"):
        read_mask(tmp_path / "m.png")
    mask, _ = interpret(tmp_path / "m.png", colours=("green", "red"))
    assert np.array_equal(mask, both.any(-1))
    with pytest.raises(UserError, match="red, green"):
        interpret(tmp_path / "m.png", colours=("green",))


def test_a_coloured_mask_saved_as_jpeg_is_read(tmp_path):
    for colours in ((), ("green", "red")):
        mask, _ = interpret(save(tmp_path / "m.jpg", coloured(GREEN), quality=90), colours=colours)
        assert (mask != LESION).mean() < 0.01


def test_a_drawing_over_the_scan_is_no_mask(tmp_path):
    picture = np.stack([simulate("benign", 3, 100).image] * 3, -1)
    picture[20:22, 20:60] = RED
    with pytest.raises(UserError, match=r"m\.png"):
        read_mask(save(tmp_path / "m.png", picture))


def test_a_mask_painted_in_alpha_alone_is_read(tmp_path):
    pixels = np.dstack([np.zeros((80, 100, 3), np.uint8), LESION.astype(np.uint8) * 255])
    assert np.array_equal(read_mask(save(tmp_path / "m.png", pixels)), LESION)


def disc(side=120, radius=40, at=(60, 60)):
    y, x = np.ogrid[:side, :side]
    return (y - at[0]) ** 2 + (x - at[1]) ** 2 <= radius**2


def contour(mask, width):
    return mask & ~binary_erosion(mask, np.ones((3, 3)), iterations=width)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("number", range(2))
def test_an_outline_is_told_however_thick_its_line(width, number):
    assert doubts(contour(disc(), width)) == [OUTLINE]
    lesion = simulate("malignant", number, 224).mask
    assert doubts(contour(lesion, min(width, 3))) == [OUTLINE]


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_an_outline_with_a_gap_one_at_the_images_border_and_a_stroke_are_told(width):
    broken = contour(disc(), width)
    broken[58:62, :60] = False
    assert doubts(broken) == [OUTLINE]
    assert doubts(contour(disc(at=(20, 60)), width)[:, :]) == [OUTLINE]
    stroke = np.zeros((90, 90), bool)
    stroke[40 : 40 + width, 10:80] = True
    assert doubts(stroke | stroke.T) == [OUTLINE]


def test_a_few_scattered_pixels_are_told():
    scattered = np.zeros((90, 90), bool)
    scattered[7, 9] = True
    assert doubts(scattered) == [SCATTERED]
    scattered[tuple(np.random.default_rng(0).integers(0, 90, (2, 30)))] = True
    assert doubts(scattered) == [SCATTERED]


def test_areas_are_no_outlines_however_small_ragged_or_many():
    rng = np.random.default_rng(1)
    crescent = disc() & ~disc(at=(60, 80))
    dusty = disc(radius=15)
    dusty[rng.integers(0, 120, 40), rng.integers(0, 120, 40)] = True
    for mask in (disc(radius=2), disc(radius=3) | disc(radius=3, at=(10, 10)), crescent, dusty, contour(disc(), 15)):
        assert doubts(mask) == []
    for label in ("benign", "malignant"):
        for number in range(10):
            assert doubts(simulate(label, number, 64).mask) == []
