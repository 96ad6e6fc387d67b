"""The one way images are read: gray, square, antialiased; and written: as PNG with text chunks."""

import json
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from busaug_core.errors import UserError
from busaug_core.files import write_whole

PREPROCESSING = "gray, whole image to a square, Pillow bicubic with antialiasing"
NOTICE = "synthetic image, not for clinical use"


def open_image(path: str | Path) -> Image.Image:
    """An image, decoded; raises UserError for a file that is no readable image."""
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, ValueError, SyntaxError, EOFError, zlib.error, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as an image ({error}); copy it again or remove it.") from None
    return image


def to_gray(image: Image.Image, size: int) -> np.ndarray:
    """An image as uint8 size×size, 0 black; colour is turned to luma, alpha dropped, 16 bits scaled to 8."""
    image = without_palette(image)
    gray = image if image.mode == "L" else image.convert("L")
    if gray.size != (size, size):
        gray = gray.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(gray)


def without_palette(image: Image.Image) -> Image.Image:
    """An image of at most 8 bits a channel and no palette."""
    if image.mode.startswith("I"):  # Pillow would clip 16 bits at 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
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
