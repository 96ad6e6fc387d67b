"""Single images of DICOM files, as pydicom reads them; an optional dependency."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from busaug_core.errors import UserError
from busaug_core.foreign import kind_of, reading
from busaug_core.pixels import to_8_bits

SUFFIXES = (".dcm", ".dicom", ".ima")
HOW = "run pip install pydicom, or convert it to PNG, as with dcm2img"


def is_dicom(path: str | Path) -> bool:
    """Whether a file is DICOM, by its name or by its first bytes."""
    return Path(path).suffix.lower() in SUFFIXES or kind_of(path) == "a DICOM file"


def can_read() -> bool:
    """Whether pydicom is there."""
    return find_spec("pydicom") is not None


def read_dicom(path: str | Path) -> tuple[Image.Image, list[str]]:
    """The image of a DICOM file, gray or RGB of 8 bits, as it is to be shown; and what was assumed.

    Rescaling and the first window or lookup table of the file are applied, and MONOCHROME1 is inverted
    (DICOM PS3.3, C.7.6.3 and C.11). Raises UserError without pydicom, for several frames, and for files without
    pixels or with ones that cannot be decoded here.
    """
    if not can_read():
        raise UserError(f"{path} is a DICOM file, which needs pydicom to be read; {HOW}.")
    import pydicom

    with reading(path, "a DICOM image", AttributeError, NotImplementedError, RuntimeError):
        file = pydicom.dcmread(path, force=True)
        if "PixelData" not in file:
            raise UserError(f"{path} is a DICOM file without an image; remove it.")
        if (frames := int(file.get("NumberOfFrames") or 1)) > 1:
            raise UserError(f"{path} is a DICOM clip of {frames} frames; save those that matter as PNG.")
        return _decode(path, file)


def _decode(path: str | Path, file: Any) -> tuple[Image.Image, list[str]]:
    from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array

    kind = file.PhotometricInterpretation
    try:
        values = pixel_array(file)  # YBR becomes RGB
    except RuntimeError:  # no decoder is there
        packed = file.file_meta.TransferSyntaxUID.name
        raise UserError(
            f"{path} is a DICOM file packed as {packed}, which pydicom does not unpack here; run pip install pylibjpeg "
            "pylibjpeg-libjpeg, or convert it to PNG, as with dcm2img."
        ) from None
    if kind == "PALETTE COLOR":
        values = apply_color_lut(values, file)
        return Image.fromarray((values >> 8).astype(np.uint8) if values.dtype.itemsize > 1 else values), []
    if values.ndim == 3:
        return Image.fromarray(values.astype(np.uint8)), []
    rescaled = apply_modality_lut(values, file)
    gray, notes = _windowed(rescaled, file), ["DICOM, shown through the window that the file names"]
    if gray is None:
        top = None if file.get("ModalityLUTSequence") else 2 ** int(file.BitsStored) - 1
        try:
            gray, how = to_8_bits(rescaled if top is None else values, top)
        except ValueError as error:
            raise UserError(f"{path} names no window, and {error}; convert it to PNG by hand.") from None
        gray = 255 - gray if float(file.get("RescaleSlope") or 1) < 0 else gray
        notes = [] if top == 255 else [f"DICOM without a window, {how}"]
    return Image.fromarray(255 - gray if kind == "MONOCHROME1" else gray), notes


def _windowed(values: np.ndarray, file: Any) -> np.ndarray | None:
    """The values through the file's lookup table or window as uint8; None where it has neither."""
    from pydicom.pixels import apply_voi_lut

    if not file.get("VOILUTSequence") and file.get("WindowWidth") in (None, ""):
        return None
    if file.get("VOILUTSequence"):
        bits = int(file.VOILUTSequence[0].LUTDescriptor[2])
        return (apply_voi_lut(np.round(values).astype(int), file).astype(np.int64) >> (bits - 8)).astype(np.uint8)
    # What lies far outside of the window shows the levels that its ends are drawn at.
    framed = apply_voi_lut(np.append(values.ravel(), [-1e12, 1e12]), file)
    dark, bright = framed[-2:]
    return np.round((framed[:-2] - dark) / (bright - dark) * 255).astype(np.uint8).reshape(values.shape)
