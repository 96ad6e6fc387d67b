"""The same run asked again puts back what is missing; two samples of one file both get what a job writes."""

import shutil
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest

from busaug_core.errors import UserError
from busaug_core.jobs.runs import run_of
from operators import results


@pytest.fixture
def twins(scans, tmp_path):
    """The scans, two of which have a second sample of their file, in the other order."""
    first, second = scans.match_tags("val").first(), scans.match_tags("train").first()
    copies = [
        fo.Sample(filepath=s.filepath, tags=s.tags, origin=s.origin, variant=s.variant, ground_truth=s.ground_truth)
        for s in (second, first)
    ]
    scans.add_samples(copies)
    return scans, [(first.id, copies[1].id), (second.id, copies[0].id)]


def alike(dataset, pairs, field):
    values = dict(zip(*dataset.values(["id", field]), strict=True))
    return all(values[one] is not None and np.array_equal(values[one], values[other]) for one, other in pairs)


def test_two_samples_of_one_file_both_get_predictions_features_and_audit(twins, classifier, run_core):
    dataset, pairs = twins
    applied = run_core("apply_classifier", dataset, "applied", classifier=classifier["folder"], evaluate_on="train")
    results.write(dataset, applied)
    assert applied.result["n"] == dataset.count("predictions_loaded_clf") == 32
    assert alike(dataset, pairs, "predictions_loaded_clf.logits")
    embedded = run_core("compute_embeddings", dataset, "embedded", extractor=classifier["folder"])
    results.write(dataset, embedded)
    assert embedded.result["n"] == dataset.count(embedded.result["field"]) == 32
    assert alike(dataset, pairs, embedded.result["field"])
    results.write(dataset, run_core("audit", dataset, "audited"))
    assert alike(dataset, pairs, "annotation_score") and alike(dataset, pairs, "duplicate_group")
    tagged = set(dataset.match_tags("duplicate").values("id"))
    assert tagged >= {id_ for pair in pairs for id_ in pair}
    results.remove(dataset, applied)
    assert dataset.get_field("predictions_loaded_clf") is None


def test_the_second_sample_of_a_file_is_left_alone_where_the_run_was_not_given_it(twins, classifier, run_core):
    dataset, pairs = twins
    view = dataset.exclude([other for _, other in pairs])
    run = run_core("compute_embeddings", view, "of_a_view", extractor=classifier["folder"])
    results.write(dataset, run)
    assert dataset.count(run.result["field"]) == run.result["n"] == 30
    assert dataset.select([other for _, other in pairs]).count(run.result["field"]) == 0


def test_two_samples_of_a_synthetic_file_are_both_scored_rejected_and_measured(call, synthetic, classifier):
    made = synthetic.match_tags("evaluation").match({"variant": "sd"}).first()
    fields = ("tags", "origin", "variant", "ground_truth", "synthesis", "pair")
    twin = fo.Sample(filepath=made.filepath, **{name: made[name] for name in fields})
    synthetic.add_sample(twin)
    parts = dict(extractor="clf", classifier="clf", variants=["sd"])
    call("score_synthetic", synthetic, run_key="scored_twins", **parts)
    call("filter_synthetic", synthetic, run_key="filtered_twins", variants=["sd"], min_copy_ratio=1000.0)
    call("compute_fid", synthetic, run_key="fid_twins", extractor="clf", metrics=["fid"], variants=["sd"])
    both = synthetic.select([made.id, twin.id])
    assert both.count("scores.realism") == both.count("distance.value") == 2
    assert both.match_tags("rejected").count() == 2
    for key in ("fid_twins", "filtered_twins", "scored_twins"):
        call("manage_runs", synthetic, action="delete", run_key=key)
    synthetic.delete_samples([twin.id])


@pytest.fixture
def made(call, scans, small):
    """A function that generates three images, or asks the same again."""
    values = dict(variants=["base"], counts={"benign": 2, "normal": 1}, steps=2, run_key="made", **small)

    def made():
        result = call("generate", scans, **values)
        return result, run_of(scans.name, "made")

    return made


def test_deleted_files_and_samples_are_put_back_by_the_same_call(made, scans):
    _, run = made()
    paths = [r.path for r in run.products]
    before = {path: Path(path).read_bytes() for path in paths}
    untouched = scans.match({"filepath": paths[2]}).first().id
    Path(paths[0]).unlink()
    scans.delete_samples(scans.match({"filepath": paths[1]}))
    result, _ = made()
    assert result["state"] == "done" and result["images"] == 3
    assert {path: Path(path).read_bytes() for path in paths} == before
    assert sorted(scans.match({"origin": "synthetic"}).values("filepath")) == sorted(paths)
    assert scans.match({"filepath": paths[2]}).first().id == untouched


