"""Which samples a dataset or view stands for, and what is refused before any work."""

import shutil

import fiftyone as fo
import numpy as np
import pytest
from fiftyone import ViewField as F
from PIL import Image

from busaug_core.errors import UserError
from busaug_core.jobs.runs import runs_folder
from operators.host.images import images_of
from operators.host.samples import read_samples
from operators.host.suggestions import split_counts

QUICK = dict(arch="squeezenet1_1", epochs=1, resolution=32)


@pytest.fixture
def scans(loaded):
    dataset = loaded.match({"origin": "simulated"}).clone()
    yield dataset
    dataset.delete()


@pytest.fixture
def grouped(loaded, tmp_path):
    """Two views of each patient, `left` and `right`, and a point cloud; the right ones are all benign."""
    dataset = fo.Dataset("grouped", persistent=True)
    dataset.add_group_field("visit", default="left")
    cloud = tmp_path / "cloud.pcd"
    cloud.write_text("# .PCD v.7\n")
    samples = []
    for i, sample in enumerate(loaded.match({"origin": "simulated"}).limit(30)):
        group = fo.Group()
        for name in ("left", "right"):
            path = shutil.copy(sample.filepath, tmp_path / f"{name}_{i}.png")
            label = sample.ground_truth.label if name == "left" else "benign"
            tags = [tag for tag in sample.tags if tag in ("train", "val")]
            truth = fo.Classification(label=label)
            samples.append(fo.Sample(filepath=path, tags=tags, ground_truth=truth, visit=group.element(name)))
        if i == 0:
            samples.append(fo.Sample(filepath=str(cloud), visit=group.element("cloud")))
    dataset.add_samples(samples)
    yield dataset
    dataset.delete()


def slice_of(dataset, name):
    return dataset.select_group_slices(name)


def test_a_job_works_on_the_chosen_slice_of_a_grouped_dataset(call, grouped):
    result = call("audit", grouped)
    assert result["images"] == 30
    assert slice_of(grouped, "left").count("annotation_score") == 30
    assert slice_of(grouped, "right").count("annotation_score") == 0
    assert grouped.count_values("origin") == {"real": 30}
    right = grouped.view()
    right.group_slice = "right"
    assert call("audit", right)["images"] == 30
    assert slice_of(grouped, "right").count("annotation_score") == 30
    assert call("train_classifier", slice_of(grouped, "left"), **QUICK)["train_counts"].keys() == {
        "benign",
        "malignant",
        "normal",
    }


def test_results_of_a_grouped_dataset_are_written_and_taken_back(call, grouped, small):
    call("train_classifier", grouped, run_key="clf", **QUICK)
    made = call("generate", grouped, variants=["base"], counts={"benign": 2}, steps=2, run_key="made", **small)
    left = slice_of(grouped, "left")
    assert made["images"] == 2 and len(left) == 32
    assert left.match({"origin": "synthetic"}).count_values("ground_truth.label") == {"benign": 2}
    call("apply_classifier", grouped, classifier="clf", run_key="applied")
    assert left.count("predictions_clf") == 32
    assert grouped.has_evaluation("eval_clf")
    call("compute_embeddings", grouped, extractor="clf", run_key="embedded")
    assert left.count("features_clf") == 32
    assert len(grouped.load_brain_results("umap_clf").points) == 32
    call("compute_embeddings", grouped, extractor="clf", run_key="embedded")
    call("manage_runs", grouped, action="delete", run_key="embedded")
    call("manage_runs", grouped, action="delete", run_key="made")
    assert len(slice_of(grouped, "left")) == 30
    assert "features_clf" not in grouped.get_field_schema()


def test_a_slice_that_holds_no_images_is_refused(call, grouped):
    grouped.group_slice = "cloud"
    before = set(runs_folder("grouped").glob("*"))
    with pytest.raises(UserError, match="slice 'cloud' holds point clouds.*there are: 'left', 'right'"):
        call("audit", grouped)
    assert set(runs_folder("grouped").glob("*")) == before
    grouped.group_slice = "left"


def test_the_samples_of_groups_by_a_field_are_all_used(scans):
    view = scans.group_by("ground_truth.label")
    assert len(view) == 3
    assert {r.id for r in read_samples(view)} == set(scans.values("id"))


