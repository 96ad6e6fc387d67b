"""Reading BUSI's layout, and splitting it."""

import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from busaug_core.data.busi import list_scans, read_mask
from busaug_core.data.config import LoadBusi
from busaug_core.data.splits import class_sizes, fold_numbers, grouped_split, leaked
from busaug_core.errors import UserError
from busaug_core.events import Made, Notice
from busaug_core.jobs import job


@pytest.fixture
def copy(busi, tmp_path):
    return shutil.copytree(busi, tmp_path / "copy")


def alone(labels):
    return [None] * len(labels)


def test_the_80_20_split_of_busi_has_the_published_sizes():
    labels = ["benign"] * 437 + ["malignant"] * 210 + ["normal"] * 133
    counts = Counter(zip(grouped_split(labels, alone(labels), "80-20", seed=0), labels, strict=True))
    assert [counts["train", c] for c in ("benign", "malignant", "normal")] == [349, 168, 106]
    assert [counts["val", c] for c in ("benign", "malignant", "normal")] == [88, 42, 27]


def test_groups_stay_together_and_the_sizes_stay_exact():
    labels = ["a"] * 100 + ["b"] * 50
    groups = [f"g{i // 3}" if i < 60 else None for i in range(150)]
    split = grouped_split(labels, groups, "70-15-15", seed=4)
    assert Counter(split[:100]) == {"train": 70, "val": 15, "test": 15}
    assert Counter(split[100:]) == {"train": 35, "val": 7, "test": 8}
    for g in set(groups) - {None}:
        assert len({s for s, other in zip(split, groups, strict=True) if other == g}) == 1


def test_a_group_of_two_classes_trains():
    labels = ["a"] * 10 + ["b"] * 10
    groups = ["odd" if i in (9, 10) else None for i in range(20)]
    for seed in range(20):
        split = grouped_split(labels, groups, "50-50", seed)
        assert split[9] == split[10] == "train"
        assert Counter(split) == {"train": 10, "val": 10}


def test_a_split_depends_on_its_seed_alone():
    labels = ["a", "b"] * 20
    splits = [grouped_split(labels, alone(labels), "70-15-15", seed) for seed in (1, 1, 2)]
    assert splits[0] == splits[1] != splits[2]
    assert set(splits[0]) == {"train", "val", "test"}


def test_a_split_that_cannot_be_made_is_refused():
    with pytest.raises(UserError, match="'b' has 1 image"):
        grouped_split(["a"] * 10 + ["b"], [None] * 11, "80-20", 0)
    with pytest.raises(UserError, match="80-10 do not sum to 100"):
        LoadBusi.parse({"split": "80-10"})
    with pytest.raises(UserError, match="cannot fill the split 'val' exactly"):
        grouped_split(["a"] * 10, ["g"] * 10, "80-20", 0)


def test_the_split_of_meddap_has_its_sizes():
    sizes = class_sizes({"benign": 437, "malignant": 210, "normal": 133}, "545/115/120")
    assert [sum(column) for column in zip(*sizes.values(), strict=True)] == [545, 115, 120]
    with pytest.raises(UserError, match="sums to 700, but there are 780"):
        class_sizes({"benign": 437, "malignant": 210, "normal": 133}, "600/100")


def test_folds_hold_every_clear_image_once_and_no_group_twice():
    labels = ["a"] * 60 + ["b"] * 40
    groups = ["odd" if i in (59, 60) else f"g{i // 2}" if i < 30 else None for i in range(100)]
    numbers = fold_numbers(labels, groups, 5, seed=0)
    assert [i for i, n in enumerate(numbers) if n is None] == [59, 60]
    assert set(numbers) == {None, 1, 2, 3, 4, 5}
    for g in set(groups) - {None}:
        assert len({n for n, other in zip(numbers, groups, strict=True) if other == g}) == 1
    for label in "ab":
        sizes = Counter(n for n, other in zip(numbers, labels, strict=True) if other == label and n)
        assert max(sizes.values()) - min(sizes.values()) <= 3


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


