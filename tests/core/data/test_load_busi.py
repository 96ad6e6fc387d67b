"""The job that loads BUSI: what it yields, what it refuses, what it can read."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from busaug_core import images
from busaug_core.data import scans
from busaug_core.data.splits import leaked
from busaug_core.errors import UserError
from busaug_core.jobs.events import Made, Notice
from busaug_core.jobs.run import Run
from busaug_core.registry import job


def test_a_split_by_image_leaks_and_says_how_much(copy, tmp_path):
    for n in range(1, 7):
        shutil.copy(copy / f"benign/benign ({n}).png", copy / f"benign/benign ({n + 50}).png")
        shutil.copy(copy / f"benign/benign ({n})_mask.png", copy / f"benign/benign ({n + 50})_mask.png")
    values = {"source": str(copy), "dataset_name": "trial", "split": "50-50", "folds": 2}
    notices = {}
    for way in ("group", "image"):
        events = list(job("load_busi").run({**values, "split_by": way}, [], "trial", tmp_path))
        notices[way] = [e.message for e in events if isinstance(e, Notice)]
        made = [e.record for e in events if isinstance(e, Made)]
        assert all({"fold_1", "fold_2"} & set(r.tags) for r in made)
        splits = [next(t for t in r.tags if t in ("train", "val")) for r in made]
        assert bool(notices[way]) == bool(leaked(splits, [r.split_group for r in made])) == (way == "image")
    assert "held-out images have a copy" in notices["image"][0]


def test_the_job_yields_every_image_with_split_origin_and_lesions(copy, run_job, tmp_path):
    result = run_job("load_busi", source=str(copy), dataset_name="trial", run_key="load", split="50-50")
    assert result["counts"] == {"benign": 6, "malignant": 5, "normal": 4}
    records = job("load_busi").run(
        {"source": str(copy), "dataset_name": "trial", "split": "50-50"}, [], "trial", tmp_path
    )
    made = [e.record for e in records if isinstance(e, Made)]
    assert all(set(r.tags) & {"train", "val"} and "real" in r.tags for r in made)
    assert all(bool(r.lesions) == (r.label != "normal") for r in made)


def damaged(copy, damage):
    """The folder with one thing wrong with it."""
    image, mask = copy / "benign/benign (2).png", copy / "benign/benign (2)_mask.png"
    match damage:
        case "no class folder":
            shutil.rmtree(copy / "normal")
        case "empty class folder":
            for path in (copy / "normal").iterdir():
                path.unlink()
        case "no image of a mask":
            image.unlink()
        case "zero bytes":
            image.write_bytes(b"")
        case "text":
            image.write_text("hello")
        case "truncated":
            image.write_bytes(image.read_bytes()[:900])
        case "no mask":
            mask.unlink()
        case "truncated mask":
            mask.write_bytes(mask.read_bytes()[:40])
        case "mask of another size":
            Image.new("L", (9, 9), 255).save(mask)
        case "one name twice":
            Image.open(image).save(image.with_suffix(".jpg"))
        case "one image in a class":
            for path in (copy / "normal").iterdir():
                if path.stem not in ("normal (1)", "normal (1)_mask"):
                    path.unlink()


@pytest.mark.parametrize(
    ("damage", "message", "left"),
    [
        ("no class folder", "lacks the class folder normal", 11),
        ("empty class folder", "normal holds no images", 11),
        ("no image of a mask", r"benign \(2\)_mask.png is a mask without an image", 14),
        ("zero bytes", r"benign \(2\).png cannot be read", 14),
        ("text", r"benign \(2\).png cannot be read", 14),
        ("truncated", r"benign \(2\).png cannot be read", 14),
        ("no mask", r"benign \(2\).png is benign but has no mask", 14),
        ("truncated mask", r"benign \(2\)_mask.png cannot be read", 14),
        ("mask of another size", r"benign \(2\)_mask.png is 9×9, but its image is 64×64", 14),
        ("one name twice", r"benign \(2\).jpg and .*benign \(2\).png have one name", 15),
        ("one image in a class", "'normal' has 1 image", 12),
    ],
)
def test_bad_input_is_named_in_one_sentence_and_the_rest_loads_on_demand(copy, tmp_path, damage, message, left):
    damaged(copy, damage)
    values = {"source": str(copy), "dataset_name": "trial", "split": "50-50"}
    with pytest.raises(UserError, match=message):
        list(job("load_busi").run({**values, "run_key": "strict"}, [], "trial", tmp_path))
    events = list(job("load_busi").run({**values, "on_error": "skip", "run_key": "lenient"}, [], "trial", tmp_path))
    made = [e.record for e in events if isinstance(e, Made)]
    assert len(made) == left
    assert all({"train", "val"} & set(r.tags) for r in made)
    assert [e for e in events if isinstance(e, Notice)]
    if damage != "one image in a class":
        assert len(events[-1].result["skipped"]) == 1


def test_odd_names_and_hidden_files_are_no_trouble(copy, run_job):
    for n, name in enumerate(["tumör #1 100%", "benign (7) copy", " räum\u00a0lich", "a" * 200], 1):
        shutil.copy(copy / f"benign/benign ({n}).png", copy / f"benign/{name}.png")
        shutil.copy(copy / f"benign/benign ({n})_mask.png", copy / f"benign/{name}_mask.png")
    (copy / "benign/._benign (1).png").write_bytes(b"\0\5\26\7")
    (copy / "__MACOSX").mkdir()
    (copy / "benign/Thumbs.db").write_bytes(b"x")
    result = run_job("load_busi", source=str(copy), dataset_name="trial", split="50-50")
    assert result["counts"] == {"benign": 10, "malignant": 5, "normal": 4}
    assert result["skipped"] == []


def test_16_bit_and_palette_images_are_loaded(copy, run_job):
    gray = np.asarray(Image.open(copy / "benign/benign (1).png"))
    Image.fromarray(gray.astype(np.uint16) * 257).save(copy / "benign/benign (1).png")
    Image.open(copy / "benign/benign (2).png").convert("P").save(copy / "benign/benign (2).png")
    Image.open(copy / "benign/benign (2)_mask.png").convert("P").save(copy / "benign/benign (2)_mask.png")
    result = run_job("load_busi", source=str(copy), dataset_name="trial", split="50-50", run_key="load")
    assert result["counts"] == {"benign": 6, "malignant": 5, "normal": 4}


def test_a_home_that_cannot_be_written_to_is_named(copy, tmp_path):
    (tmp_path / "file").touch()
    values = {"source": str(copy), "dataset_name": "trial"}
    with pytest.raises(UserError, match="BUSAUG_HOME"):
        list(job("load_busi").run(values, [], "trial", tmp_path / "file" / "home"))


def test_a_read_only_source_is_loaded(copy, run_job):
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        result = run_job("load_busi", source=str(copy), dataset_name="trial", split="50-50")
        assert sum(result["counts"].values()) == 15
    finally:
        for path in [copy, *copy.rglob("*")]:
            path.chmod(0o755)


def test_the_masks_of_one_image_are_lesions_with_box_and_pixels(copy, tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[5:9, 50:60] = 255
    mask[6, 52] = 0
    Image.fromarray(mask).save(copy / "benign/benign (2)_mask_1.png")
    values = {"source": str(copy), "dataset_name": "trial", "split": "50-50", "run_key": "load"}
    list(job("load_busi").run(values, [], "trial", tmp_path))
    records = Run(tmp_path / "trial/runs/load").products
    lesions = next(r.lesions for r in records if Path(r.path).stem == "benign (2)")
    assert len(lesions) == 2
    assert lesions[1].box == [50, 5, 10, 4]
    assert np.array_equal(lesions[1].mask, mask[5:9, 50:60] > 0)


def test_each_file_is_read_once(copy, tmp_path, monkeypatch):
    read = Counter()
    original = images.decode

    def counted(path):
        read[Path(path).name] += 1
        return original(path)

    for module in (images, scans):
        monkeypatch.setattr(module, "decode", counted)
    list(job("load_busi").run({"source": str(copy), "dataset_name": "trial", "split": "50-50"}, [], "trial", tmp_path))
    assert len(read) == 30
    assert set(read.values()) == {1}


def test_simulated_scans_stand_in_for_busi(run_job):
    result = run_job("load_busi", images=24, image_size=64, dataset_name="trial", split="50-50")
    assert sum(result["counts"].values()) == 24
    assert result["counts"]["benign"] > result["counts"]["malignant"] > result["counts"]["normal"]


def test_the_first_of_the_folds_may_validate(run_job, tmp_path):
    run_job("load_busi", images=24, image_size=64, dataset_name="trial", folds=3, split="first_fold", run_key="load")
    loaded = Run(tmp_path / "trial/runs/load").products
    held_out = [r.path for r in loaded if "val" in r.tags]
    assert held_out == [r.path for r in loaded if "fold_1" in r.tags] and len(held_out) == 8
    assert all("train" in r.tags for r in loaded if "val" not in r.tags)
    with pytest.raises(UserError, match="the split 'first_fold' needs folds"):
        run_job("load_busi", images=24, split="first_fold")


def test_a_copy_and_a_conflict_of_labels_are_grouped_and_tagged(copy, tmp_path):
    picture = Image.open(copy / "benign/benign (1).png")
    picture.resize((80, 80)).save(copy / "benign/benign (50).png")
    Image.new("L", (80, 80), 255).save(copy / "benign/benign (50)_mask.png")
    shutil.copy(copy / "benign/benign (2).png", copy / "malignant/malignant (50).png")
    shutil.copy(copy / "benign/benign (2)_mask.png", copy / "malignant/malignant (50)_mask.png")
    values = {"source": str(copy), "dataset_name": "trial", "split": "50-50"}
    events = list(job("load_busi").run(values, [], "trial", tmp_path))
    of = {e.record.path.split("/")[-1].removesuffix(".png"): e.record for e in events if isinstance(e, Made)}
    assert of["benign (1)"].duplicate_group == of["benign (50)"].duplicate_group
    assert of["benign (2)"].split_group == of["malignant (50)"].split_group
    assert {n for n, r in of.items() if r.duplicate_group} == {
        "benign (1)",
        "benign (50)",
        "benign (2)",
        "malignant (50)",
    }
    assert {n for n, r in of.items() if "label_conflict" in r.tags} == {"benign (2)", "malignant (50)"}
    assert "train" in of["benign (2)"].tags
    assert events[-1].result["audit"]["groups"] == {"duplicate_group": 2, "split_group": 2}
