"""BUSI's layout on disk."""

import shutil

from busaug_core.data.busi import list_scans


def test_scans_come_in_natural_order_with_all_their_masks(copy):
    for n in (10, 100):
        shutil.copy(copy / "benign/benign (1).png", copy / f"benign/benign ({n}).png")
        shutil.copy(copy / "benign/benign (1)_mask.png", copy / f"benign/benign ({n})_mask.png")
    shutil.copy(copy / "benign/benign (2)_mask.png", copy / "benign/benign (2)_mask_1.png")
    benign = [s for s in list_scans(copy)[0] if s.label == "benign"]
    assert [s.path.stem for s in benign] == [f"benign ({n})" for n in (1, 2, 3, 4, 5, 6, 10, 100)]
    assert [len(s.masks) for s in benign] == [1, 2, 1, 1, 1, 1, 1, 1]


def test_images_and_masks_may_lie_in_folders_of_their_own(busi, tmp_path):
    for path in busi.rglob("*.png"):
        mask = "_mask" in path.stem
        place = tmp_path / "busi" / path.parent.name / ("masks" if mask else "images")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place / (path.name.replace("_mask", "") if mask else path.name))
    flat, nested = list_scans(busi)[0], list_scans(tmp_path / "busi")[0]
    assert [(s.path.name, s.label, len(s.masks)) for s in flat] == [
        (s.path.name, s.label, len(s.masks)) for s in nested
    ]