def test_an_image_that_was_moved_with_its_sample_is_not_doubled(made, scans, tmp_path):
    _, run = made()
    sample = scans.match({"filepath": run.products[0].path}).first()
    sample.filepath = str(shutil.move(sample.filepath, tmp_path / "elsewhere.png"))
    sample.save()
    made()
    assert scans.match({"origin": "synthetic"}).count() == 3
    assert str(tmp_path / "elsewhere.png") in scans.values("filepath")


def test_a_whole_folder_of_images_that_is_gone_with_its_samples_comes_back(made, scans, call):
    _, run = made()
    before = {r.path: Path(r.path).read_bytes() for r in run.products}
    shutil.rmtree(run.folder / "images")
    scans.delete_samples(scans.match({"origin": "synthetic"}))
    assert call("manage_runs", scans, action="resume", run_key="made")["state"] == "done"
    assert {path: Path(path).read_bytes() for path in before} == before
    assert scans.match({"origin": "synthetic"}).count() == 3


def test_what_was_written_to_deleted_samples_and_files_comes_back_too(call, made, scans, classifier):
    made()
    values = dict(classifier=classifier["folder"], run_key="applied")
    call("apply_classifier", scans, **values)
    gone = scans.match({"origin": "synthetic"}).first()
    scans.delete_samples([gone.id])
    Path(gone.filepath).unlink()
    made()
    call("apply_classifier", scans, **values)
    assert scans.count("predictions_loaded_clf") == len(scans)


def test_deleted_fields_evaluations_and_brain_runs_come_back(call, scans, classifier):
    applied = dict(classifier=classifier["folder"], run_key="applied")
    embedded = dict(extractor=classifier["folder"], run_key="embedded")
    call("apply_classifier", scans, **applied)
    call("compute_embeddings", scans, **embedded)
    call("audit", scans, run_key="audited")
    groups = scans.values("annotation_score")
    scans.delete_evaluation("eval_loaded_clf")
    scans.delete_sample_field("predictions_loaded_clf")
    scans.delete_brain_run("umap_loaded_clf")
    scans.delete_sample_field("annotation_score")
    call("apply_classifier", scans, **applied)
    call("compute_embeddings", scans, **embedded)
    call("audit", scans, run_key="audited")
    assert scans.count("predictions_loaded_clf") == len(scans)
    assert scans.has_evaluation("eval_loaded_clf") and scans.has_brain_run("umap_loaded_clf")
    assert scans.values("annotation_score") == groups


def test_vanished_features_are_computed_again(call, scans, classifier):
    values = dict(extractor=classifier["folder"], run_key="embedded")
    result = call("compute_embeddings", scans, **values)
    path = Path(result["folder"]) / "features.npy"
    before = np.load(path)
    path.unlink()
    assert call("compute_embeddings", scans, **values)["state"] == "done"
    assert np.array_equal(np.load(path), before)


def test_a_loaded_image_that_is_gone_is_simulated_again(call):
    values = dict(dataset_name="regrown", run_key="load", images=12, image_size=64)
    call("load_busi", **values)
    dataset = fo.load_dataset("regrown")
    path = Path(dataset.first().filepath)
    before = path.read_bytes()
    path.unlink()
    dataset.delete_samples(dataset.limit(2))
    call("load_busi", **values)
    assert path.read_bytes() == before and len(dataset) == 12
    dataset.delete()


def test_a_real_file_that_is_gone_is_told_by_name_when_its_sample_is_to_come_back(call, scans, tmp_path):
    folder = tmp_path / "set" / "benign"
    folder.mkdir(parents=True)
    for n, path in enumerate(scans.limit(2).values("filepath")):
        shutil.copy(path, folder / f"{n}.png")
    values = dict(layout="folder", source=str(tmp_path / "set"), run_key="outside")
    call("load_external", scans, **values)
    scans.delete_samples(scans.match({"filepath": str(folder / "1.png")}))
    (folder / "1.png").unlink()
    with pytest.raises(UserError, match=rf"image files (is|are) missing, the first {folder}/1.png"):
        call("load_external", scans, **values)
    assert run_of(scans.name, "outside").state == "done"


def test_the_neighbours_of_the_umap_are_those_that_the_brain_works_with(scans, classifier, run_core):
    few = scans.limit(8)
    run = run_core("compute_embeddings", few, "few", extractor=classifier["folder"])
    results.write(scans, run)
    config = scans.get_brain_info("umap_loaded_clf").config
    assert config.num_neighbors == 6
    points = scans.load_brain_results("umap_loaded_clf").points
    import fiftyone.brain as fob

    view = scans.exists(run.result["field"])
    options = dict(method="umap", seed=51, verbose=False, embeddings=run.result["field"])
    for n, same in ((6, True), (3, False)):
        again = fob.compute_visualization(view, num_neighbors=n, brain_key=f"other_{n}", **options).points
        assert np.allclose(points, again, atol=1e-4) is same
