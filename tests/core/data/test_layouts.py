"""Published sets in miniature: their layouts, as code that reads them has them."""

import numpy as np
import pytest
from PIL import Image
from set_folders import load, made, notices, write_scan, write_table

from busaug_core.data.external import SETS
from busaug_core.data.scans import read_scan
from busaug_core.errors import UserError

GREEN, RED = (0, 255, 0), (255, 0, 0)


@pytest.fixture
def bus_uclm(tmp_path):
    """Three patients with two images each; semicolons and a byte-order mark; one's masks are of half the size."""
    root = tmp_path / "BUS-UCLM"
    (root / "masks").mkdir(parents=True)
    lines = ["Image;Resolution;Label;Doppler;Marks;Combined"]
    for patient, label in (("ALWI", "Benign"), ("COPE", "Malignant"), ("HESN", "Normal")):
        for n in range(2):
            name = f"{patient}_{n:03d}.png"
            write_scan(root / "images" / name, tmp_path / "gray.png", n + 3)
            mask = np.asarray(Image.open(tmp_path / "gray.png"))[..., None] > 0
            colour = {"Benign": GREEN, "Malignant": RED, "Normal": (0, 0, 0)}[label]
            picture = Image.fromarray(np.where(mask, np.uint8(colour), np.uint8(0)))
            (picture.resize((32, 32), 0) if patient == "HESN" else picture).save(root / "masks" / name)
            lines.append(f"{name};64x64;{label};0;0;0")
    (tmp_path / "gray.png").unlink()
    (root / "INFO.csv").write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return tmp_path


def test_bus_uclm_has_semicolons_coloured_masks_and_patients(bus_uclm, tmp_path):
    events = load(bus_uclm, tmp_path / "home", layout="bus_uclm", split="official")
    records = made(events)
    assert events[-1].result["counts"] == {"benign": 2, "malignant": 2, "normal": 2}
    assert [len(r.lesions) for r in records] == [1, 1, 1, 1, 0, 0]
    assert [r.source.patient for r in records] == ["ALWI"] * 2 + ["COPE"] * 2 + ["HESN"] * 2
    assert [r.tags[0] for r in records] == ["train"] * 2 + ["test"] * 2 + ["train"] * 2
    assert "Masks of another size than their image, scaled to it: 2 of 6 images" in notices(events)
    assert events[-1].result["skipped"] == []


def test_a_mask_of_other_proportions_is_refused_in_bus_uclm_too(bus_uclm, tmp_path):
    Image.new("RGB", (32, 20), GREEN).save(bus_uclm / "BUS-UCLM/masks/ALWI_000.png")
    with pytest.raises(UserError, match=r"ALWI_000\.png is 32×20, but its image is 64×64"):
        load(bus_uclm, tmp_path / "home", layout="bus_uclm")


def test_bus_uc_leaves_out_the_folder_that_repeats_the_others(tmp_path):
    for label in ("Benign", "Malignant", "All"):
        for n in (1, 2):
            write_scan(
                tmp_path / f"BUS_UC/{label}/images/{n:02d}.png", tmp_path / f"BUS_UC/{label}/masks/{n:02d}.png", n
            )
    scans, problems, *_ = SETS["bus_uc"].list_scans(tmp_path)
    assert not problems
    assert [(s.label, s.source.name, len(s.masks)) for s in scans] == [
        ("benign", "Benign/01", 1),
        ("benign", "Benign/02", 1),
        ("malignant", "Malignant/01", 1),
        ("malignant", "Malignant/02", 1),
    ]


def test_buid_pairs_bmp_with_tif_and_lists_its_drawings(tmp_path):
    root = tmp_path / "BUID"
    for label in ("Benign", "Malignant"):
        for n in (1, 2, 10):
            stem = f"{root}/{label}/{n} {label}"
            write_scan(tmp_path.joinpath(f"{stem} Image.bmp"), tmp_path.joinpath(f"{stem} Mask.tif"), n)
            write_scan(tmp_path.joinpath(f"{stem} Lesion.bmp"), None, n)
    events = load(tmp_path, tmp_path / "home", layout="buid")
    assert [r.source.name for r in made(events)][:3] == ["1 Benign Image", "2 Benign Image", "10 Benign Image"]
    assert all(len(r.lesions) == 1 for r in made(events))
    assert "1 Benign Lesion.bmp" in events[-1].result["skipped"][0]


