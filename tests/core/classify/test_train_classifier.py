"""Training a classifier: what it trains on, what it reports, and going on after a stop."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from quick import QUICK, loaded
from safetensors.torch import load_file

from busaug_core.classify import train_network
from busaug_core.classify.model import predict
from busaug_core.classify.predictions import read_predictions
from busaug_core.errors import UserError
from busaug_core.features.efficientnet_lite import lite0
from busaug_core.images import load_batch
from busaug_core.jobs.events import Progress
from busaug_core.jobs.roles import training_set
from busaug_core.jobs.run import Run
from busaug_core.records import Record
from busaug_core.registry import job


@pytest.mark.parametrize(
    ("arch", "resolution"), [("vit_b_16", 40), ("alexnet", 32), ("inception_v3", 64), ("maxvit_t", 64)]
)
def test_a_resolution_that_an_architecture_cannot_take_is_named_before_an_image_is_read(
    run_job, records, arch, resolution, monkeypatch
):
    monkeypatch.setattr(train_network, "load_batch", lambda *_: pytest.fail("an image was read"))
    with pytest.raises(UserError, match=f"{arch} takes no images of {resolution} px .* its own is (224|299)"):
        run_job("train_classifier", records, **{**QUICK, "arch": arch, "resolution": resolution})


@pytest.mark.parametrize("labels", [("benign",), ("malignant",)])
@pytest.mark.parametrize("n", [1, 3])
def test_a_single_class_teaches_nothing_and_is_refused(run_job, records, labels, n):
    training = [r for r in records if r.label in labels and "train" in r.tags][:n]
    held_out = [r for r in records if r.label in labels and "val" in r.tags]
    with pytest.raises(UserError, match=rf"All training images \({n}\) are of the class '{labels[0]}'"):
        run_job("train_classifier", [*training, *held_out], **QUICK)


def chosen(records, split, counts):
    """So many records of a split of each class."""
    return [r for label, n in counts.items() for r in [r for r in records if r.label == label and split in r.tags][:n]]


@pytest.mark.parametrize(
    ("train_counts", "val_counts", "remarks"),
    [
        (dict(benign=3, malignant=2), dict(benign=2, malignant=2), []),
        (dict(benign=3, malignant=1), dict(benign=2, malignant=2), ["A single image of malignant is learned from"]),
        (
            dict(benign=1, malignant=1),
            dict(benign=2, malignant=2),
            ["A single image of benign, malignant is learned from"],
        ),
        (dict(benign=3, malignant=2), dict(benign=2), [r"All evaluated images \(2 of 'val'\) are .* 'benign'"]),
        (
            dict(benign=3, malignant=2),
            dict(malignant=1),
            [r"All evaluated images \(1 of 'val'\)", "'val' has a single image of malignant"],
        ),
        (
            dict(benign=3, malignant=2, normal=2),
            dict(benign=2, normal=1),
            ["'val' has no image of malignant", "'val' has a single image of normal"],
        ),
    ],
)
def test_figures_that_mean_little_are_said_to_beside_them(run_job, records, train_counts, val_counts, remarks):
    given = [*chosen(records, "train", train_counts), *chosen(records, "val", val_counts)]
    result = run_job(
        "train_classifier", given, arch="squeezenet1_1", epochs=1, resolution=32, batch_size=4, run_key="clf"
    )
    assert len(result["remarks"]) == len(remarks)
    assert all(re.search(wanted, found) for wanted, found in zip(remarks, result["remarks"], strict=True))
    events = (Path(result["folder"]) / "events.jsonl").read_text()
    assert all(json.dumps(found)[1:-1] in events for found in result["remarks"])
    applied = run_job("apply_classifier", given, classifier="clf", run_key="applied")
    assert applied["remarks"] == [r for r in result["remarks"] if "learned from" not in r]


def test_a_training_that_diverges_is_told_and_reports_no_accuracy(run_job, records, monkeypatch):
    nan = torch.tensor(float("nan"), requires_grad=True)
    monkeypatch.setattr(train_network, "cross_entropy", lambda *_, **__: nan * 1)
    with pytest.raises(UserError, match="The loss is nan in epoch 1; lower learning_rate"):
        run_job("train_classifier", records, **{**QUICK, "arch": "squeezenet1_1"})


def test_a_class_that_training_lacks_is_named_before_training(run_job, records):
    odd = [*records, Record(records[0].path, "cyst", tags=["val"])]
    with pytest.raises(UserError, match="class\\(es\\) cyst"):
        run_job("train_classifier", odd, **QUICK)


def test_an_unknown_architecture_is_named(run_job, records):
    with pytest.raises(UserError, match="no classifier 'resnet19'"):
        run_job("train_classifier", records, **{**QUICK, "arch": "resnet19"})


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
    drawn = dict(augmentation="trivial", balance="oversample")
    values = {**QUICK, **drawn, "arch": "shufflenet_v2_x0_5"}  # whose running means a checkpoint must hold too
    whole = run_job("train_classifier", records, run_key="whole", **values)
    events = job("train_classifier").run({**values, "run_key": "broken"}, records, "trial", tmp_path)
    next(e for e in events if isinstance(e, Progress) and e.done == 2)
    events.close()
    assert Run(tmp_path / "trial/runs/broken").state == "stopped"
    resumed = run_job("train_classifier", records, run_key="broken", **values)
    one, other = load_file(whole["weights"]), load_file(resumed["weights"])
    assert all(torch.equal(one[k], other[k]) for k in one)


@pytest.fixture
def shown(monkeypatch):
    """What the network was shown: of each step the images and the classes."""
    seen, plain = [], train_network.cross_entropy
    plain_augmented = train_network.NetworkTraining._augmented

    def augmented(self, images, rng):
        seen.append([plain_augmented(self, images.copy(), rng)])
        return seen[-1][0]

    def loss(logits, truth, reduction):
        seen[-1].append(truth.tolist())
        return plain(logits, truth, reduction=reduction)

    monkeypatch.setattr(train_network.NetworkTraining, "_augmented", augmented)
    monkeypatch.setattr(train_network, "cross_entropy", loss)
    return seen


def few_normals(records):
    return [r for r in records if "train" not in r.tags or r.label != "normal" or r.path.endswith("(3).png")]


def test_oversampling_shows_each_class_equally_often(run_job, records, shown):
    result = run_job("train_classifier", few_normals(records), **{**QUICK, "epochs": 30}, balance="oversample")
    assert result["train_counts"] == {"benign": 4, "malignant": 3, "normal": 1}
    counts = np.bincount([c for _, truth in shown for c in truth])
    assert counts.min() > 0.75 * counts.max()
    assert counts.sum() == pytest.approx(30 * 8, abs=30)


@pytest.mark.parametrize("balance", ["none", "class_weights"])
def test_class_weights_make_up_for_the_classes_shares(run_job, records, tmp_path, monkeypatch, balance):
    """With errors that are the class's number plus one, the loss of a batch of all images is their weighted mean."""
    zero = torch.zeros(1, requires_grad=True)
    monkeypatch.setattr(train_network, "cross_entropy", lambda _, truth, **__: truth + 1 + zero)
    values = dict(QUICK, epochs=1, batch_size=8, balance=balance)
    events = list(job("train_classifier").run(values, few_normals(records), "trial", tmp_path))
    losses = [e.values["loss"] for e in events if isinstance(e, Progress) and e.values]
    assert losses == pytest.approx([2] if balance == "class_weights" else [(4 * 1 + 3 * 2 + 1 * 3) / 8])


