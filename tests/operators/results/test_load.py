"""`load_busi`: what the dataset holds, and what happens when it fails or is called again."""

import shutil

import fiftyone as fo
import numpy as np
import pytest

from busaug_core.errors import UserError
from busaug_core.jobs.runs import runs_folder

SIZES = dict(images=12, image_size=64)


@pytest.fixture(scope="module")
def fresh(call):
    """A dataset that no other job has written to."""
    call("load_busi", dataset_name="fresh", run_key="load", images=30, image_size=64)
    return fo.load_dataset("fresh")


@pytest.fixture
def busi(tmp_path, fresh):
    """A folder in BUSI's layout."""
    folder = tmp_path / "Dataset_BUSI_with_GT"
    shutil.copytree(runs_folder("fresh") / "load" / "Dataset_BUSI_with_GT", folder)
    return folder


def test_samples_hold_class_split_origin_and_metadata(fresh):
    assert fresh.persistent
    assert set(fresh.distinct("ground_truth.label")) == {"benign", "malignant", "normal"}
    assert fresh.count_values("origin") == {"simulated": 30}
    assert fresh.count_values("variant") == {"simulated": 30}
    tags = fresh.count_sample_tags()
    assert tags["train"] + tags["val"] == tags["simulated"] == 30
    assert fresh.first().metadata.width == 64
    assert fresh.first().metadata.num_channels == 1


def test_lesions_cover_their_masks(fresh):
    sample = fresh.match_tags("train").match({"ground_truth.label": "malignant"}).first()
    (lesion,) = sample.lesions.detections
    from busaug_core.data.masks import read_mask

    mask = read_mask(lesion.mask_file)
    left, top, width, height = np.round(np.array(lesion.bounding_box) * 64).astype(int)
    assert lesion.mask.shape == (height, width)
    assert (mask[top : top + height, left : left + width] == lesion.mask).all()
    assert mask.sum() == lesion.mask.sum()
    assert fresh.match({"ground_truth.label": "normal"}).count("lesions.detections") == 0


def test_every_field_is_declared_with_a_description(fresh):
    for name in ("ground_truth", "lesions", "origin", "variant", "pair", "synthesis.seed", "distance.value"):
        assert fresh.get_field(name).description


def test_the_app_finds_classes_views_and_active_fields(fresh):
    assert fresh.default_classes == ["benign", "malignant", "normal"]
    assert {"train", "validation"} <= set(fresh.list_saved_views())
    assert fresh.app_config.active_fields.paths == ["ground_truth", "lesions", "variant"]
    assert len(fresh.load_saved_view("train")) + len(fresh.load_saved_view("validation")) == 30


def test_the_run_is_known_to_the_dataset(fresh):
    assert fresh.get_run_info("load").config.method == "busaug/load_busi"
    assert fresh.get_run_info("load").config.images == 30
    assert sum(fresh.load_run_results("load").counts.values()) == 30


def test_loading_again_under_the_same_key_adds_nothing(call, fresh):
    before = fresh.values("id")
    result = call("load_busi", dataset_name="fresh", run_key="load", images=30, image_size=64)
    assert result["state"] == "done"
    assert fresh.values("id") == before


def test_a_path_with_dots_doubles_no_sample(call, busi):
    for _ in range(2):
        call("load_busi", dataset_name="dots", run_key="load", source=f"{busi}/../{busi.name}")
    assert len(fo.load_dataset("dots")) == 30


def test_samples_that_are_missing_from_a_finished_load_come_back(call):
    call("load_busi", dataset_name="holes", run_key="load", **SIZES)
    dataset = fo.load_dataset("holes")
    dataset.delete_samples(dataset.limit(5))
    call("load_busi", dataset_name="holes", run_key="load", **SIZES)
    assert len(dataset) == len(set(dataset.values("filepath"))) == 12


def test_a_deleted_dataset_is_made_again_from_its_run(call):
    call("load_busi", dataset_name="gone", run_key="load", **SIZES)
    fo.delete_dataset("gone")
    call("load_busi", dataset_name="gone", run_key="load", **SIZES)
    assert len(fo.load_dataset("gone")) == 12
    assert fo.load_dataset("gone").list_runs() == ["load"]


def test_another_dataset_of_that_name_is_left_alone(call):
    fo.Dataset("mine")
    with pytest.raises(UserError, match="There is a dataset 'mine' already"):
        call("load_busi", dataset_name="mine", **SIZES)
    assert len(fo.load_dataset("mine")) == 0


def test_a_failed_load_leaves_no_dataset(call, busi):
    (busi / "benign" / "benign (1).png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"benign \(1\)\.png"):
        call("load_busi", dataset_name="broken", source=str(busi))
    assert not fo.dataset_exists("broken")


def test_a_load_that_fails_while_inserting_leaves_no_dataset(call, busi, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(fo.Dataset, "add_samples", fail)
    with pytest.raises(OSError, match="disk full"):
        call("load_busi", dataset_name="half", run_key="load", source=str(busi))
    assert not fo.dataset_exists("half")
    monkeypatch.undo()
    call("load_busi", dataset_name="half", run_key="load", source=str(busi))
    assert len(fo.load_dataset("half")) == 30


def test_real_files_are_not_modified(call, busi):
    before = {p: p.read_bytes() for p in busi.rglob("*.png")}
    call("load_busi", dataset_name="untouched", source=str(busi))
    assert {p: p.read_bytes() for p in busi.rglob("*.png")} == before
    assert fo.load_dataset("untouched").count_values("origin") == {"real": 30}


def test_a_dataset_made_again_tells_of_the_runs_of_the_one_before(call, context):
    call("load_busi", dataset_name="remade", run_key="first", **SIZES)
    call("audit", fo.load_dataset("remade"), run_key="seen")
    fo.delete_dataset("remade")
    operator, ctx = context("load_busi", dataset_name="remade", run_key="second", **SIZES)
    told = [m.body.params.get("message", "") for m in operator.execute(ctx) if hasattr(m, "body")]
    (notice,) = [text for text in told if "of a dataset of this name that was deleted" in text]
    assert f"{runs_folder('remade')} holds 2 runs already (seen, first)" in notice
    dataset = fo.load_dataset("remade")
    assert dataset.list_runs() == ["second"]
    before = len(dataset)
    call("manage_runs", dataset, action="delete", run_key="seen", force=True)
    assert not (runs_folder("remade") / "seen").exists() and len(dataset) == before
