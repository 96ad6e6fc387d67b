"""External sets: their layouts, what ties their images, and loading them beside a dataset."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from set_folders import NUMBERS, label_of, load, made, notices, write_scan, write_table

from busaug_core.data import external
from busaug_core.data.config import LoadExternal
from busaug_core.errors import UserError
from busaug_core.records import Source


@pytest.fixture
def bus_bra(tmp_path):
    """Eight images of four patients in BUS-BRA's layout."""
    root = tmp_path / "BUSBRA"
    rows = []
    for n in NUMBERS:
        patient, side = (n + 1) // 2, "lr"[n % 2]
        name = f"bus_{patient:04d}-{side}"
        write_scan(root / f"Images/{name}.png", root / f"Masks/mask_{patient:04d}-{side}.png", n)
        label = "Malignant" if patient > 2 else "Benign"
        rows.append({"ID": name, "Case": patient, "Pathology": label, "BIRADS": 4, "Device": "GE Logiq 7"})
    write_table(root / "bus_data.csv", rows)
    return tmp_path


def breast_lesions_usg(folder, write):
    rows = []
    for n in NUMBERS:
        name = f"case{n:03d}"
        write_scan(folder / f"{name}.png", folder / f"{name}_tumor.png", n, label_of(n))
        Image.open(folder / f"{name}.png").convert("RGBA").save(folder / f"{name}.png")
        rows.append(
            {
                "CaseID": str(n),
                "Image_filename": f"{name}.png",
                "Mask_tumor_filename": f"{name}_tumor.png",
                "Mask_other_filename": "",
                "BIRADS": "4a",
                "Classification": label_of(n),
            }
        )
    for number in (1, 2):
        shutil.copy(folder / "case001_tumor.png", folder / f"case001_other{number}.png")
    rows[0]["Mask_other_filename"] = "case001_other1.png&case001_other2.png"
    write(rows)


@pytest.fixture
def meddap(tmp_path):
    """Two pictures a class, each with a rotated and sharpened copy in the other folder."""
    root = tmp_path / "set" / "ultrasound breast classification"
    for label in ("benign", "malignant"):
        for n in (1, 2):
            write_scan(root / "train" / label / f"{label} ({n}).png", None, n, label)
            turned = Image.open(root / "train" / label / f"{label} ({n}).png").rotate(90)
            for folder, name in (("train", "rotated1"), ("val", "rotated1-sharpened")):
                (root / folder / label).mkdir(parents=True, exist_ok=True)
                turned.save(root / folder / label / f"{label} ({n})-{name}.png")
    return tmp_path / "set"


@pytest.fixture
def udiat(tmp_path):
    for n in NUMBERS:
        write_scan(tmp_path / f"original/{n:06d}.png", tmp_path / f"GT/{n:06d}.png", n, label_of(n))
    write_table(tmp_path / "DatasetB.csv", [{"Image": n, "Type": label_of(n).title()} for n in NUMBERS])
    return tmp_path


def test_bus_bra_has_classes_masks_and_patients(bus_bra, tmp_path):
    events = load(bus_bra, tmp_path / "home", layout="bus_bra")
    records = made(events)
    assert events[-1].result["counts"] == {"benign": 4, "malignant": 4}
    assert all(len(r.lesions) == 1 for r in records)
    assert records[0].source == Source(
        set="bus_bra", name="bus_0001-r", patient="1", birads="4", device="GE Logiq 7", subject="1"
    )
    assert records[0].tags == ["real", "external", "bus_bra"]
    assert "CC BY 4.0" in events[-1].result["licence"]


def test_images_of_a_patient_share_a_split_but_are_no_duplicates(bus_bra, tmp_path):
    records = made(load(bus_bra, tmp_path / "home", layout="bus_bra", split="50-50"))
    groups = {}
    for r in records:
        groups.setdefault(r.source.patient, set()).add((r.split_group, r.tags[0]))
    assert len(groups) == len({next(iter(g))[0] for g in groups.values()}) == 4
    assert all(len(g) == 1 for g in groups.values())
    assert not any({"duplicate", "label_conflict"} & set(r.tags) for r in records)


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_breast_lesions_usg_has_a_detection_for_each_mask(tmp_path, kind):
    def write(rows):
        if kind == "csv":
            write_table(tmp_path / "clinical.csv", rows)
        else:
            pd = pytest.importorskip("pandas")
            pd.DataFrame(rows).to_excel(tmp_path / "clinical.xlsx", index=False)

    breast_lesions_usg(tmp_path / "images", write)
    events = load(tmp_path, tmp_path / "home", layout="breast_lesions_usg")
    records = made(events)
    assert [len(r.lesions) for r in records] == [3, 1, 1, 1, 1, 1, 1, 1]
    assert records[0].size == [64, 64, 4]
    assert records[0].source.birads == "4a"
    assert events[-1].result["counts"] == {"benign": 6, "malignant": 2}