@pytest.mark.parametrize("has_table", [True, False])
def test_gdph_and_sysucc_take_classes_from_names_and_grades_and_folds_from_the_spreadsheet(tmp_path, has_table):
    root = tmp_path / "GDPH&SYSUCC"
    names = {"GDPH": ("benign(1)", "malignant(1)"), "SYSUCC": ("benign(0)", "malignant(0)")}
    rows = []
    for hospital, stems in names.items():
        for stem in stems:
            write_scan(root / hospital / f"{stem}.png", None, len(rows), stem.split("(")[0])
            rows.append(
                {"ID": stem, "BIRADS-reader1": "4A", "BIRADS-reader2": "4A" if rows else "3", "fold": len(rows) % 2}
            )
    if has_table:
        import pandas as pd

        pd.DataFrame(rows).to_excel(root / "BIRADS&FOLD.xlsx", index=False)
    listing = SETS["gdph_sysucc"].list_scans(tmp_path)
    assert [s.label for s in listing.scans] == ["benign", "malignant"] * 2
    assert listing.scans[0].source.name == "GDPH/benign(1)"
    assert [s.source.birads for s in listing.scans] == (["4A/3", "4A", "4A", "4A"] if has_table else [None] * 4)
    if has_table:
        events = load(tmp_path, tmp_path / "home", layout="gdph_sysucc", split="official")
        assert [(r.source.fold, r.tags[0]) for r in made(events)] == [(1, "test"), (2, "train")] * 2
    else:
        with pytest.raises(UserError, match="publishes no list of splits"):
            load(tmp_path, tmp_path / "home", layout="gdph_sysucc", split="official")


def test_busi_whu_has_images_and_masks_but_no_classes(tmp_path):
    for n in range(2):
        write_scan(tmp_path / f"BUSI-WHU/train/img/{n:04d}.bmp", tmp_path / f"BUSI-WHU/train/gt/{n:04d}_anno.bmp", n)
        write_scan(tmp_path / f"BUSI-WHU/test/img/{n:04d}.bmp", tmp_path / f"BUSI-WHU/test/gt/{n:04d}_anno.bmp", n + 5)
    events = load(tmp_path, tmp_path / "home", layout="busi_whu", split="folders")
    assert events[-1].result["counts"] == {"": 4}
    assert events[-1].result["splits"] == {"train": {"": 2}, "test": {"": 2}}
    assert all(len(r.lesions) == 1 for r in made(events))


def test_files_of_another_suffix_or_case_than_the_table_has_are_found(tmp_path):
    root = tmp_path / "busbra"
    rows = []
    for n in (1, 2):
        write_scan(root / f"images/BUS_{n:04d}-L.jpg", root / f"masks/MASK_{n:04d}-L.PNG", n)
        rows.append({"id": f"bus_{n:04d}-l", "case": n, "pathology": "Benign"})
    write_table(root / "Bus_Data.csv", rows)
    scans, problems, *_ = SETS["bus_bra"].list_scans(tmp_path)
    assert not problems
    assert [len(read_scan(scan).lesions) for scan in scans] == [1, 1]


def official_lists(root):
    """Eight images of four patients, and lists of 2 folds under the names of 5 and 10."""
    rows = []
    for n in range(8):
        name = f"bus_{n // 2:04d}-{'lr'[n % 2]}"
        write_scan(root / f"Images/{name}.png", root / f"Masks/{name.replace('bus', 'mask')}.png", n + 3)
        row = {
            "ID": name,
            "Case": n // 2,
            "Pathology": "benign",
            "Histology": "cyst",
            "Side": "left",
            "BBOX": "[1,2,3,4]",
        }
        rows.append(row)
    write_table(root / "bus_data.csv", rows)
    for k in (5, 10):
        folds = [{"ID": r["ID"], "kFold": 1 + (r["Case"] + k) % 4} for r in rows]
        for i, row in enumerate(folds):
            row["valid_1"] = "NaN" if row["kFold"] == 1 else i % 2
        write_table(root / f"{k}-fold-cv.csv", folds)
    return rows


def test_the_official_lists_of_bus_bra_give_split_and_folds(tmp_path):
    official_lists(tmp_path / "BUSBRA")
    events = load(tmp_path, tmp_path / "home", layout="bus_bra", split="official", run_key="five", folds=5)
    records = made(events)
    assert [r.source.fold for r in records] == [2, 2, 3, 3, 4, 4, 1, 1]
    assert [r.tags[0] for r in records] == ["val", "train"] * 3 + ["test"] * 2
    assert all(f"fold_{r.source.fold}" in r.tags for r in records)
    assert (records[0].source.histology, records[0].source.side, records[0].source.bbox) == (
        "cyst",
        "left",
        "[1,2,3,4]",
    )
    ten = made(load(tmp_path, tmp_path / "home", layout="bus_bra", split="official", run_key="ten", folds=10))
    assert [r.source.fold for r in ten] == [3, 3, 4, 4, 1, 1, 2, 2]
    without = made(load(tmp_path, tmp_path / "home", layout="bus_bra", split="official", run_key="plain"))
    assert [r.tags[0] for r in without] == [r.tags[0] for r in records]
    assert not any(tag.startswith("fold_") for r in without for tag in r.tags)


def test_official_folds_that_there_are_not_are_refused_before_reading(tmp_path):
    official_lists(tmp_path / "BUSBRA")
    with pytest.raises(UserError, match="The official lists here have 5 and 10 folds, not 3"):
        load(tmp_path, tmp_path / "home", layout="bus_bra", split="official", folds=3)
    with pytest.raises(UserError, match="'folders' needs images in folders train"):
        load(tmp_path, tmp_path / "home", layout="bus_bra", split="folders")
