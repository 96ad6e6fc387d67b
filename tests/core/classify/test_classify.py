"""The classifier: what it trains on, its figures, resuming, predictions."""

import json

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file
from sklearn.metrics import f1_score

from busaug_core.classify.model import Classifier, load_classifier
from busaug_core.classify.train import training_set
from busaug_core.errors import UserError
from busaug_core.images import load_gray
from busaug_core.jobs.events import Notice, Progress
from busaug_core.jobs.run import Run
from busaug_core.metrics.classification import figures
from busaug_core.records import Record
from busaug_core.registry import job

QUICK = dict(epochs=3, resolution=32, batch_size=4)


def test_figures_of_a_perfect_and_of_a_constant_classifier():
    truth = np.array([0, 1, 2, 0, 1, 2])
    perfect = figures(truth, np.eye(3)[truth] * 9)
    assert [perfect[k] for k in ("accuracy", "f1", "auc", "ppv", "recall")] == [1, 1, 1, 1, 1]
    constant = figures(truth, np.tile([1.0, 0, 0], (6, 1)))
    assert constant["accuracy"] == pytest.approx(1 / 3)
    assert constant["ppv"] == pytest.approx(1 / 9)
    assert constant["auc"] == pytest.approx(0.5)


def test_figures_are_macro_averages():
    rng = np.random.default_rng(0)
    truth, logits = rng.integers(0, 3, 50), rng.normal(size=(50, 3))
    truth[:30] = 0
    found, predicted = figures(truth, logits), logits.argmax(1)
    assert found["f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    hits = [((predicted == c) & (truth == c)).sum() for c in range(3)]
    assert found["ppv"] == pytest.approx(np.mean([h / (predicted == c).sum() for c, h in enumerate(hits)]))
    assert found["recall"] == pytest.approx(np.mean([h / (truth == c).sum() for c, h in enumerate(hits)]))
    odds = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    pairs = [(odds[truth == c, c][:, None] > odds[truth != c, c][None]).mean() for c in range(3)]
    assert found["auc"] == pytest.approx(np.mean(pairs))


def test_auc_is_none_where_there_is_but_one_class():
    assert figures(np.array([1, 1]), np.eye(3)[:2])["auc"] is None


def test_averages_are_over_the_classes_that_occur():
    truth = np.array([0, 0, 1, 1])
    perfect = figures(truth, np.eye(3)[truth])
    assert [perfect[k] for k in ("f1", "ppv", "recall", "auc")] == [1, 1, 1, 1]
    once_wrong = figures(truth, np.eye(3)[[0, 2, 1, 1]])
    assert [once_wrong[k] for k in ("accuracy", "ppv", "recall")] == [0.75, 1, 0.75]


@pytest.mark.parametrize("arch", ["resnet18", "densenet121", "squeezenet1_1", "mobilenet_v3_small", "vit_b_32"])
def test_architectures_get_one_output_a_class_and_flat_features(arch):
    model = Classifier(arch, ["a", "b"], 64).eval()
    images = torch.randint(0, 256, (2, 64, 64), dtype=torch.uint8)
    assert model(images).shape == (2, 2)
    assert model.features(images).ndim == 2


@pytest.mark.parametrize("arch", ["googlenet", "inception_v3"])
def test_a_pretrained_network_is_the_same_when_it_is_loaded_again(arch, tmp_path, monkeypatch):
    torch.manual_seed(0)
    imagenet = torchvision.models.get_model(arch, weights=None, init_weights=False).state_dict()
    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", lambda *_, **__: imagenet)
    model = Classifier(arch, ["a", "b"], 96, pretrained=True).eval()
    model.save(tmp_path)
    images = torch.randint(0, 256, (2, 96, 96), dtype=torch.uint8)
    assert torch.equal(load_classifier(Run(tmp_path))(images), model(images))


def test_a_resolution_that_an_architecture_cannot_take_is_named(run_job, records):
    with pytest.raises(UserError, match="vit_b_16 takes no images of 40 px"):
        run_job("train_classifier", records, **{**QUICK, "arch": "vit_b_16", "resolution": 40})


def test_a_class_that_training_lacks_is_named_before_training(run_job, records):
    odd = [*records, Record(records[0].path, "cyst", tags=["val"])]
    with pytest.raises(UserError, match="class\\(es\\) cyst"):
        run_job("train_classifier", odd, **QUICK)


def test_an_unknown_architecture_is_named(run_job, records):
    with pytest.raises(UserError, match="no classifier 'resnet19'"):
        run_job("train_classifier", records, arch="resnet19", **QUICK)


def test_rejected_and_evaluation_images_and_other_splits_never_train():
    records = [
        Record("t", "benign", tags=["train"]),
        Record("v", "benign", tags=["val"]),
        Record("s", "benign", "synthetic", "sd", ["synthetic", "sd"]),
        Record("e", "benign", "synthetic", "sd", ["synthetic", "sd", "evaluation"]),
        Record("r", "benign", "synthetic", "sd", ["synthetic", "sd", "rejected"]),
        Record("o", "benign", "synthetic", "base", ["synthetic", "base"]),
    ]
    assert [r.path for r in training_set(records, [])] == ["t"]
    assert [r.path for r in training_set(records, ["sd"])] == ["t", "s"]
    with pytest.raises(UserError, match="variant 'sd_ti'"):
        training_set(records, ["sd_ti"])


def test_training_lowers_the_loss_and_reports_on_held_out_images(run_job, records, tmp_path):
    values = {**QUICK, "epochs": 12, "learning_rate": 1e-3, "run_key": "clf"}
    events = list(job("train_classifier").run(values, records, "trial", tmp_path))
    losses = [e.values["loss"] for e in events if isinstance(e, Progress) and e.values]
    assert losses[-1] < 0.8 * losses[0]
    result = events[-1].result
    assert result["metrics"]["n"] == 6
    assert result["n_train"] == 9
    assert result["pretrained"] is False


def test_a_stopped_training_ends_in_the_same_weights_as_an_unbroken_one(run_job, records, tmp_path):
    whole = run_job("train_classifier", records, run_key="whole", **QUICK)
    events = job("train_classifier").run({**QUICK, "run_key": "broken"}, records, "trial", tmp_path)
    next(e for e in events if isinstance(e, Progress) and e.done == 2)
    events.close()
    assert Run(tmp_path / "trial/runs/broken").state == "stopped"
    resumed = run_job("train_classifier", records, run_key="broken", **QUICK)
    one, other = load_file(whole["weights"]), load_file(resumed["weights"])
    assert all(torch.equal(one[k], other[k]) for k in one)


def test_predictions_are_the_models_own(run_job, records, tmp_path):
    run_job("train_classifier", records, run_key="clf", **QUICK)
    fake = Record(records[0].path, "normal", "synthetic", "sd", ["synthetic", "sd"])
    result = run_job("apply_classifier", [*records, fake], classifier="clf", run_key="apply")
    lines = (tmp_path / "trial/runs/apply/predictions.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    model = load_classifier(Run(tmp_path / "trial/runs/clf"))
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
    lines = (tmp_path / "trial/runs/apply/predictions.jsonl").read_text().splitlines()
    evaluated = {row["path"] for row in map(json.loads, lines) if row["evaluated"]}
    assert evaluated == {r.path for r in records if "val" in r.tags}
    training = [r for r in records if "train" in r.tags]
    result = run_job("apply_classifier", training, classifier="clf", evaluate_on="simulated")
    assert "metrics" not in result


def test_a_missing_classifier_is_named(run_job, records):
    with pytest.raises(UserError, match="no finished classifier run in .*none"):
        run_job("apply_classifier", records, classifier="none")