def test_a_spreadsheet_without_its_reader_says_what_to_install(tmp_path, monkeypatch):
    breast_lesions_usg(tmp_path, lambda rows: (tmp_path / "clinical.xlsx").write_bytes(b""))
    import pandas as pd

    def missing(*args, **kwargs):
        raise ImportError("no openpyxl")

    monkeypatch.setattr(pd, "read_excel", missing)
    with pytest.raises(UserError, match="pip install pandas openpyxl"):
        load(tmp_path, tmp_path / "home", layout="breast_lesions_usg")


def test_copies_of_one_picture_share_a_split_and_the_published_split_is_said_to_leak(meddap, tmp_path):
    published = load(meddap, tmp_path / "home", layout="meddap_kaggle", split="folders")
    assert events_counts(published) == {"train": 8, "val": 4}
    assert "4 held-out images have a copy" in notices(published)
    ours = load(meddap, tmp_path / "home", layout="meddap_kaggle", split="50-50")
    groups = {}
    for r in made(ours):
        groups.setdefault(r.split_group, []).append(r.tags[0])
    assert [len(g) for g in groups.values()] == [3] * 4
    assert all(len(set(g)) == 1 for g in groups.values())
    assert "held-out" not in notices(ours)


def events_counts(events):
    return {split: sum(counts.values()) for split, counts in events[-1].result["splits"].items()}


def test_udiat_takes_its_classes_from_the_table(udiat, tmp_path):
    events = load(udiat, tmp_path / "home", layout="udiat")
    assert events[-1].result["counts"] == {"benign": 6, "malignant": 2}
    assert [r.source.name for r in made(events)] == [f"{n:06d}" for n in NUMBERS]
    assert all(r.lesions for r in made(events))


def test_an_image_that_udiat_lacks_is_named(udiat, tmp_path):
    (udiat / "original/000003.png").unlink()
    with pytest.raises(UserError, match=r"000003\.png is listed but missing"):
        load(udiat, tmp_path / "home", layout="udiat")


def test_any_folder_a_class_is_loaded_and_its_classes_may_be_renamed(tmp_path):
    for n in NUMBERS:
        write_scan(tmp_path / "set" / ("Benign", "Cancer")[n % 2] / f"{n}.jpg", None, n)
    events = load(tmp_path / "set", tmp_path / "home", layout="folder", rename=["Cancer=malignant"], split="50-50")
    assert events[-1].result["counts"] == {"benign": 4, "malignant": 4}
    assert {r.source.set for r in made(events)} == {"set"}
    with pytest.raises(UserError, match="not of the form"):
        LoadExternal.parse({"layout": "folder", "source": "x", "rename": ["Cancer"]})


def test_a_class_that_the_dataset_lacks_is_told(records, tmp_path):
    write_scan(tmp_path / "set/cyst/new.png", None, 78)
    events = load(tmp_path / "set", tmp_path / "home", records, layout="folder", dataset_name=None)
    assert "adds the class(es) cyst to the dataset" in notices(events)
    events = load(
        tmp_path / "set", tmp_path / "h2", records, layout="folder", dataset_name=None, rename=["cyst=benign"]
    )
    assert "adds the class" not in notices(events)


def test_a_set_added_to_a_dataset_is_audited_with_it(records, tmp_path):
    known = Path(records[0].path)
    write_scan(tmp_path / "set/benign/new.png", None, 77)
    Image.open(known).resize((80, 80)).save(tmp_path / "set/benign/copy.png")
    events = load(tmp_path / "set", tmp_path / "home", records, layout="folder", dataset_name=None)
    new = {Path(r.path).stem: r for r in made(events)}
    assert set(new) == {"new", "copy"}
    assert new["copy"].split_group is not None
    assert new["new"].split_group is None
    assert new["new"].source.set == "set" and "folder" in new["new"].tags
    assert "1 image of set shows a scan that the dataset holds already" in notices(events)
    from busaug_core.jobs.run import Run

    products = {r.path: r for r in Run(Path(events[-1].result["folder"])).products}
    assert products[str(known)].split_group == new["copy"].split_group
    assert products[str(known)].tags[:2] == records[0].tags[:2]
    assert not {"train", "val"} & set(new["copy"].tags)


