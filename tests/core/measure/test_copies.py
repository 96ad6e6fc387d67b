"""The search for near-copies."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from benchmarks._copy_protocol import CHANGES, cut, prepared, side_by_side, turned
from busaug_core.jobs.events import drain
from busaug_core.measure.config import NEAR_COPY
from busaug_core.measure.copies import Originals
from busaug_core.records import Record
from busaug_core.simulate import simulate

CHANGED = (0, 4, 8)
MORE = {
    "unchanged": lambda scan: scan,
    "upside down": ImageOps.flip,
    "turned by -12°": turned(-12),
    "a corner cropped by 30 %": cut(0.3, 0.3, 0, 0),
    "narrower by 20 %": cut(0.1, 0, 0.1, 0),
    "wider than high": lambda scan: scan.resize((200, 90)),
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


@pytest.fixture(scope="module")
def originals(scans):
    return Originals(scans)


@pytest.fixture(scope="module")
def others(scans):
    """The scans that no test changes."""
    return Originals([scan for i, scan in enumerate(scans) if i not in CHANGED])


def saved(images, folder):
    made = []
    for i, image in enumerate(images):
        image.save(folder / f"{i}.png")
        made.append(Record(str(folder / f"{i}.png"), "benign"))
    return made


@pytest.mark.parametrize("change", {**CHANGES, **MORE})
def test_a_copy_is_found_however_it_was_changed_and_another_scan_is_none(scans, originals, others, tmp_path, change):
    of = [scans[i] for i in CHANGED]
    made = saved([{**CHANGES, **MORE}[change](prepared(Image.open(scan.path))) for scan in of], tmp_path)
    likeness, real = drain(originals.nearest(made))
    assert [r.path for r in real] == [scan.path for scan in of]
    assert likeness.min() >= NEAR_COPY
    assert drain(others.nearest(made))[0].max() < NEAR_COPY


def test_a_composite_of_two_halves_is_a_copy_of_one_of_its_scans(scans, originals, others, tmp_path):
    pairs = [(scans[i], scans[j]) for i, j in zip(CHANGED, np.roll(CHANGED, 1), strict=True)]
    made = saved([side_by_side(*(prepared(Image.open(scan.path)) for scan in pair)) for pair in pairs], tmp_path)
    likeness, real = drain(originals.nearest(made))
    assert all(r in pair for r, pair in zip(real, pairs, strict=True))
    assert likeness.min() >= NEAR_COPY
    assert drain(others.nearest(made))[0].max() < NEAR_COPY


def test_what_shows_nothing_is_a_copy_of_nothing(originals, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (128, 128)).astype(np.uint8)
    made = saved([Image.new("L", (64, 64)), Image.new("L", (64, 64), 255), Image.fromarray(noise)], tmp_path)
    assert np.abs(drain(originals.nearest(made))[0]).max() < NEAR_COPY


def test_one_original_is_enough_and_may_be_black(scans, tmp_path):
    black = saved([Image.new("L", (64, 64))], tmp_path)
    likeness, real = drain(Originals(scans[:1]).nearest([scans[0], *black]))
    assert likeness[0] > 0.99 and likeness[1] < NEAR_COPY and real == [scans[0]] * 2
    assert np.abs(drain(Originals(black).nearest(scans[:1]))[0]).max() < NEAR_COPY
