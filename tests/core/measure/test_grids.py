"""Grids of images."""

import numpy as np
import pytest
from evaluation_sets import evaluation_set
from PIL import Image

from busaug_core.errors import UserError
from busaug_core.measure.grids import _masked_rows, mask_grid, variant_grid
from busaug_core.records import Synthesis


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


@pytest.mark.parametrize("named_by", ["path", "id"])
def test_a_row_shows_a_mask_its_scan_and_what_was_made_from_it(masked, tmp_path, named_by):
    origin = next(r for r in masked if r.lesions)
    made = evaluation_set(masked, tmp_path, "sd_mask", 3) + evaluation_set(masked, tmp_path, "of_tomorrow", 3)
    mask_grid(masked + made, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    for record in made:
        record.synthesis = Synthesis(mask_sample_id=getattr(origin, named_by))
    without = next(r for r in masked if not r.lesions)
    made[-1].synthesis = Synthesis(mask_sample_id=without.path)
    of_class = [r for r in made if r.label == origin.label]
    mask_grid(masked + of_class[:2] + made[-1:], tmp_path / "masks.png")
    with Image.open(tmp_path / "masks.png") as image:
        pixels = np.asarray(image.convert("L")).astype(int)
    between = ((pixels > 30) & (pixels < 225)).mean(0)
    columns = [part.mean() for part in np.array_split(between[int(0.07 * len(between)) :], 4)]
    assert columns[0] < 0.1 < 0.3 < min(columns[1:])
    mask_grid(masked + of_class, tmp_path / "variants.png")
    with Image.open(tmp_path / "variants.png") as image:
        assert image.height > 1.5 * pixels.shape[0]


def test_no_image_stands_in_a_mask_grid_twice(masked, tmp_path):
    origin = next(r for r in masked if r.lesions)
    made = [r for r in evaluation_set(masked, tmp_path, "sd_mask", 3) if r.label == origin.label]
    for record in made:
        record.synthesis = Synthesis(mask_sample_id=origin.path)
    ((_, of, samples),) = _masked_rows([*masked, *made], 2)
    assert of.path == origin.path and [r.path for r in samples] == [r.path for r in made]
