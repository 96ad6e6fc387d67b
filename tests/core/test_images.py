"""Reading pixels: of any type and range as 8 bits, upright, or not at all."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from busaug_core.errors import UserError
from busaug_core.images import UPRIGHT, load_gray, open_image, read_image, read_size
from busaug_core.pixels import to_8_bits

RAMP = np.linspace(0, 255, 24 * 32).reshape(24, 32)


def test_16_bit_palette_and_transparent_images_are_read_as_the_same_gray(tmp_path):
    gray = np.tile(np.arange(0, 256, 2, dtype=np.uint8), (128, 1))
    Image.fromarray(gray).save(tmp_path / "plain.png")
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(gray).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(gray).convert("RGBA").save(tmp_path / "transparent.png")
    plain = load_gray(tmp_path / "plain.png", 128).astype(int)
    for name in ("deep", "palette", "transparent"):
        assert np.abs(load_gray(tmp_path / f"{name}.png", 128) - plain).max() <= 1, name


@pytest.mark.parametrize(
    ("top", "dtype", "said"),
    [
        (1, "f4", "0 to 1"),
        (255, "f4", "0 to 255"),
        (255, "u2", "0 to 255"),
        (255, "i4", "0 to 255"),
        (1023, "u2", "0 to 1023"),
        (4095, "u2", "0 to 4095"),
        (4095, "i2", "0 to 4095"),
        (4095, "f4", "0 to 4095"),
        (65535, "u2", "0 to 65535"),
        (65535, "i4", "0 to 65535"),
        (2**24 - 1, "i4", "0 to 16777215"),
        (2**32 - 1, "u4", "0 to 4294967295"),
    ],
)
def test_the_range_is_told_by_type_and_values_and_said(tmp_path, top, dtype, said):
    exact = RAMP / 255 * top
    tifffile.imwrite(tmp_path / "x.tif", (exact if dtype == "f4" and top == 1 else np.round(exact)).astype(dtype))
    image, notes = read_image(tmp_path / "x.tif")
    assert image.mode == "L"
    assert np.abs(np.asarray(image) - RAMP).max() <= 1.5
    assert len(notes) == 1 and notes[0].endswith(said)


@pytest.mark.parametrize("top", [65_536, 76_500, 1_020_000, 25_500_000, 2**29])
def test_whole_values_that_would_come_out_black_are_of_a_range_that_cannot_be_told(tmp_path, top):
    tifffile.imwrite(tmp_path / "x.tif", np.round(RAMP / 255 * top).astype("i4"))
    with pytest.raises(UserError, match="of a range that cannot be told"):
        read_image(tmp_path / "x.tif")


def test_a_dark_image_whose_bits_fill_the_upper_end_stays_dark():
    for values in (np.arange(800) * 16, np.arange(60) * 257):
        values = values.astype(np.uint16).reshape(20, -1)
        assert np.array_equal(to_8_bits(values)[0], values >> 8)


def test_16_bits_are_cut_as_before():
    values = np.random.default_rng(0).integers(0, 2**16, (50, 50)).astype(np.uint16)
    assert np.array_equal(to_8_bits(values)[0], values >> 8)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.where(RAMP > 250, np.nan, RAMP).astype("f4"), "no numbers"),
        (np.where(RAMP > 250, np.inf, RAMP).astype("f4"), "no numbers"),
        ((RAMP - 100).astype("f4"), "signed, from -100 to 155"),
        ((RAMP - 100).astype("i2"), "signed, from -100 to 155"),
        ((RAMP / 2 - 60).astype("i1"), "signed, from -60"),
        ((RAMP / 100).astype("f4"), "fractions up to 2.55, of a range that cannot be told"),
        ((RAMP * 1e12).astype("f4"), "of a range that cannot be told"),
        (RAMP.astype("c8"), "complex"),
        (RAMP.astype("f8"), "64-bit"),
    ],
)
def test_pixels_that_cannot_be_decided_are_refused_by_name(tmp_path, values, reason):
    tifffile.imwrite(tmp_path / "odd.tif", values)
    with pytest.raises(UserError, match=rf"odd\.tif cannot be read.*{reason}.*PNG|odd\.tif.*{reason}.*8 bits"):
        open_image(tmp_path / "odd.tif")


def test_white_is_zero_also_of_16_bits(tmp_path):
    for dtype, top in (("u1", 255), ("u2", 65535)):
        values = np.round(RAMP / 255 * top).astype(dtype)
        tifffile.imwrite(tmp_path / "x.tif", top - values, photometric="miniswhite")
        assert np.abs(np.asarray(open_image(tmp_path / "x.tif")) - RAMP).max() <= 1.5


def test_a_pgm_says_its_own_range(tmp_path):
    values = np.arange(1000, dtype=">u2")
    (tmp_path / "x.pgm").write_bytes(b"P5 40 25 4095\n" + values.tobytes())
    assert np.abs(np.asarray(open_image(tmp_path / "x.pgm")).ravel() - values / 4095 * 255).max() <= 1


def test_16_bit_colours_are_read_from_their_upper_half_or_refused(tmp_path):
    colours = np.stack([RAMP] * 3, -1)
    tifffile.imwrite(tmp_path / "full.tif", (colours * 257).astype("u2"), photometric="rgb")
    image, notes = read_image(tmp_path / "full.tif")
    assert np.abs(np.asarray(image)[..., 0] - RAMP).max() <= 1
    assert "16 bits a channel" in notes[0]
    tifffile.imwrite(tmp_path / "low.tif", (colours * 16).astype("u2"), photometric="rgb")
    with pytest.raises(UserError, match=r"low\.tif has 16-bit colours that fill the lower bits only"):
        open_image(tmp_path / "low.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("suffix", "options"), [("jpg", {}), ("png", {}), ("tif", {}), ("tif", {"compression": "tiff_lzw"})]
)
def test_photos_are_put_upright_whatever_holds_them(tmp_path, orientation, suffix, options):
    stored = Image.fromarray(RAMP.astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo.{suffix}"
    stored.save(path, exif=exif, **options)
    image = open_image(path)
    shown = stored.transpose(UPRIGHT[orientation]) if orientation > 1 else stored
    assert image.size == shown.size
    assert np.abs(np.asarray(image).astype(int) - np.asarray(shown)).max() <= 8
    assert read_size(path) == (*image.size, 1)


@pytest.mark.parametrize("mode", ["1", "CMYK", "YCbCr", "P"])
def test_images_of_other_colours_become_gray(tmp_path, mode):
    picture = Image.fromarray(np.stack([RAMP] * 3, -1).astype(np.uint8))
    picture.convert(mode).save(tmp_path / "x.tif")
    assert np.abs(load_gray(tmp_path / "x.tif", 24).astype(int).mean() - 127) < 4


def test_colours_of_lab_become_rgb(tmp_path):
    Image.new("LAB", (8, 8), (128, 128, 128)).save(tmp_path / "x.tif")
    image = open_image(tmp_path / "x.tif")
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image).astype(int) - 119).max() <= 4  # L* = 50 is sRGB 119


def test_broken_exif_data_leave_an_image_as_it_is(tmp_path):
    Image.fromarray(RAMP.astype(np.uint8)).save(tmp_path / "x.jpg", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert open_image(tmp_path / "x.jpg").size == (32, 24)
    assert read_size(tmp_path / "x.jpg") == (32, 24, 1)


def test_of_several_pictures_in_a_file_the_first_is_read_and_that_is_said(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", np.stack([RAMP, RAMP * 0]).astype("u1"), photometric="minisblack")
    image, notes = read_image(tmp_path / "x.tif")
    assert np.asarray(image).max() == 255
    assert notes == ("several pictures in a file, of which the first is read",)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a git-LFS pointer"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (json.dumps({"a": 1}).encode(), "a JSON document"),
    ],
)
def test_what_is_no_image_is_told_by_what_it_seems_to_be(tmp_path, content, kind):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(UserError, match=rf"x\.png cannot be read as an image; it seems to be {kind}"):
        open_image(tmp_path / "x.png")
    with pytest.raises(UserError, match=r"x\.png cannot be read"):
        read_size(tmp_path / "x.png")