def test_patches_are_refused_before_the_job(call, scans):
    for name in ("train_classifier", "audit"):
        with pytest.raises(UserError, match="view of patches.*whole images"):
            call(name, scans.to_patches("lesions"))
    assert scans.list_runs() == []


@pytest.mark.parametrize("queued", [False, True])
def test_videos_frames_and_clips_are_refused_before_the_job(call, tmp_path, queued):
    dataset = fo.Dataset("videos")
    path = tmp_path / "cine.mp4"
    path.write_bytes(b"\x00\x00\x00\x18ftypmp42")
    sample = fo.Sample(filepath=str(path))
    sample.metadata = fo.VideoMetadata(total_frame_count=2, frame_rate=1, frame_width=8, frame_height=8)
    for n in (1, 2):
        frame = tmp_path / f"{n}.png"
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(frame)
        sample.frames[n] = fo.Frame(filepath=str(frame))
    sample["parts"] = fo.TemporalDetections(detections=[fo.TemporalDetection(label="x", support=[1, 2])])
    dataset.add_sample(sample)
    try:
        with pytest.raises(UserError, match="'videos' holds videos, and BUSAug works on images.*to_frames"):
            call("train_classifier", dataset, delegate=queued, **QUICK)
        with pytest.raises(UserError, match="view of frames of videos"):
            call("train_classifier", dataset.to_frames(sample_frames=False), delegate=queued, **QUICK)
        with pytest.raises(UserError, match="view of clips"):
            call("audit", dataset.to_clips("parts"), delegate=queued)
        frames = dataset.to_frames(sample_frames=False).clone("frames")
        assert len(read_samples(frames)) == 2
        frames.delete()
    finally:
        dataset.delete()


@pytest.mark.parametrize(
    ("suffix", "kind"), [("pcd", "point clouds"), ("fo3d", "3D scenes"), ("dcm", "media of the kind 'unknown'")]
)
def test_what_is_no_image_is_refused_by_its_kind(tmp_path, suffix, kind):
    path = tmp_path / f"file.{suffix}"
    path.write_text("{}")
    dataset = fo.Dataset()
    dataset.add_sample(fo.Sample(filepath=str(path)))
    with pytest.raises(UserError, match=f"holds {kind}"):
        images_of(dataset)
    dataset.delete()


def test_an_empty_dataset_is_told_by_the_job_what_it_lacks(call):
    dataset = fo.Dataset("empty")
    with pytest.raises(UserError, match="no real or simulated sample to audit"):
        call("audit", dataset)
    dataset.delete()


@pytest.mark.parametrize(
    "hide",
    [
        lambda d: d.select_fields("ground_truth"),
        lambda d: d.exclude_fields(["origin", "ground_truth", "lesions"]),
        lambda d: d.match_tags(["train", "val"]).select_fields([]).match(F("filepath") != None),  # noqa: E711
        lambda d: d.select_fields("pair").shuffle(seed=1),
    ],
)
def test_fields_that_a_view_leaves_out_are_read_all_the_same(scans, hide):
    view = hide(scans)
    read = read_samples(view)
    whole = {r.id: r for r in read_samples(scans)}
    assert [r.id for r in read] == view.values("id")
    assert all(record == whole[record.id] for record in read)


def test_samples_whose_tags_are_none_are_read_and_written(call, scans):
    scans._sample_collection.update_many({}, {"$set": {"tags": None}})
    scans.reload()
    assert all(r.tags == [] for r in read_samples(scans))
    assert call("audit", scans, annotation_threshold=0.001)["tags"]["annotated"] == len(scans)
    assert scans.count_sample_tags()["annotated"] == len(scans)


def test_a_sample_whose_file_is_missing_is_named_before_the_work(call, scans, tmp_path):
    path = shutil.copy(scans.first().filepath, tmp_path / "gone.png")
    truth = fo.Classification(label="benign")
    scans.add_sample(fo.Sample(filepath=str(path), ground_truth=truth, tags=["train"]))
    (tmp_path / "gone.png").unlink()
    for name, config in (("audit", {}), ("train_classifier", QUICK), ("train_lora", {"steps": 1})):
        with pytest.raises(UserError, match="1 of .* image files is missing, the first .*gone.png"):
            call(name, scans, **config)


