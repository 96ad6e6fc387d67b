"""What loading makes of the real BUS-BRA, in the folder $BUSBRA."""

import os
from collections import Counter

import pytest
from PIL import Image
from set_folders import made, notices

from busaug_core.registry import job


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """A function that loads the whole set, and returns its records, its result and what was said."""

    def load(**values):
        values = dict(layout="bus_bra", source=os.environ["BUSBRA"], dataset_name="bus_bra") | values
        events = list(job("load_external").run(values, [], "bus_bra", tmp_path_factory.mktemp("home")))
        return made(events), events[-1].result, notices(events)

    return load


@pytest.mark.busbra
def test_every_image_has_class_patient_mask_and_what_the_table_tells(load):
    records, result, told = load(split="official", folds=5)
    assert result["counts"] == {"benign": 1268, "malignant": 607}
    assert [entry for entry in result["skipped"] if "no images (1 .txt)" not in entry] == []
    assert result["assumed"] == {}
    assert len({r.source.patient for r in records}) == 1064
    assert all(r.lesions and r.source.histology and r.source.bbox for r in records)
    assert Counter(r.source.side for r in records) == {"left": 811, "right": 811, "single": 253}
    for r in records[::50]:
        with Image.open(r.path) as image:
            assert r.size == [*image.size, len(image.getbands())]
    folds = Counter(tag for r in records for tag in r.tags if tag.startswith("fold_"))
    assert folds == {"fold_1": 376, "fold_2": 385, "fold_3": 366, "fold_4": 365, "fold_5": 383}
    assert {s: sum(counts.values()) for s, counts in result["splits"].items()} == {
        "train": 1200,
        "val": 299,
        "test": 376,
    }
    groups: dict[str, set[str | None]] = {}
    for r in records:
        groups.setdefault(r.source.patient, set()).add(r.split_group)
    assert all(len(found) == 1 for found in groups.values())
    # The set's own validation parts are drawn by image, its folds by patient.
    assert "held-out images have a copy" in told
    fold_of: dict[str, set[int]] = {}
    for r in records:
        fold_of.setdefault(r.source.patient, set()).add(r.source.fold)
    assert all(len(found) == 1 for found in fold_of.values())


@pytest.mark.busbra
def test_a_split_of_our_own_keeps_patients_together(load):
    records, result, told = load(split="70-15-15", folds=10)
    assert "held-out images" not in told
    places: dict[str, set[str]] = {}
    for r in records:
        places.setdefault(r.source.patient, set()).add(r.tags[0])
    assert all(len(found) == 1 for found in places.values())
    assert {r.source.fold for r in records} == set(range(1, 11))
    assert sum(counts["malignant"] for counts in result["splits"].values()) == 607
