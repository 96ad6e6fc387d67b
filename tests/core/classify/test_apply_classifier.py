"""Predictions of a trained classifier."""

import numpy as np
import pytest
import torch
from quick import QUICK, loaded

from busaug_core.errors import UserError
from busaug_core.files import read_rows
from busaug_core.images import load_gray
from busaug_core.jobs.events import Notice
from busaug_core.records import Record
from busaug_core.registry import job


def test_predictions_are_the_models_own(run_job, records, tmp_path):
    run_job("train_classifier", records, run_key="clf", **QUICK)
    fake = Record(records[0].path, "normal", "synthetic", "sd", ["synthetic", "sd"])
    result = run_job("apply_classifier", [*records, fake], classifier="clf", run_key="apply")
    rows = read_rows(tmp_path / "trial/runs/apply/predictions.jsonl")
    model = loaded(tmp_path / "trial/runs/clf")
    for record, row in zip([*records, fake], rows, strict=True):
        image = torch.from_numpy(load_gray(record.path, 32)[None].copy())
        assert row["path"] == record.path
        assert np.allclose(model(image).detach().numpy()[0], row["logits"], atol=1e-4)
        assert row["label"] == model.classes[int(np.argmax(row["logits"]))]
        odds = np.exp(row["logits"]) / np.exp(row["logits"]).sum()
        assert row["confidence"] == pytest.approx(odds.max(), rel=1e-5)
    assert len(rows) == len(records) + 1
    assert result["metrics"]["n"] == 6
    assert result["recognised"]["sd"] == float(rows[-1]["label"] == "normal")


def test_nothing_is_evaluated_on_what_the_classifier_was_trained_on(run_job, records, tmp_path):
    run_job("train_classifier", records, run_key="clf", **QUICK)
    values = dict(classifier="clf", evaluate_on="simulated", run_key="apply")
    events = list(job("apply_classifier").run(values, records, "trial", tmp_path))
    assert [e.message for e in events if isinstance(e, Notice)] == [
        "9 of 15 images of 'simulated' are not evaluated: the classifier was trained on them."
    ]
    assert events[-1].result["metrics"]["n"] == 6
    rows = read_rows(tmp_path / "trial/runs/apply/predictions.jsonl")
    evaluated = {row["path"] for row in rows if row["evaluated"]}
    assert evaluated == {r.path for r in records if "val" in r.tags}
    training = [r for r in records if "train" in r.tags]
    result = run_job("apply_classifier", training, classifier="clf", evaluate_on="simulated")
    assert "metrics" not in result


def test_a_missing_classifier_is_named(run_job, records):
    with pytest.raises(UserError, match="'none' is neither a run of this dataset"):
        run_job("apply_classifier", records, classifier="none")