def test_a_set_split_into_a_dataset_leaves_copies_of_its_scans_without_a_split(records, tmp_path):
    for n, r in enumerate(records):
        (tmp_path / "set" / r.label).mkdir(parents=True, exist_ok=True)
        Image.open(r.path).resize((90, 90)).save(tmp_path / "set" / r.label / f"copy{n}.png")
        write_scan(tmp_path / "set" / r.label / f"new{n}.png", None, 300 + n, r.label)
    values = dict(layout="folder", dataset_name=None, split="50-50", folds=2)
    new = made(load(tmp_path / "set", tmp_path / "home", records, **values))
    for r in new:
        split = {"train", "val"} & set(r.tags)
        assert bool(split) == Path(r.path).stem.startswith("new")


def test_a_set_is_not_loaded_twice_into_a_dataset(records, tmp_path):
    write_scan(tmp_path / "set/benign/new.png", None, 77)
    first = made(load(tmp_path / "set", tmp_path / "home", records, layout="folder", dataset_name=None))
    write_scan(tmp_path / "set/benign/newer.png", None, 78)
    events = load(tmp_path / "set", tmp_path / "home", [*records, *first], layout="folder", dataset_name=None)
    assert [Path(r.path).stem for r in made(events)] == ["newer"]
    assert "1 file is in the dataset already" in notices(events)


def test_folds_need_no_split(bus_bra, tmp_path):
    records = made(load(bus_bra, tmp_path / "home", layout="bus_bra", folds=2))
    assert all({"fold_1", "fold_2"} & set(r.tags) for r in records)


def test_a_renaming_of_no_class_is_refused(bus_bra, tmp_path):
    with pytest.raises(UserError, match="rename names cyst, but the classes are benign, malignant"):
        load(bus_bra, tmp_path / "home", layout="bus_bra", rename=["Cyst=benign"])


def test_the_command_line_loads_a_set_by_itself(bus_bra, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BUSAUG_HOME", str(tmp_path / "home"))
    from busaug_core.__main__ import main

    command = ["load_external", "--layout", "bus_bra", "--source", str(bus_bra), "--dataset_name", "outside"]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"benign": 4, "malignant": 4}
    assert main(command[:-2]) == 2
    assert "--dataset_name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "BUSBRA/bus_data.csv").unlink(), "is not BUS-BRA: it lacks Images, Masks, bus_data.csv"),
        (lambda d: (d / "BUSBRA/bus_data.csv").write_text("ID,Case\n1,2\n"), "lacks .*Pathology.* among its columns"),
        (lambda d: (d / "BUSBRA/Images/bus_0002-r.png").unlink(), "bus_0002-r.png is listed but missing"),
        (lambda d: (d / "BUSBRA/Masks/mask_0002-r.png").unlink(), "mask_0002-r.png is listed but missing"),
    ],
)
def test_an_incomplete_set_is_named_in_one_sentence(bus_bra, tmp_path, damage, message):
    damage(bus_bra)
    with pytest.raises(UserError, match=message):
        load(bus_bra, tmp_path / "home", layout="bus_bra")


def test_the_rest_of_an_incomplete_set_is_loaded_on_demand(bus_bra, tmp_path):
    (bus_bra / "BUSBRA/Images/bus_0002-r.png").unlink()
    events = load(bus_bra, tmp_path / "home", layout="bus_bra", on_error="skip")
    assert len(made(events)) == 7
    assert "bus_0002-r.png is listed but missing" in notices(events)


def test_the_two_sets_called_dataset_b_have_two_names():
    assert {"meddap_kaggle", "udiat"} <= set(external.SETS)
    assert external.SETS.keys() == set(LoadExternal.model_fields["layout"].annotation.__args__)


def test_a_row_that_is_listed_twice_is_one_image_and_one_of_two_classes_is_refused(bus_bra, tmp_path):
    table = bus_bra / "BUSBRA/bus_data.csv"
    rows = table.read_text().splitlines()
    table.write_text("\n".join([*rows, rows[1]]) + "\n")
    assert load(bus_bra, tmp_path / "once", layout="bus_bra")[-1].result["counts"] == {"benign": 4, "malignant": 4}
    table.write_text("\n".join([*rows, rows[1].replace("Benign", "Malignant")]) + "\n")
    with pytest.raises(UserError, match="is listed as Benign and as Malignant; correct the table"):
        load(bus_bra, tmp_path / "twice", layout="bus_bra")
