"""DICOM files: rescaling, windows, inverted and coloured pixels, and what is refused."""

import io

import numpy as np
import pydicom
import pytest
from dicom_files import write_dicom
from PIL import Image

from busaug_core import dicom
from busaug_core.errors import UserError
from busaug_core.images import open_image, read_image

RAMP = np.linspace(0, 255, 24 * 32).reshape(24, 32)


def gray(path):
    return np.asarray(open_image(path)).astype(float)


def test_plain_pixels_are_read_as_they_are(tmp_path):
    image, notes = read_image(write_dicom(tmp_path / "x.dcm", RAMP.astype("u1")))
    assert np.array_equal(np.asarray(image), RAMP.astype("u1"))
    assert notes == ()


def test_a_file_without_suffix_is_known_by_its_first_bytes(tmp_path):
    assert np.abs(gray(write_dicom(tmp_path / "IM_0001", RAMP.astype("u1"))) - RAMP).max() <= 1


def test_without_a_window_the_bits_stored_are_the_range(tmp_path):
    path = write_dicom(tmp_path / "x.dcm", (RAMP * 16 / 2).astype("u2"), bits=12)
    assert np.abs(gray(path) - RAMP / 2).max() <= 1
    assert read_image(path)[1] == ("DICOM without a window, values of more than 8 bits, read as 0 to 4095",)


def test_the_window_is_applied_after_rescaling(tmp_path):
    stored = np.arange(0, 768, dtype="u2").reshape(24, 32)
    path = write_dicom(
        tmp_path / "x.dcm", stored, bits=12, RescaleSlope=2, RescaleIntercept=-100, WindowCenter=300, WindowWidth=401
    )
    rescaled = stored * 2.0 - 100
    expected = np.clip((rescaled - 299.5) / 400 + 0.5, 0, 1) * 255  # PS3.3 C.11.2.1.2.1
    assert np.abs(gray(path) - expected).max() <= 1
    assert "window" in read_image(path)[1][0]


def test_monochrome1_is_inverted_with_and_without_a_window(tmp_path):
    plain = write_dicom(tmp_path / "a.dcm", RAMP.astype("u1"), "MONOCHROME1")
    assert np.abs(gray(plain) - (255 - RAMP)).max() <= 1
    windowed = write_dicom(tmp_path / "b.dcm", RAMP.astype("u1"), "MONOCHROME1", WindowCenter=128, WindowWidth=256)
    assert np.abs(gray(windowed) - (255 - RAMP)).max() <= 1


def test_signed_values_need_a_window(tmp_path):
    signed = (RAMP - 128).astype("i2")
    path = write_dicom(tmp_path / "a.dcm", signed, WindowCenter=0, WindowWidth=256)
    assert np.abs(gray(path) - RAMP).max() <= 2
    with pytest.raises(UserError, match=r"b\.dcm names no window, and its values are signed"):
        open_image(write_dicom(tmp_path / "b.dcm", signed))


def test_colours_are_rgb_whatever_they_are_stored_as(tmp_path):
    picture = np.stack([RAMP, 255 - RAMP, RAMP * 0 + 90], -1).astype("u1")
    assert np.array_equal(np.asarray(open_image(write_dicom(tmp_path / "a.dcm", picture, "RGB"))), picture)
    stored = np.asarray(Image.fromarray(picture).convert("YCbCr"))
    found = np.asarray(open_image(write_dicom(tmp_path / "b.dcm", stored, "YBR_FULL"))).astype(int)
    assert np.abs(found - picture).max() <= 3


def test_clips_and_files_without_pixels_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"clip\.dcm is a DICOM clip of 3 frames; save those that matter as PNG"):
        open_image(write_dicom(tmp_path / "clip.dcm", np.stack([RAMP] * 3).astype("u1")))
    file = pydicom.dcmread(write_dicom(tmp_path / "x.dcm", RAMP.astype("u1")))
    del file.PixelData
    file.save_as(tmp_path / "report.dcm")
    with pytest.raises(UserError, match=r"report\.dcm is a DICOM file without an image"):
        open_image(tmp_path / "report.dcm")


def test_a_cut_file_is_named(tmp_path):
    path = write_dicom(tmp_path / "x.dcm", RAMP.astype("u1"))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"x\.dcm cannot be read as a DICOM image.*seems to be a DICOM file"):
        open_image(path)


@pytest.mark.parametrize(
    ("syntax", "kind", "photometric"),
    [
        (pydicom.uid.JPEGBaseline8Bit, "JPEG", "YBR_FULL_422"),
        (pydicom.uid.JPEG2000Lossless, "JPEG2000", "RGB"),
        (pydicom.uid.JPEGLSLossless, "JPEG", "RGB"),
    ],
)
def test_packed_pixels_are_unpacked_or_it_says_what_to_install(tmp_path, syntax, kind, photometric):
    picture = np.stack([RAMP, 255 - RAMP, RAMP * 0 + 90], -1).astype("u1")
    path = write_dicom(tmp_path / "x.dcm", picture, "RGB")
    packed = io.BytesIO()
    Image.fromarray(picture).save(packed, kind)
    file = pydicom.dcmread(path)
    file.file_meta.TransferSyntaxUID, file.PhotometricInterpretation = syntax, photometric
    file.PixelData = pydicom.encaps.encapsulate([packed.getvalue()])
    file["PixelData"].is_undefined_length = True
    file.save_as(path)
    if syntax == pydicom.uid.JPEGLSLossless:
        with pytest.raises(UserError, match=r"x\.dcm is a DICOM file packed as JPEG-LS.*pip install pylibjpeg"):
            open_image(path)
    else:
        assert np.abs(gray(path) - picture).max() <= 40
        assert np.abs(gray(path) - picture).mean() <= 3


def test_without_pydicom_it_says_what_to_install(tmp_path, monkeypatch):
    path = write_dicom(tmp_path / "x.dcm", RAMP.astype("u1"))
    monkeypatch.setattr(dicom, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"x\.dcm is a DICOM file.*pip install pydicom.*convert"):
        open_image(path)