@pytest.mark.parametrize("name", ["---", "超声", "?!"])
def test_a_name_that_fiftyone_does_not_take_is_refused_before_loading(call, name):
    with pytest.raises(UserError, match="no dataset of the name|leaves no folder name"):
        call("load_busi", dataset_name=name, images=12, image_size=64)


@pytest.mark.parametrize("name", ["Loaded", "loaded!", "(loaded)", "-loaded-"])
def test_two_names_that_fiftyone_takes_for_one_are_refused_before_loading(call, loaded, name):
    with pytest.raises(UserError, match="not apart .*'loaded' to it"):
        call("load_busi", dataset_name=name, images=12, image_size=64)
    assert not fo.dataset_exists(name)


def test_two_datasets_whose_runs_would_lie_in_one_folder_are_told_so(call, scans):
    one, other = scans.clone("a-b"), scans.clone("a(b")
    with pytest.raises(UserError, match="'a-b' and 'a.b' would keep their runs in one folder"):
        call("audit", one)
    other.name = "another"
    assert call("audit", one)["images"] == 30
    with pytest.raises(UserError, match="would keep their runs in one folder"):
        call("load_busi", dataset_name="a(b", images=12, image_size=64)
    one.delete()
    other.delete()


def test_a_renamed_dataset_keeps_its_runs_and_a_clone_has_its_own(call, context, scans):
    first = scans.clone("first_name", persistent=True)
    call("train_classifier", first, run_key="clf", **QUICK)
    first.name = "second_name"
    assert [row["run_key"] for row in call("manage_runs", first)["runs"]] == ["clf"]
    call("apply_classifier", first, classifier="clf")
    assert first.count("predictions_clf") == len(first)
    operator, ctx = context("apply_classifier", first, form=True, classifier="clf")
    chosen = operator.resolve_input(ctx).type.properties["classifier"]
    assert "clf" in [choice.value for choice in chosen.view.choices] and not chosen.invalid
    clone = first.clone("third_name")
    assert call("manage_runs", clone)["runs"] == []
    first.delete()
    clone.delete()


def test_forms_count_the_images_of_a_view_by_group(loaded):
    by_class = loaded.group_by("ground_truth.label")
    counts = loaded.match_tags("train").count_values("ground_truth.label")
    assert split_counts(by_class, "train", "ground_truth") == counts


def test_forms_count_the_chosen_slice_alone(grouped):
    left = split_counts(slice_of(grouped, "left"), "train", "ground_truth")
    assert split_counts(grouped, "train", "ground_truth") == left


def test_a_call_on_another_slice_leaves_the_dataset_on_its_own(call, grouped):
    right = grouped.view()
    right.group_slice = "right"
    call("audit", right)
    assert grouped.group_slice == "left"


def test_a_view_of_the_users_own_is_not_replaced_by_a_filters(call, synthetic):
    dataset = synthetic.view().clone("own_view")  # without the saved views of other tests
    dataset.save_view("Kept synthetic", dataset.limit(1), description="Mine")
    call("filter_synthetic", dataset, run_key="kept")
    assert len(dataset.load_saved_view("Kept synthetic")) == 1
    dataset.delete()


def test_a_job_on_a_whole_dataset_says_which_slice_of_a_grouped_one_it_looks_at(call, context, grouped):
    told = "Of the grouped dataset 'grouped' only the slice 'left' is looked at, not right; for another one set"
    operator, ctx = context("audit", grouped, run_key="told")
    assert any(told in m.body.params.get("message", "") for m in operator.execute(ctx) if hasattr(m, "body"))
    for name in ("audit", "load_external"):
        operator, ctx = context(name, grouped)
        assert told in operator.resolve_input(ctx).type.properties["slice_0"].view.label
        assert "of a grouped one" in operator.config.description and "\n" not in operator.config.description
    operator, ctx = context("train_lora", grouped)
    assert "slice_0" not in operator.resolve_input(ctx).type.properties
