"""The one way images are read: upright, 8 bits, gray, square, antialiased; and written: as PNG with text chunks."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from busaug_core.dicom import is_dicom, read_dicom
from busaug_core.errors import UserError
from busaug_core.files import write_whole
from busaug_core.foreign import ERRORS, kind_of
from busaug_core.pixels import to_8_bits

PREPROCESSING = "gray, upright, whole image to a square, Pillow bicubic with antialiasing"
NOTICE = "synthetic image, not for clinical use"

CODECS = (*ERRORS, SyntaxError, Image.DecompressionBombError)
"""What Pillow raises on a file that it cannot read."""
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV")
"""Pillow's modes of at most 8 bits a channel that become gray and RGB."""
LOSSY = ("JPEG", "MPO", "WEBP", "JPEG2000", "AVIF")
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How what EXIF calls orientations 2 to 8 is put upright, as browsers do."""
SAMPLE_FORMAT, SIGNED = 339, (2,)
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
"""Tags of TIFF, and what they may hold."""
LYING = (5, 6, 7, 8)
"""The orientations whose width is stored as height."""
DARK = 16
"""Brightest level, of 255, below which 16-bit colours are taken to fill the lower bits, which Pillow drops."""


@dataclass(frozen=True)
class Decoded:
    """An image file's pixels, upright.

    Attributes:
        image: in any of Pillow's modes
        wide: its values as they are stored, H×W, where these are signed or of more than 8 bits
        top: the greatest value that `wide` may hold, where the format says so
        inverted: whether 0 is white in `wide`
        turned: how the image was put upright, where it was stored otherwise
        lossy: whether its format changes values
        notes: what was assumed, in words that hold for other files too
    """

    image: Image.Image
    wide: np.ndarray | None = None
    top: int | None = None
    inverted: bool = False
    turned: Image.Transpose | None = None
    lossy: bool = False
    notes: tuple[str, ...] = ()


def open_image(path: str | Path) -> Image.Image:
    """An image, decoded, upright as its EXIF data says, of at most 8 bits a channel; see `read_image`."""
    return read_image(path)[0]


def read_image(path: str | Path) -> tuple[Image.Image, tuple[str, ...]]:
    """An image as `open_image` gives it, and what was assumed about it, in words that hold for other files too.

    Raises UserError for a file that is no readable image, and for pixels whose range cannot be told.
    """
    return eight_bits(path, decode(path))


def eight_bits(path: str | Path, found: Decoded) -> tuple[Image.Image, tuple[str, ...]]:
    """The image that was decoded from a file, of at most 8 bits a channel, and what was assumed; see `read_image`."""
    if found.wide is None:
        return found.image, found.notes
    try:
        gray, how = to_8_bits(found.wide, found.top)
    except ValueError as error:
        raise UserError(f"{path} cannot be read as a gray image: {error}; save it with 8 bits a pixel.") from None
    return Image.fromarray(255 - gray if found.inverted else gray), (*found.notes, how)


def decode(path: str | Path) -> Decoded:
    """The pixels of an image file as they are stored, but upright; raises UserError where it cannot be read."""
    try:
        # Of a file by its name Pillow maps some into memory, and scrambles TIFF files that lie on a side.
        with open(path, "rb") as file, Image.open(file) as image:
            raw = str([tile[3] for tile in image.tile])
            is_series = image.format not in ("MPO", "PNG") and getattr(image, "n_frames", 1) > 1
            image.load()
    except CODECS as error:
        if Path(path).is_file() and is_dicom(path):
            shown, notes = read_dicom(path)
            return Decoded(shown, notes=tuple(notes))
        raise UserError(_unreadable(path, error)) from None
    notes = ["several pictures in a file, of which the first is read"] if is_series else []
    tags, lossy = getattr(image, "tag_v2", {}), image.format in LOSSY
    unsigned = image.format == "TIFF" and SAMPLE_FORMAT not in tags
    top = 2**16 - 1 if image.format == "PPM" else None
    turned = UPRIGHT.get(_orientation(image))
    if turned is not None:
        image = image.transpose(turned)
        notes.append("photos turned upright as their EXIF data says")
    wide = None
    if image.mode[0] in "IF":
        wide = np.asarray(image).view(np.uint32) if image.mode == "I" and unsigned else np.asarray(image)
    elif image.mode == "L" and tags.get(SAMPLE_FORMAT) == SIGNED:
        wide = np.asarray(image).view(np.int8)
    elif ";16" in raw:
        bands = [high for (_, high), name in zip(_extrema(image), image.getbands(), strict=True) if name != "A"]
        if max(bands) < DARK:
            raise UserError(f"{path} has 16-bit colours that fill the lower bits only; save it with 8 bits a channel.")
        notes.append("colours of 16 bits a channel, of which the upper 8 are read")
    elif image.mode not in MODES:
        image = _as_rgb(path, image)
    inverted = wide is not None and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
    return Decoded(image, wide, top, inverted, turned, lossy, tuple(notes))


def read_size(path: str | Path) -> tuple[int, int, int]:
    """Width, height and channels that `open_image` gives, from the file's header.

    Raises UserError where it is no readable image.
    """
    try:
        with Image.open(path) as image:
            (width, height), channels = image.size, len(image.getbands())
            # Pillow turns TIFF files by itself.
            lies = image.format != "TIFF" and _orientation(image) in LYING
            return (height, width, channels) if lies else (width, height, channels)
    except CODECS:
        image = open_image(path)
        return (*image.size, len(image.getbands()))


def _orientation(image: Image.Image) -> int:
    """What EXIF says of how the image lies; 1, upright, where its data are missing or broken."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except CODECS:
        return 1


