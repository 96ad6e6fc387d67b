"""Groups of copies and of frames of one scan."""

import numpy as np

from busaug_core.data.audit import groups
from busaug_core.data.audit import perceptual_hash as search
from busaug_core.data.audit.descriptors import Descriptors
from busaug_core.data.audit.perceptual_hash import perceptual_hash
from busaug_core.data.audit.similarity import SIDE, locally_normalised
from busaug_core.data.config import COPY, SCAN
from busaug_core.jobs.events import drain
from busaug_core.records import Record
from busaug_core.simulate import simulate


def grouped(grays):
    """Records of pictures with their groups, and the pairs of one scan."""
    records = [Record(f"/{i}.png", "benign") for i in range(len(grays))]
    work = groups.find_groups(
        records, [Descriptors(locally_normalised(g), perceptual_hash(g), 0.0) for g in grays], COPY, SCAN
    )
    return records, drain(work)


def test_a_set_of_nothing_but_noisy_copies_is_one_group_and_one_image_is_none(monkeypatch):
    monkeypatch.setattr(search, "CELL", 2)
    gray = simulate("benign", 3, SIDE).image
    noisy = [np.clip(gray + np.random.default_rng(i).normal(0, 8, gray.shape), 0, 255) for i in range(100)]
    scans, pairs = grouped([gray, *noisy])
    assert {r.duplicate_group for r in scans} == {scans[0].split_group} != {None}
    assert len(pairs) > 100
    scans, pairs = grouped([gray])
    assert scans[0].split_group is None and pairs.shape == (0, 2)


def test_pairs_are_the_same_however_many_images_are_looked_up_at_a_time(monkeypatch):
    grays = [simulate("benign", seed // 2, SIDE).image for seed in range(40)]
    _, pairs = grouped(grays)
    assert {(i, i + 1) for i in range(0, 40, 2)} <= {tuple(p) for p in pairs}
    monkeypatch.setattr(groups, "BLOCK", 8)
    monkeypatch.setattr(groups, "PAIRS", 8)
    assert np.array_equal(grouped(grays)[1], pairs)
