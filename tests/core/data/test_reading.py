"""What a load tells: what was assumed, what browsers do not show, what is refused before anything is read."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from dicom_files import write_dicom
from PIL import Image
from set_folders import load, made, notices, simulated, write_scan

from busaug_core import dicom, images
from busaug_core.data import scans
from busaug_core.data.masks import OUTLINE
from busaug_core.errors import UserError
from busaug_core.images import load_gray
from busaug_core.registry import job


@pytest.fixture
def folder(tmp_path):
    """Two classes of four scans each with masks."""
    for label in ("benign", "malignant"):
        for n in range(4):
            write_scan(tmp_path / f"set/{label}/{n}.png", tmp_path / f"set/{label}/{n}_mask.png", n, label)
    return tmp_path / "set"


def run(folder, home, **values):
    events = load(folder, home, **dict(layout="folder", run_key="load") | values)
    return made(events), events[-1].result, notices(events)


def as_tiff(folder, bits=12):
    """The folder's images as TIFF of so many bits, and their gray values by stem."""
    before = {}
    for path in sorted(folder.rglob("?.png")):
        gray = np.asarray(Image.open(path))
        before[f"{path.parent.name}/{path.stem}"] = load_gray(path, 64)
        tifffile.imwrite(path.with_suffix(".tif"), (gray.astype("u2") << (bits - 8)) if bits > 8 else gray)
        path.unlink()
    return before


def test_what_was_assumed_is_said_once_a_kind_with_a_count(folder, tmp_path):
    as_tiff(folder)
    for path in sorted(folder.glob("benign/*_mask.png")):
        Image.open(path).save(path.with_suffix(".jpg"), quality=75)
        path.unlink()
    _, result, told = run(folder, tmp_path / "home")
    assert result["assumed"] == {
        "values of more than 8 bits, read as 0 to 4095": 8,
        "masks of more than two levels, cut at half of their range": 4,
    }
    assert told.count("read as 0 to 4095: 8 of 8 images, such as") == 1
    assert "8 images (.tif) are not shown by browsers" in told and "write_png" in told


def test_files_that_browsers_do_not_show_are_written_as_png_on_demand(folder, tmp_path):
    before = as_tiff(folder)
    records, result, told = run(folder, tmp_path / "home", write_png=True)
    assert "not shown" not in told and "Images written as PNG into the run's folder: 8 of 8" in told
    for r in records:
        original = Path(r.source.file)
        assert original.suffix == ".tif" and original.exists()
        assert Path(r.path).is_relative_to(result["folder"]) and Path(r.path).suffix == ".png"
        assert np.array_equal(load_gray(r.path, 64), before[f"{original.parent.name}/{original.stem}"])
        assert r.size == [64, 64, 1] and len(r.lesions) == 1


def test_images_in_colours_that_a_png_does_not_hold_are_written_as_rgb(folder, tmp_path):
    path = folder / "benign/0.png"
    Image.open(path).convert("CMYK").save(path.with_suffix(".tif"))
    path.unlink()
    records, *_ = run(folder, tmp_path / "home", write_png=True)
    (written,) = (r for r in records if r.source.file)
    assert written.size == [64, 64, 3] and Image.open(written.path).mode == "RGB"


def test_16_bit_png_is_written_anew_too(folder, tmp_path):
    path = folder / "benign/0.png"
    Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) << 4).save(path)
    records, *_ = run(folder, tmp_path / "home", write_png=True)
    assert [Path(r.path) != Path(r.source.file or r.path) for r in records] == [True] + [False] * 7


def test_a_written_set_is_not_loaded_twice(folder, tmp_path):
    as_tiff(folder)
    records, *_ = run(folder, tmp_path / "home", write_png=True)
    with pytest.raises(UserError, match="The dataset holds all of it already .8 images"):
        load(folder, tmp_path / "home", records, layout="folder", dataset_name=None, write_png=True)


def test_runs_that_lie_in_the_folder_itself_are_no_part_of_it(folder):
    as_tiff(folder)
    for key in ("one", "two"):
        records, result, _ = run(folder, folder / "home", write_png=True, run_key=key)
        assert (len(records), result["skipped"]) == (8, [])