@pytest.mark.parametrize("arch", ["squeezenet1_1", "probe"])
def test_a_synthetic_image_counts_as_far_as_a_probe_of_the_real_ones_believes_it(run_job, records, arch):
    """Copies of training scans, one under its own class and one under another."""
    training = [r for r in records if "train" in r.tags]
    right, wrong = (next(r for r in training if r.label == label) for label in ("benign", "malignant"))
    made = dict(origin="synthetic", tags=["synthetic"])
    synthetic = [replace(right, variant="right", **made), replace(wrong, variant="wrong", label="normal", **made)]
    values = {k: v for k, v in QUICK.items() if arch != "probe" or k == "resolution"}
    values |= dict(arch=arch, include=["right", "wrong"], weighting="confidence")
    result = run_job("train_classifier", [*records, *synthetic], **values)
    assert 0 <= result["confidence"]["wrong"] < 0.5 < result["confidence"]["right"] <= 1
    with pytest.raises(UserError, match="weighting=confidence is for synthetic images"):
        run_job("train_classifier", records, **{**values, "include": []})


def test_images_are_changed_as_augmentation_says(run_job, records, shown):
    plain = load_batch([r.path for r in records if "train" in r.tags], 32)
    known = {image.tobytes() for image in plain}
    mirrored = {image[:, ::-1].tobytes() for image in plain}
    share = {}
    for name in ("none", "flip", "trivial"):
        shown.clear()
        run_job("train_classifier", records, **QUICK, augmentation=name)
        images = [image.tobytes() for batch, _ in shown for image in batch]
        share[name] = [np.mean([i in group for i in images]) for group in (known, mirrored - known)]
    assert share["none"] == [1, 0]
    assert sum(share["flip"]) == 1 and 0.2 < share["flip"][1] < 0.8
    assert sum(share["trivial"]) < 0.6


def test_a_classifier_keeps_the_logits_of_what_it_was_evaluated_on(run_job, records):
    result = run_job(
        "train_classifier", records, run_key="clf", arch="squeezenet1_1", epochs=1, resolution=32, batch_size=8
    )
    rows = read_predictions(Path(result["folder"]))
    held_out = [r for r in records if "val" in r.tags]
    assert [row.path for row in rows] == [r.path for r in held_out]
    assert [row.truth for row in rows] == [r.label for r in held_out]
    predicted = [result["classes"][int(np.argmax(row.logits))] for row in rows]
    assert predicted == [row.label for row in rows]
    right = [p == r.label for p, r in zip(predicted, held_out, strict=True)]
    assert np.mean(right) == result["metrics"]["accuracy"]
    assert all(row.evaluated for row in rows)


def test_efficientnet_lite0_starts_from_imagenet_without_a_network(run_job, records):
    options = {**QUICK, "epochs": 1, "arch": "efficientnet_lite0", "resolution": 64}
    known = lite0().stem[0].weight
    for pretrained, is_near in ((True, True), (False, False)):
        result = run_job("train_classifier", records, **options, pretrained=pretrained)
        model = loaded(Path(result["folder"]))
        assert ((model.network.stem[0].weight - known).abs().max() < 0.02) == is_near
        assert predict(model, np.zeros((1, 64, 64), np.uint8), 1, torch.device("cpu")).shape == (1, 3)
