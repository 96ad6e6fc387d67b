"""Reading pixels."""

import numpy as np
from PIL import Image

from busaug_core.images import load_gray


def test_16_bit_palette_and_transparent_images_are_read_as_the_same_gray(tmp_path):
    gray = np.tile(np.arange(0, 256, 2, dtype=np.uint8), (128, 1))
    Image.fromarray(gray).save(tmp_path / "plain.png")
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(gray).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(gray).convert("RGBA").save(tmp_path / "transparent.png")
    plain = load_gray(tmp_path / "plain.png", 128).astype(int)
    for name in ("deep", "palette", "transparent"):
        assert np.abs(load_gray(tmp_path / f"{name}.png", 128) - plain).max() <= 1, name
