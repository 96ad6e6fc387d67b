"""Folders as people have them: nested, in capitals, with patients, and with what does not belong there."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from set_folders import load, made, notices, write_scan

from busaug_core.data.busi import list_scans
from busaug_core.data.folder_a_class import list_folder
from busaug_core.data.folders import class_of, left_over, split_of
from busaug_core.data.scans import read_scan
from busaug_core.errors import UserError


def write(root, *names, mask=None):
    """A scan at each name, and a mask beside it where `mask` makes a name of its stem."""
    for n, name in enumerate(names):
        path = root / name
        write_scan(path, None if mask is None else path.with_name(mask.format(path.stem) + ".png"), n + 5)


def loaded(root, home, **values):
    values = dict(layout="folder", run_key="load") | values
    events = load(root, home, **values)
    return made(events), events[-1].result, notices(events)


@pytest.mark.parametrize(
    ("name", "label", "split"),
    [
        ("BENIGN", "benign", None),
        ("Malignant", "malignant", None),
        ("benign_images", "benign", None),
        ("Benign lesions", "benign", None),
        ("MalignantTumors", "malignant", None),
        ("train_benign", "benign", "train"),
        ("N", "normal", None),
        ("Training Set", None, "train"),
        ("TestData", None, "test"),
        ("VALID", None, "val"),
        ("abnormal", None, None),
        ("non-malignant", None, None),
        ("benign_cyst", None, None),
        ("benign or malignant", None, None),
        ("contest", None, None),
        ("Dataset_BUSI_with_GT", None, None),
    ],
)
def test_folders_are_told_by_the_usual_words(name, label, split):
    assert (class_of(name), split_of(name)) == (label, split)


@pytest.mark.parametrize(
    "layout",
    [
        "{c}/{n}.png",
        "{C}/{n}.png",
        "deep/er/Dataset/{c}/{n}.png",
        "{c}/images/{n}.png",
        "images/{c}/{n}.png",
        "{c}/patient_{n}/scan.png",
        "patient_{n}/{C}/scan.png",
        "{c}/a/b/c/{n}.png",
        "set/{c}_images/{n}.png",
    ],
)
def test_classes_are_found_wherever_their_folders_lie(tmp_path, layout):
    for c in ("benign", "malignant"):
        write(tmp_path / "set", *(layout.format(c=c, C=c.upper(), n=n) for n in range(4)))
    scans, problems, *_ = list_folder(tmp_path / "set")
    assert len(scans) == 8 and not problems
    assert all(class_of(s.label) == ("benign" if "benign" in str(s.path).lower() else "malignant") for s in scans)


def test_images_at_every_depth_are_loaded_together(tmp_path):
    write(tmp_path / "set", "benign/1.png", "benign/x/2.png", "benign/x/y/3.png", "malignant/x/y/z/4.png")
    assert [scan.label for scan in list_folder(tmp_path / "set").scans] == ["benign"] * 3 + ["malignant"]


@pytest.mark.parametrize("suffix", ["webp", "jfif", "jpe", "gif", "PNG", "JPG", "avif", "ppm", "tga", "jp2", "bmp"])
def test_whatever_suffix_pillow_reads_is_an_image(tmp_path, suffix):
    write(tmp_path / "set", f"benign/1.{suffix}")
    (scan,) = list_folder(tmp_path / "set").scans
    assert read_scan(scan).image.size == (64, 64)


def test_images_without_suffix_or_with_an_odd_one_are_known_by_their_first_bytes(tmp_path):
    write(tmp_path / "set", "benign/1.png", "benign/2.png", "benign/3.png")
    (tmp_path / "set/benign/1.png").rename(tmp_path / "set/benign/IM0001")
    (tmp_path / "set/benign/2.png").rename(tmp_path / "set/benign/1.2.840.113619")
    records, result, _ = loaded(tmp_path / "set", tmp_path / "home")
    assert (result["counts"], result["skipped"]) == ({"benign": 3}, [])
    assert sum(Path(r.path).suffix == ".png" for r in records) == 3  # the App must know them by name


def test_the_same_names_in_folders_of_several_patients_are_a_layout(tmp_path):
    write(
        tmp_path / "set",
        *(f"{c}/patient_{p}/{n}.png" for c in ("benign", "malignant") for p in (1, 2, 3) for n in (1, 2)),
        mask="{}_mask",
    )
    records, result, told = loaded(tmp_path / "set", tmp_path / "home", split="60-40")
    assert result["counts"] == {"benign": 6, "malignant": 6}
    assert all(len(r.lesions) == 1 and Path(r.lesions[0].path).parent == Path(r.path).parent for r in records)
    assert "6 numbered folders are taken to be of a patient each" in told
    groups = {}
    for r in records:
        groups.setdefault((r.label, r.source.patient), set()).add((r.split_group, r.tags[0]))
    assert len(groups) == 6 and all(len(g) == 1 for g in groups.values())
    assert len({g for found in groups.values() for g, _ in found}) == 6


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("benign/{}.png", "benign/{}_mask.png"),
        ("benign/{}.png", "benign/{}_Mask_1.PNG"),
        ("benign/{}.png", "benign/{}-mask.png"),
        ("benign/{}.png", "benign/{} mask.bmp"),
        ("benign/{}.png", "benign/{}_gt.png"),
        ("benign/{}.png", "benign/{}_anno.bmp"),
        ("benign/images/{}.png", "benign/masks/{}.png"),
        ("benign/Images/{}.jpg", "benign/GT/{}_mask.png"),
        ("images/benign/{}.png", "masks/benign/{}.png"),
        ("images/Benign/{}.png", "MASKS/benign/{}.png"),
        ("images/benign/{}.png", "ground_truth/{}.png"),
        ("train/images/benign/{}.png", "train/labels/benign/{}.png"),
        ("benign_images/{}.png", "benign_masks/{}.png"),
        ("benign/{}.png", "benign/mask_{}.png"),
        ("benign/{}.png", "benign/GT {}.png"),
        ("benign/{} Image.bmp", "benign/{} Mask.tif"),
        ("benign/case{}/image.png", "benign/case{}/mask.png"),
        ("benign/case{}/us.png", "benign/case{}/segmentation.png"),
    ],
)
def test_masks_are_found_beside_their_images_and_apart(tmp_path, image, mask):
    for n in range(3):
        write_scan(tmp_path / "set" / image.format(n), tmp_path / "set" / mask.format(n), n)
    scans, problems, *_ = list_folder(tmp_path / "set")
    assert [len(scan.masks) for scan in scans] == [1, 1, 1] and not problems
    assert left_over(tmp_path / "set", {p for scan in scans for p in (scan.path, *scan.masks)}, "") == []


def test_a_name_like_a_masks_is_an_images_where_no_other_has_the_rest_of_it(tmp_path):
    write(tmp_path / "set", "benign/seg.png", "benign/1.png", "benign/2.png", "benign/3_label.png")
    scans, problems, *_ = list_folder(tmp_path / "set")
    assert len(scans) == 4 and not problems and not any(scan.masks for scan in scans)
    write(tmp_path / "set", "benign/mask.png")
    assert "mask.png is a mask without an image" in list_folder(tmp_path / "set").problems[0]


def test_a_mask_apart_that_fits_several_images_names_them(tmp_path):
    write(tmp_path / "set", "benign/1.png", "malignant/1.png", "masks/1.png")
    (problem,) = list_folder(tmp_path / "set").problems
    assert "masks/1.png may be the mask of" in problem and "benign/1.png or " in problem


def test_the_same_names_in_two_splits_keep_their_own_masks(tmp_path):
    for n, split in enumerate(("train_images", "test_images")):
        write_scan(tmp_path / f"set/{split}/benign/1.png", None, n)
    write_scan(tmp_path / "other.png", tmp_path / "set/train_masks/benign/1.png", 0)
    scans = list_folder(tmp_path / "set").scans
    assert [(scan.source.split, len(scan.masks)) for scan in scans] == [("test", 0), ("train", 1)]


def test_everything_that_is_not_loaded_is_listed_with_a_reason(tmp_path):
    write(tmp_path / "set", "benign/1.png", "malignant/2.png", "cover.png", "figures.jpg")
    for name in ("readme.txt", "benign/notes.txt", "labels.csv", "benign/model.pth", "metadata.jsonl"):
        (tmp_path / "set" / name).write_text("x")
    (tmp_path / "set/benign/.hidden.png").write_bytes(b"x")
    records, result, told = loaded(tmp_path / "set", tmp_path / "home")
    assert len(records) == 2
    assert "2 images to which the layout gives no class (cover.png, figures.jpg)" in result["skipped"][0]
    assert "2 .txt" in result["skipped"][1] and "1 .jsonl" in result["skipped"][1] and "1 .pth" in result["skipped"][1]
    assert all(entry in told for entry in result["skipped"])


def test_every_image_is_loaded_or_named(tmp_path):
    root = tmp_path / "set"
    folders = ("benign", "Benign/x/y", "p1/malignant", ".", "x")
    write(root, *(f"{folder}/{name}" for folder in folders for name in ("1.png", "2.webp")))
    records, result, _ = loaded(root, tmp_path / "home")
    told = " ".join(result["skipped"])
    for path in root.rglob("*.*"):
        assert str(path) in {r.path for r in records} or path.name in told
    assert Counter(r.label for r in records) == {"benign": 4, "malignant": 2, "x": 2}


def test_a_folder_without_classes_says_which_layout_takes_it(tmp_path):
    write(tmp_path / "set", "1.png", "2.png")
    with pytest.raises(UserError, match="holds no folder a class.*set layout to 'images'"):
        loaded(tmp_path / "set", tmp_path / "home")
    records, result, _ = loaded(tmp_path / "set", tmp_path / "home", layout="images", split="50-50")
    assert result["counts"] == {"": 2}
    assert [r.label for r in records] == ["", ""]


def test_a_link_that_leads_back_is_followed_once(tmp_path):
    write(tmp_path / "set", "benign/1.png")
    (tmp_path / "set/benign/again").symlink_to(tmp_path / "set")
    assert len(list_folder(tmp_path / "set").scans) == 1


def test_a_name_that_is_not_utf_8_is_refused_and_the_rest_is_loaded(tmp_path):
    write(tmp_path / "set", "benign/1.png", "benign/2.png")
    odd = bytes(tmp_path / "set/benign") + b"/tum\xf6r.png"
    shutil.copy(tmp_path / "set/benign/1.png", odd)
    with pytest.raises(UserError, match=r"tum\\xf6r\.png has a name that is not UTF-8; rename it"):
        loaded(tmp_path / "set", tmp_path / "home")
    records, result, _ = loaded(tmp_path / "set", tmp_path / "home", on_error="skip")
    assert len(records) == 2 and "not UTF-8" in result["skipped"][0]


@pytest.mark.parametrize("change", ["capitals", "deeper", "beside others", "patients"])
def test_busi_is_found_under_any_case_and_depth(busi, tmp_path, change):
    root = tmp_path / "source"
    for path in busi.rglob("*.png"):
        label, name = path.parent.name, path.name
        number, kind = name.split("(")[1].split(")")
        place = {
            "capitals": f"{label.upper()}/{name}",
            "deeper": f"a/b/c/{label}/{name}",
            "beside others": f"Dataset/{label.title()}/{name}",
            "patients": f"{label}/P{number}/scan{kind}",
        }[change]
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / place)
    if change == "beside others":
        write(root, "paper/figure.png")
    found, expected = list_scans(root), list_scans(busi)
    assert not found.problems
    assert [(s.label, len(s.masks)) for s in found.scans] == [(s.label, len(s.masks)) for s in expected.scans]
