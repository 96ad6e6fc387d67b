"""A probe: a classifier like any other, of the features of a network that it does not train."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from quick import QUICK, loaded
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from busaug_core.classify import train_probe
from busaug_core.classify.config import RESAMPLED, VIEWS, TrainClassifier
from busaug_core.classify.predictions import read_predictions, read_resampled
from busaug_core.classify.regression import Regression
from busaug_core.errors import UserError
from busaug_core.features.augmentation import seeded_trivial_augment
from busaug_core.features.cache import FeatureCache
from busaug_core.features.efficientnet_lite import Lite0
from busaug_core.features.extractor import Extractor
from busaug_core.images import load_gray
from busaug_core.jobs.roles import of_split
from busaug_core.metrics.classification import classification_metrics
from busaug_core.records import Record

PROBE = dict(arch="probe", run_key="probe")


@pytest.fixture(scope="module")
def synthetic(records, tmp_path_factory):
    """Mirrored training images as images of a variant."""
    folder = tmp_path_factory.mktemp("synthetic")
    made = []
    for i, record in enumerate(of_split(records, "train")):
        path = folder / f"{i}.png"
        Image.fromarray(np.fliplr(load_gray(record.path, 64))).save(path)
        made.append(Record(str(path), record.label, "synthetic", "sd", ["synthetic", "sd"], pair=f"{i}"))
    return made


def test_its_logits_are_those_of_its_weights_on_the_extractors_features(run_job, records):
    result = run_job("train_classifier", records, **PROBE)
    weights = load_file(result["weights"])
    extractor = Lite0(torch.device("cpu"))
    held_out = of_split(records, "val")
    features = extractor([extractor.load(r.path) for r in held_out])
    scaled = (features - weights["mean"].numpy()) / weights["std"].numpy()
    logits = scaled @ weights["coefficients"].numpy().T + weights["intercept"].numpy()
    rows = read_predictions(Path(result["folder"]))
    assert np.allclose([row.logits for row in rows], logits, atol=1e-4)
    assert [row.path for row in rows] == [r.path for r in held_out]
    truth = np.array([result["classes"].index(r.label) for r in held_out])
    assert result["metrics"] == classification_metrics(truth, np.array([row.logits for row in rows]))


def test_it_is_applied_as_it_was_tested_and_no_image_is_looked_at_twice(run_job, records, monkeypatch):
    trained = run_job("train_classifier", records, **PROBE)
    seen = []
    call = Extractor.__call__
    monkeypatch.setattr(Extractor, "__call__", lambda self, images: seen.extend(images) or call(self, images))
    fresh = Record(records[0].path.replace("benign (1).png", "benign (1)_mask.png"), "benign", "synthetic", "sd")
    result = run_job("apply_classifier", [*records, fresh], classifier="probe", run_key="applied")
    assert len(seen) == 1
    before = {row.path: row.logits for row in read_predictions(Path(trained["folder"]))}
    after = {row.path: row for row in read_predictions(Path(result["folder"]))}
    assert {path: after[path].logits for path in before} == before
    assert result["metrics"] == trained["metrics"]
    assert result["recognised"].keys() == {"sd"}


def test_what_it_is_asked_about_is_reduced_as_its_training_images_were(run_job, records, tmp_path):
    result = run_job("train_classifier", records, **PROBE, resolution=32)
    assert result["resolution"] == 32
    folder = tmp_path / "reduced"
    folder.mkdir()
    small = []
    for i, record in enumerate(of_split(records, "val")):
        Image.fromarray(load_gray(record.path, 32)).save(folder / f"{i}.png")
        small.append(replace(record, path=str(folder / f"{i}.png")))
    applied = run_job("apply_classifier", small, classifier="probe")
    of_small, of_large = (read_predictions(Path(r["folder"])) for r in (applied, result))
    assert np.allclose([r.logits for r in of_small], [r.logits for r in of_large], atol=1e-5)


def test_the_same_call_gives_the_same_probe_and_an_extractor_of_ones_own_is_named(run_job, records):
    one, other = (run_job("train_classifier", records, arch="probe", run_key=key) for key in ("one", "other"))
    first, second = load_file(one["weights"]), load_file(other["weights"])
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert one["extractor"] == "efficientnet_lite0"


def test_a_classifiers_features_can_be_probed_also_from_another_dataset(run_job, records):
    run_job("train_classifier", records, run_key="clf", **QUICK)
    result = run_job("train_classifier", records, **PROBE, extractor="clf")
    assert result["extractor"] == "clf"
    applied = run_job("apply_classifier", records, dataset="elsewhere", classifier=result["folder"])
    assert applied["metrics"] == result["metrics"]


def test_other_weights_of_its_extractor_are_refused(run_job, records):
    run_job("train_classifier", records, run_key="clf", **QUICK)
    result = run_job("train_classifier", records, **PROBE, extractor="clf")
    path = Path(result["folder"]).parent / "clf/classifier.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    changed = {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in load_file(path).items()}
    save_file(changed, path, metadata=metadata)
    with pytest.raises(UserError, match=r"was trained on the features of clf with other weights than are here"):
        run_job("apply_classifier", records, classifier="probe")


def test_a_file_of_weights_that_do_not_fit_is_refused(run_job, records):
    result = run_job("train_classifier", records, **PROBE)
    path = Path(result["weights"])
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    weights = load_file(path)
    for broken in ({**weights, "coefficients": weights["coefficients"][:2]}, {"mean": weights["mean"]}):
        save_file(broken, path, metadata=metadata)
        with pytest.raises(UserError, match="cannot be read as a probe"):
            loaded(path.parent)


def test_a_probe_is_no_extractor_and_its_own_is_named(run_job, records):
    run_job("train_classifier", records, **PROBE)
    with pytest.raises(
        UserError, match="'probe' is a probe, which has no features of its own; .* 'efficientnet_lite0'"
    ):
        run_job("compute_embeddings", records, extractor="probe")
    with pytest.raises(UserError, match="'probe' is a probe"):
        run_job("train_classifier", records, arch="probe", extractor="probe")
    with pytest.raises(UserError, match="There is no extractor 'prob'; .* classifier runs of this dataset: none yet"):
        run_job("train_classifier", records, arch="probe", extractor="prob")


def test_an_extractor_that_learned_from_what_validates_now_is_refused(run_job, records):
    swapped = [replace(r, tags=["val" if "train" in r.tags else "train"]) for r in records]
    run_job("train_classifier", swapped, run_key="clf", **QUICK)
    with pytest.raises(UserError, match="'clf' was trained on 6 images that are held out now"):
        run_job("train_classifier", records, **PROBE, extractor="clf")


def test_it_trains_with_synthetic_images_and_is_then_no_judge_of_them(run_job, records, synthetic):
    everything = [*records, *synthetic]
    result = run_job("train_classifier", everything, **PROBE, include=["sd"])
    assert result["n_train"] == 18
    with pytest.raises(UserError, match="was trained with synthetic images"):
        run_job("score_synthetic", everything, classifier="probe", extractor="efficientnet_lite0")


def test_it_scores_synthetic_images(run_job, records, synthetic):
    run_job("train_classifier", records, **PROBE)
    values = dict(classifier="probe", extractor="efficientnet_lite0")
    result = run_job("score_synthetic", [*records, *synthetic], **values, run_key="scores")
    (mean,) = result["means"]
    assert mean["class_probability"] > 0.5
    assert mean["class_consistent"] > 0.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(arch="probe", epochs=3), "a probe has no epochs"),
        (dict(arch="probe", learning_rate=0.1, batch_size=8), "a probe has no batch_size and no learning_rate"),
        (dict(arch="probe", pretrained=True), "a probe has no pretrained"),
        (dict(arch="probe", preset="hybrid"), "a probe has no preset"),
        (dict(resamples=3), "only a probe has resamples; .* set arch to 'probe'"),
        (dict(arch="resnet18", extractor="dinov2"), "only a probe has extractor"),
    ],
)
def test_what_the_other_kind_of_classifier_has_is_refused(values, message):
    with pytest.raises(UserError, match=message):
        TrainClassifier.parse(values)


def test_settings_that_a_run_has_stored_are_taken_again():
    for values in (dict(arch="probe", resamples=2), dict(arch="resnet18")):
        stored = TrainClassifier.parse(values).resolve().model_dump(mode="json")
        assert TrainClassifier.parse(stored).resolve().model_dump(mode="json") == stored


def test_a_class_of_a_single_image_leaves_nothing_to_choose_by_and_that_is_said(run_job, records):
    few = [r for r in records if "val" in r.tags or r.label != "normal"]
    few += [r for r in of_split(records, "train") if r.label == "normal"][:1]
    result = run_job("train_classifier", few, **PROBE)
    assert any("C is not chosen but 0.01" in remark for remark in result["remarks"])


@pytest.mark.parametrize("augmentation", ["flip", "trivial"])
def test_it_learns_from_views_and_is_tested_on_images_as_they_are(run_job, records, augmentation):
    result = run_job("train_classifier", records, **PROBE, augmentation=augmentation)
    extractor = Lite0(torch.device("cpu"))
    training, held_out = of_split(records, "train"), of_split(records, "val")
    images = [extractor.load(r.path) for r in training]
    mirrored = [np.ascontiguousarray(np.fliplr(image)) for image in images]
    views = [images, mirrored]
    if augmentation == "trivial":
        drawn = [[seeded_trivial_augment(x, (51, i)) for x in (images, mirrored)[i % 2]] for i in range(VIEWS)]
        views = [images, *drawn]
    features = np.stack([extractor(view) for view in views], axis=1)
    expected = Regression(features, [r.label for r in training]).fit(result["C"])
    logits = expected.logits(extractor([extractor.load(r.path) for r in held_out]))
    rows = read_predictions(Path(result["folder"]))
    assert [row.path for row in rows] == [r.path for r in held_out]
    assert np.allclose([row.logits for row in rows], logits, atol=1e-3)
    plain = run_job("train_classifier", records, arch="probe", run_key="plain", augmentation="none")
    without = [row.logits for row in read_predictions(Path(plain["folder"]))]
    assert not np.allclose(without, logits, atol=1e-2)


def test_views_are_computed_once_also_where_other_images_are_added(run_job, records, synthetic, monkeypatch):
    augmented = dict(arch="probe", augmentation="trivial")
    one = run_job("train_classifier", records, **augmented, run_key="one")
    kept, add = [], FeatureCache.add
    monkeypatch.setattr(FeatureCache, "add", lambda self, keys, rows: kept.extend(keys) or add(self, keys, rows))
    again = run_job("train_classifier", records, **augmented, run_key="again", resamples=2)
    assert kept == []
    first, second = load_file(one["weights"]), load_file(again["weights"])
    assert all(torch.equal(first[name], second[name]) for name in first)
    run_job("train_classifier", [*records, *synthetic], **augmented, run_key="more", include=["sd"])
    assert len(kept) == (1 + VIEWS) * len(synthetic)
    run_job("train_classifier", records, **augmented, run_key="other", seed=7)
    assert len(kept) == (1 + VIEWS) * len(synthetic) + VIEWS * len(of_split(records, "train"))


def test_a_synthetic_images_views_are_believed_as_far_as_it_is(run_job, records, synthetic, monkeypatch):
    given = []
    plain = train_probe.Regression
    monkeypatch.setattr(train_probe, "Regression", lambda *args: given.append(args) or plain(*args))
    values = dict(arch="probe", include=["sd"], weighting="confidence")
    results = [
        run_job("train_classifier", [*records, *synthetic], **values, augmentation=name, run_key=name)
        for name in ("none", "trivial")
    ]
    assert results[0]["confidence"] == results[1]["confidence"]
    (plain_features, _, counts), (features, _, same) = given
    assert np.array_equal(counts, same) and len(counts) == len(features) == 18
    assert features.shape[1] == 1 + VIEWS and np.array_equal(features[:, :1], plain_features)


def test_resamples_are_told_with_intervals_and_kept(run_job, records):
    result = run_job("train_classifier", records, **PROBE, resamples=5)
    logits = read_resampled(Path(result["folder"]))
    assert logits.shape == (5, 6, 3)
    assert logits.dtype == np.float32
    assert len(np.unique(logits.round(4), axis=0)) == 5
    assert result["resampled"].keys() == {"accuracy", "f1", "auc", "ppv", "recall", "specificity", "ece"}
    truth = np.array([result["classes"].index(row.truth) for row in read_predictions(Path(result["folder"]))])
    for name, estimate in result["resampled"].items():
        assert 0 <= estimate["low"] <= estimate["value"] <= estimate["high"] <= 1, name
    mean = np.mean([classification_metrics(truth, of_one)["accuracy"] for of_one in logits])
    assert result["resampled"]["accuracy"]["value"] == pytest.approx(mean, abs=0.03)


def test_resampled_logits_that_were_deleted_are_made_again(run_job, records):
    path = Path(run_job("train_classifier", records, **PROBE, resamples=3)["folder"]) / RESAMPLED
    before = path.read_bytes()
    path.unlink()
    run_job("train_classifier", records, **PROBE, resamples=3)
    assert path.read_bytes() == before


def test_features_that_are_cached_are_reused_by_another_probe(run_job, records, monkeypatch):
    run_job("train_classifier", records, **PROBE)
    monkeypatch.setattr(FeatureCache, "add", lambda *_: pytest.fail("an image was looked at again"))
    run_job("train_classifier", records, arch="probe", run_key="again", seed=1)
