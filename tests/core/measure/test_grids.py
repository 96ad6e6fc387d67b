"""Grids of images."""

import numpy as np
import pytest
from evaluation_sets import evaluation_set
from PIL import Image

from busaug_core.errors import UserError
from busaug_core.measure.grids import variant_grid


def test_the_grid_shows_a_column_for_each_variant(records, tmp_path):
    sets = evaluation_set(records, tmp_path, "sd", 2) + evaluation_set(records, tmp_path, "sd_ti", 60)
    variant_grid(records + sets, tmp_path / "grid.png", rows_per_class=1)
    with Image.open(tmp_path / "grid.png") as image:
        pixels = np.asarray(image.convert("L")).astype(int)
    height, width = pixels.shape
    assert width > 0.9 * height
    columns = [(pixels[:, i * width // 3 : (i + 1) * width // 3] < 128).mean() for i in range(3)]
    assert min(columns) > 0.2
    with pytest.raises(UserError, match="no synthetic image"):
        variant_grid(records, tmp_path / "none.png")