def _as_rgb(path: str | Path, image: Image.Image) -> Image.Image:
    try:
        return image.convert("RGBA" if image.mode == "RGBa" else "RGB")
    except ValueError:
        raise UserError(f"{path} has colours of the kind {image.mode}; save it as RGB.") from None


def _extrema(image: Image.Image) -> tuple[tuple[int, int], ...]:
    found = image.getextrema()
    return found if isinstance(found[0], tuple) else (found,)


def _unreadable(path: str | Path, error: BaseException) -> str:
    """What is to be said of a file that no decoder takes."""
    kind = kind_of(path)
    if kind == "missing":
        return f"{path} is missing; put it back, or remove it from the list."
    if isinstance(error, Image.DecompressionBombError):
        return f"{path} cannot be read as an image: it has over {2 * Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller."
    if not kind.endswith(" image"):
        return f"{path} cannot be read as an image; it seems to be {kind}. Copy it again or remove it."
    if isinstance(error, UnidentifiedImageError):
        return (
            f"{path} cannot be read as an image: it is {kind}, but broken or of a kind of pixels that is not known "
            "here, such as 64-bit or complex numbers; save it again, as PNG of 8 bits."
        )
    return f"{path} cannot be read as an image: it is {kind}, but cut short or broken ({error}); copy it again."


def to_gray(image: Image.Image, size: int) -> np.ndarray:
    """An image as uint8 size×size, 0 black; colour is turned to luma, alpha dropped."""
    image = without_palette(image)
    gray = image if image.mode == "L" else image.convert("L")
    if gray.size != (size, size):
        gray = gray.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(gray)


def without_palette(image: Image.Image) -> Image.Image:
    """An image of no palette."""
    return image.convert("RGBA" if image.mode == "PA" else "RGB") if image.mode in ("P", "PA") else image


def load_gray(path: str | Path, size: int) -> np.ndarray:
    """The image of a file; see `open_image` and `to_gray`."""
    return to_gray(open_image(path), size)


def load_batch(paths: list[str], size: int) -> np.ndarray:
    """Images as uint8 N×size×size; see `load_gray`."""
    return np.stack([load_gray(path, size) for path in paths])


def resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """A mask, bool H×W, reduced as its image is: bool size×size, True where half of a pixel is."""
    square = Image.fromarray(mask.astype(np.uint8) * 255).resize((size, size), Image.Resampling.BOX)
    return np.asarray(square) > 127


def save_synthetic(path: Path, pixels: np.ndarray, synthesis: dict) -> bool:
    """Write uint8 H×W as PNG with its provenance in the text chunk `synthesis`, all or nothing.

    Returns whether the file is this one; one that another worker has written stays.
    """
    info = PngInfo()
    info.add_text("synthesis", json.dumps(synthesis))
    info.add_text("Comment", NOTICE)
    picture = Image.fromarray(pixels)
    return write_whole(path, lambda partial: picture.save(partial, format="png", pnginfo=info), replace=False)


def read_synthesis(path: str | Path) -> dict:
    """The provenance that `save_synthetic` wrote; raises UserError where the file has none."""
    with Image.open(path) as image:
        text = getattr(image, "text", {})
    if "synthesis" not in text:
        raise UserError(f"{path} carries no provenance; it was not made by this software.")
    return json.loads(text["synthesis"])