def test_scans_come_in_natural_order_with_all_their_masks(copy):
    for n in (10, 100):
        shutil.copy(copy / "benign/benign (1).png", copy / f"benign/benign ({n}).png")
        shutil.copy(copy / "benign/benign (1)_mask.png", copy / f"benign/benign ({n})_mask.png")
    shutil.copy(copy / "benign/benign (2)_mask.png", copy / "benign/benign (2)_mask_1.png")
    benign = [s for s in list_scans(copy) if s.label == "benign"]
    assert [s.path.stem for s in benign] == [f"benign ({n})" for n in (1, 2, 3, 4, 5, 6, 10, 100)]
    assert [len(s.masks) for s in benign] == [1, 2, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P"])
def test_masks_of_any_channels_are_read_and_alpha_is_no_signal(tmp_path, mode):
    mask = np.zeros((20, 30), np.uint8)
    mask[5:9, 4:10] = 255
    image = Image.fromarray(mask).convert("RGBA" if mode == "RGBA" else "L").convert(mode)
    image.save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png"), mask > 0)


def test_the_job_yields_every_image_with_split_origin_and_lesions(copy, run_job, tmp_path):
    result = run_job("load_busi", source=str(copy), dataset_name="trial", run_key="load", split="50-50")
    assert result["counts"] == {"benign": 6, "malignant": 5, "normal": 4}
    records = job("load_busi").run(
        {"source": str(copy), "dataset_name": "trial", "split": "50-50"}, [], "trial", tmp_path
    )
    made = [e.record for e in records if isinstance(e, Made)]
    assert all(set(r.tags) & {"train", "val"} and "real" in r.tags for r in made)
    assert all(bool(r.masks) == (r.label != "normal") for r in made)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: shutil.rmtree(d / "normal"), "lacks the class folder.*normal"),
        (lambda d: [p.unlink() for p in (d / "normal").iterdir()], "holds no images"),
        (lambda d: (d / "benign/benign (2).png").unlink(), "mask without an image"),
        (lambda d: (d / "benign/benign (2).png").write_bytes(b""), r"benign \(2\).png cannot be read"),
        (lambda d: (d / "benign/benign (2).png").write_text("hello"), r"benign \(2\).png cannot be read"),
        (
            lambda d: (d / "benign/benign (2).png").write_bytes((d / "benign/benign (2).png").read_bytes()[:900]),
            r"benign \(2\).png cannot be read",
        ),
        (
            lambda d: (d / "benign/benign (2)_mask.png").unlink(),
            r"benign \(2\).png is benign but has no mask",
        ),
        (
            lambda d: Image.new("L", (9, 9), 255).save(d / "benign/benign (2)_mask.png"),
            r"benign \(2\)_mask.png is 9×9, but its image is 64×64",
        ),
    ],
)
def test_bad_input_is_named_in_one_sentence(copy, run_job, damage, message):
    damage(copy)
    with pytest.raises(UserError, match=message):
        run_job("load_busi", source=str(copy), dataset_name="trial", split="50-50")


def test_on_error_skip_loads_the_others_and_says_so(copy, tmp_path):
    (copy / "benign/benign (2).png").write_text("hello")
    values = {"source": str(copy), "dataset_name": "trial", "split": "50-50", "on_error": "skip"}
    events = list(job("load_busi").run(values, [], "trial", tmp_path))
    assert sum(isinstance(e, Made) for e in events) == 14
    assert [e for e in events if isinstance(e, Notice) and "benign (2).png" in e.message]
    assert len(events[-1].result["skipped"]) == 1


def test_simulated_scans_stand_in_for_busi(run_job):
    result = run_job("load_busi", images=24, image_size=64, dataset_name="trial", split="50-50")
    assert sum(result["counts"].values()) == 24
    assert result["counts"]["benign"] > result["counts"]["malignant"] > result["counts"]["normal"]


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