def test_dicom_files_are_loaded_as_png(folder, tmp_path):
    before = {}
    for path in sorted(folder.rglob("?.png")):
        before[f"{path.parent.name}/{path.stem}"] = load_gray(path, 64)
        write_dicom(path.with_suffix(".dcm" if path.stem != "0" else ""), np.asarray(Image.open(path)))
        path.unlink()
    records, result, told = run(folder, tmp_path / "home")
    assert result["counts"] == {"benign": 4, "malignant": 4}
    for r in records:
        original = Path(r.source.file)
        assert np.array_equal(load_gray(r.path, 64), before[f"{original.parent.name}/{original.stem}"])
        assert len(r.lesions) == 1
    assert "written as PNG into the run's folder: 8 of 8 images" in told


def test_without_pydicom_a_folder_of_dicom_files_is_refused_before_reading(folder, tmp_path, monkeypatch):
    for path in sorted(folder.rglob("?.png")):
        write_dicom(path.with_suffix(".dcm"), np.asarray(Image.open(path)))
        path.unlink()
    monkeypatch.setattr(dicom, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"8 of 8 images are DICOM files, such as .*0\.dcm.*pip install pydicom"):
        run(folder, tmp_path / "home", on_error="skip")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (dict(split="folders"), "needs images in folders train, val or test, but 8 of 8 lie in none"),
        (dict(split="official"), "publishes no list of splits"),
        (dict(split="5/4"), "sums to 9, but the set has 8 images"),
        (dict(split="90-5-5"), "too few for the split 90-5-5"),
        (dict(folds=5), "Class 'benign' has 4 image.*too few for 5 folds"),
        (dict(rename=["cyst=benign"]), "rename names cyst"),
        (dict(compare_with=["nothing"]), "No images were loaded as a dataset 'nothing'.*none yet"),
        (dict(compare_with=["???"]), "leaves no folder name|compare_with"),
    ],
)
def test_what_can_be_known_before_is_refused_before_any_image_is_read(folder, tmp_path, monkeypatch, values, said):
    def read(path):
        raise AssertionError("read")

    for module in (images, scans):
        monkeypatch.setattr(module, "decode", read)
    with pytest.raises(UserError, match=said):
        run(folder, tmp_path / "home", **values)


def test_a_rotated_photo_has_its_mask_where_it_is_shown(folder, tmp_path):
    """Masks drawn on the photo as it is shown, on what is stored, and turned by EXIF data of their own."""
    stored = Image.fromarray(simulated("benign", 1).image[:40])
    lesion = np.zeros((40, 64), bool)
    lesion[5:15, 40:60] = True
    exif = Image.Exif()
    exif[0x0112] = 6
    drawn = Image.fromarray(lesion.astype(np.uint8) * 255)
    shown = drawn.transpose(Image.Transpose.ROTATE_270)
    shutil.rmtree(folder)
    for name, mask, options in (("a", shown, {}), ("b", drawn, {}), ("c", drawn, {"exif": exif})):
        (folder / "benign").mkdir(parents=True, exist_ok=True)
        stored.save(folder / f"benign/{name}.jpg", exif=exif)
        mask.save(folder / f"benign/{name}_mask.png", **options)
    records, result, _ = run(folder, tmp_path / "home")
    for r in records:
        assert r.size == [40, 64, 1]
        assert np.array_equal(r.lesion_mask(), np.asarray(shown) > 0)
    assert result["assumed"]["photos turned upright as their EXIF data says"] == 3


def test_a_mask_that_fits_a_turned_photo_both_ways_is_refused_by_name(folder, tmp_path):
    path = folder / "benign/0.png"
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(path).save(path, exif=exif)
    with pytest.raises(UserError, match="0.png is turned by its EXIF data and 0_mask.png is not"):
        run(folder, tmp_path / "home")


def test_a_strip_takes_little_memory(folder, tmp_path):
    Image.fromarray(np.tile(np.arange(250, dtype=np.uint8), (3, 16))).save(folder / "benign/strip.png")
    records, *_ = run(folder, tmp_path / "home")
    assert [4000, 3, 1] in [r.size for r in records]


