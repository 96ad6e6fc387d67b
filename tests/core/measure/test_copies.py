"""The search for near-copies."""

import pytest
from PIL import Image

from busaug_core.jobs.events import drain
from busaug_core.measure.config import NEAR_COPY
from busaug_core.measure.copies import Originals
from busaug_core.records import Record
from busaug_core.simulate import simulate

CHANGES = {
    "resized": lambda image: image.resize((90, 80)),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "cropped": lambda image: image.crop((8, 8, 120, 120)),
    "mirrored and cropped": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).crop((8, 8, 120, 120)),
    "shallower": lambda image: image.crop((0, 0, 128, 116)).resize((128, 128)),
    "turned": lambda image: image.rotate(3, Image.Resampling.BICUBIC),
    "shifted": lambda image: image.crop((8, 0, 128, 124)),
    "brighter": lambda image: image.point(lambda v: min(255, v * 3 // 2)),
}


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Thirty simulated scans of 128 pixels."""
    folder = tmp_path_factory.mktemp("scans")
    made = []
    for i in range(30):
        path = folder / f"{i}.png"
        Image.fromarray(simulate(("benign", "malignant", "normal")[i % 3], 300 + i, 128).image).save(path)
        made.append(Record(str(path), "benign"))
    return made


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found_however_it_was_changed_and_another_scan_is_none(scans, tmp_path, change):
    made = []
    for i in (0, 4, 8):
        CHANGES[change](Image.open(scans[i].path)).save(tmp_path / f"{i}.png")
        made.append(Record(str(tmp_path / f"{i}.png"), "benign"))
    likeness, real = drain(Originals(scans).nearest(made))
    assert [r.path for r in real] == [scans[i].path for i in (0, 4, 8)]
    assert likeness.min() > NEAR_COPY
    others = [r for i, r in enumerate(scans) if i not in (0, 4, 8)]
    assert drain(Originals(others).nearest(made))[0].max() < NEAR_COPY
