"""Predictions as a field, and their evaluation."""

import fiftyone as fo
import numpy as np
import pytest
from fiftyone.operators.store import ExecutionStore

from busaug_core.errors import UserError
from busaug_core.jobs.runs import runs_folder
from operators import results


def test_predictions_and_their_evaluation_are_written(call, loaded, classifier):
    result = call("apply_classifier", loaded, classifier="clf")
    predicted = loaded.match_tags("val").first().predictions_clf
    assert predicted.logits.dtype == np.float32
    assert predicted.logits.shape == (3,)
    assert 0 < predicted.confidence <= 1
    held_out = loaded.match_tags("val")
    figures = loaded.load_evaluation_results("eval_clf").metrics()
    assert figures["accuracy"] == pytest.approx(result["metrics"]["accuracy"])
    assert figures["support"] == len(held_out)


def test_a_classifier_of_another_dataset_is_evaluated_on_any_tag(call, loaded, classifier):
    outside = loaded.match({"origin": "simulated"}).clone("outside_set")
    outside.tag_samples("external")
    result = call("apply_classifier", outside, classifier=classifier["folder"], evaluate_on="external")
    held_out = outside.match_tags("val")
    assert result["metrics"]["n"] == len(held_out)
    assert outside.count("predictions_loaded_clf") == len(outside)
    assert outside.load_evaluation_results("eval_loaded_clf").metrics()["support"] == len(held_out)
    fo.delete_dataset("outside_set")


def test_a_tag_that_no_sample_has_is_refused_before_anything_is_classified(call, loaded, classifier):
    with pytest.raises(UserError, match="none of these samples is tagged 'vall'; tags are .*, train, val"):
        call("apply_classifier", loaded, classifier="clf", evaluate_on="vall", run_key="vall")
    assert not (runs_folder("loaded") / "vall").exists()


@pytest.mark.parametrize("settings", [dict(epochs=1, resolution=32), dict(arch="probe", resamples=2)])
def test_a_trained_classifier_has_an_evaluation_of_its_own(scans, run_core, settings):
    run = run_core("train_classifier", scans, "own", **settings)
    results.write(scans, run)
    held_out = scans.match_tags("val")
    assert scans.count("predictions_own") == len(held_out)
    assert all(p is not None for p in held_out.values("predictions_own"))
    figures = scans.load_evaluation_results("eval_own")
    assert figures.metrics()["accuracy"] == pytest.approx(run.result["metrics"]["accuracy"])
    assert "predictions_own.label" in scans.list_indexes()
    results.remove(scans, run)
    assert scans.get_field("predictions_own") is None
    assert not [name for name in scans._sample_collection.index_information() if "predictions_own" in name]
    assert scans.list_evaluations() == []


def test_what_training_predicted_comes_back_when_the_predictions_of_all_are_taken_back(scans, run_core):
    trained = run_core("train_classifier", scans, "both", arch="squeezenet1_1", epochs=1, resolution=32)
    applied = run_core("apply_classifier", scans, "of_all", classifier=str(trained.folder), evaluate_on="train")
    results.write(scans, trained)
    before = scans.values("predictions_both.label")
    results.write(scans, applied)
    assert None not in scans.values("predictions_both.label")
    results.remove(scans, applied)
    assert scans.values("predictions_both.label") == before
    assert scans.load_evaluation_results("eval_both").metrics()["support"] == trained.result["metrics"]["n"]


def test_the_panel_of_evaluations_explains_its_averages_beside_the_runs_own(scans, run_core, classifier):
    run = run_core("apply_classifier", scans, "noted", classifier=classifier["folder"])
    results.write(scans, run)
    store = ExecutionStore.create("model_evaluation_panel_builtin", scans._doc.id)
    (note,) = store.get("notes").values()
    assert f"F1 {run.result['metrics']['f1']:.3f}" in note
    assert "micro averages" in note
    assert list(store.get("notes")) == [str(scans._doc.evaluations["eval_loaded_clf"].id)]
    results.remove(scans, run)
    assert store.get("notes") == {}


def test_a_classifier_of_an_earlier_version_that_kept_no_predictions_adds_no_field(scans, run_core):
    run = run_core("train_classifier", scans, "early", arch="squeezenet1_1", epochs=1, resolution=32)
    (run.folder / "predictions.jsonl").unlink()
    results.write(scans, run)
    assert scans.get_field("predictions_early") is None
    assert scans.list_evaluations() == []


def test_samples_without_a_class_are_classified_but_not_evaluated(call, loaded, classifier):
    dataset = loaded.match_tags("val").clone("partly")
    first = dataset.first()
    first.ground_truth = None
    first.save()
    result = call("apply_classifier", dataset, classifier=classifier["folder"])
    assert dataset.count("predictions_loaded_clf") == len(dataset)
    assert result["metrics"]["n"] == len(dataset) - 1
    fo.delete_dataset("partly")