def test_busi_of_tiff_files_is_loaded_as_png_too(busi, tmp_path):
    copy = shutil.copytree(busi, tmp_path / "copy")
    for path in list(copy.rglob("*.png")):
        Image.open(path).save(path.with_suffix(".tif"))
        path.unlink()
    values = dict(source=str(copy), dataset_name="trial", split="50-50", write_png=True)
    events = list(job("load_busi").run(values, [], "trial", tmp_path / "home"))
    records = made(events)
    assert len(records) == 15 and all(Path(r.path).suffix == ".png" for r in records)
    assert [bool(r.lesions) for r in records] == [r.label != "normal" for r in records]


def test_a_list_of_another_tool_is_told_from_one_of_images(tmp_path):
    from busaug_core.records import read_records

    for line in ('{"file_name": "a.png", "text": "benign"}', "[1, 2]", "3", "not json", '"x"'):
        (tmp_path / "metadata.jsonl").write_text(line + "\n")
        with pytest.raises(UserError, match=r"metadata\.jsonl cannot be read as a list of images that BUSAug wrote"):
            read_records(tmp_path / "metadata.jsonl")
    (tmp_path / "metadata.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read as a list of images"):
        read_records(tmp_path / "metadata.jsonl")


def test_ranges_that_differ_within_a_set_are_told(folder, tmp_path):
    for path in sorted(folder.rglob("?.png")):
        gray = np.asarray(Image.open(path)).astype("u2")
        top = 900 if path.stem == "0" else 4000
        tifffile.imwrite(path.with_suffix(".tif"), (gray.astype(float) / gray.max() * top).astype("u2"))
        path.unlink()
    _, _, told = run(folder, tmp_path / "home")
    assert "Images are read as 0 to 1023 and as 0 to 4095, each by its brightest pixel" in told


def test_a_mask_of_nearly_the_whole_image_is_told_to_be_perhaps_inverted(folder, tmp_path):
    path = folder / "benign/1_mask.png"
    Image.fromarray(255 - np.asarray(Image.open(path).convert("L"))).save(path)
    _, result, _ = run(folder, tmp_path / "home")
    assert result["assumed"] == {"masks of more than 90% of the image, which may be inverted": 1}


def test_an_image_that_goes_with_its_broken_mask_is_named(folder, tmp_path):
    (folder / "benign/1_mask.png").write_bytes(b"")
    _, result, _ = run(folder, tmp_path / "home", on_error="skip")
    (skipped,) = result["skipped"]
    assert f"Its image {folder / 'benign/1.png'} is not loaded either." in skipped


def test_classes_of_the_sets_own_and_folders_without_numbers_are_told(folder, tmp_path):
    for name in ("smith", "jones"):
        write_scan(folder / f"cyst/{name}/a.png", tmp_path / "unused.png", 7)
    _, _, told = run(folder, tmp_path / "home")
    assert (
        "Classes of the set's own: cyst (2). Where these are none or misspelt, correct the set or use rename." in told
    )
    assert "Folders within a class are not taken for patients, since they bear no numbers." in told


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "LA"])
def test_blank_images_are_told(folder, tmp_path, mode):
    Image.new("RGBA", (40, 30), (0, 0, 0, 255)).convert(mode).save(folder / "benign/blank.png")
    *_, told = run(folder, tmp_path / "home")
    assert f"Blank images, of a single level throughout: 1 of 9 images, such as {folder}/benign/blank.png" in told


def test_masks_that_are_outlines_are_counted(folder, tmp_path):
    mask = np.zeros(np.asarray(Image.open(folder / "benign/1.png")).shape[:2], np.uint8)
    mask[5:25, 5], mask[5:25, 25], mask[5, 5:25], mask[25, 5:26] = 255, 255, 255, 255
    Image.fromarray(mask).save(folder / "benign/1_mask.png")
    _, result, _ = run(folder, tmp_path / "home")
    assert result["assumed"] == {OUTLINE: 1}
