"""Predictions as a field, and their evaluation."""

import fiftyone as fo
import numpy as np
import pytest


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
    call("apply_classifier", outside, classifier=classifier["folder"], evaluate_on="nothing")
    assert outside.has_evaluation("eval_loaded_clf")
    fo.delete_dataset("outside_set")


def test_samples_without_a_class_are_classified_but_not_evaluated(call, loaded, classifier):
    dataset = loaded.match_tags("val").clone("partly")
    first = dataset.first()
    first.ground_truth = None
    first.save()
    result = call("apply_classifier", dataset, classifier=classifier["folder"])
    assert dataset.count("predictions_loaded_clf") == len(dataset)
    assert result["metrics"]["n"] == len(dataset) - 1
    fo.delete_dataset("partly")
