"""Reading masks of any kind."""

import numpy as np
import pytest
from PIL import Image

from busaug_core.data.scans import read_mask


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P"])
def test_masks_of_any_channels_are_read_and_alpha_is_no_signal(tmp_path, mode):
    mask = np.zeros((20, 30), np.uint8)
    mask[5:9, 4:10] = 255
    image = Image.fromarray(mask).convert("RGBA" if mode == "RGBA" else "L").convert(mode)
    image.save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png"), mask > 0)


def test_a_mask_of_16_bits_counts_from_1_on(tmp_path):
    mask = np.zeros((20, 30), np.uint16)
    mask[5:9, 4:10] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png"), mask > 0)
