"""Heat maps: Grad-CAM of networks and probes."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from quick import QUICK, loaded
from torch import nn
from torch.nn.functional import relu
from torchvision.models import SwinTransformer, VisionTransformer

from busaug_core.classify.heatmaps import SIDE, GradCam, as_pixels
from busaug_core.classify.model import Classifier
from busaug_core.classify.predictions import read_predictions
from busaug_core.errors import UserError
from busaug_core.files import read_rows
from busaug_core.jobs.run import Run
from busaug_core.summary import summarise

PROBE = dict(arch="probe", run_key="probe")
FILES = ("heatmaps", "heatmaps.png", "attention.jsonl")


@dataclass
class Toy:
    """A classifier of gray images by any network that takes so many channels."""

    network: nn.Module
    classes: tuple[str, ...] = ("a", "b", "c")
    channels: int = 3

    def scores(self, images):
        gray = torch.from_numpy(np.stack(images))[:, None].float() / 255
        return self.network(gray.expand(-1, self.channels, -1, -1))


def noise(n, side):
    return np.random.default_rng(0).integers(0, 256, (n, side, side)).astype(np.uint8)


@pytest.mark.parametrize(
    ("arch", "layer"), [("resnet18", "layer4"), ("densenet121", "features"), ("efficientnet_lite0", "top")]
)
def test_where_classes_are_linear_in_a_mean_over_space_it_is_the_class_activation_map(arch, layer):
    torch.manual_seed(0)
    model, images = Classifier(arch, ["a", "b", "c"], 64).eval(), noise(2, 64)
    cam, classes = GradCam(model, images[0]), np.array([2, 0])
    maps = cam(images, classes)
    kept = []
    model.network.get_submodule(layer).register_forward_hook(lambda *of: kept.append(of[2].detach().clone()))
    head = model.network.get_submodule(model.head_name)
    with torch.no_grad():
        logits = model.scores(images)
        features = relu(kept[0])  # which only DenseNet's layer leaves to be done
        expected = torch.einsum("nk,nkhw->nhw", head.weight[classes], features) / features[0, 0].numel()
    assert cam.layer == layer
    assert np.allclose(maps, expected, atol=1e-5)
    assert np.allclose(maps.sum((1, 2)), (logits - head.bias)[range(2), classes].detach(), atol=1e-5)


def test_the_maps_of_a_network_lie_where_the_patch_is_by_which_it_decides():
    network = nn.Sequential(nn.Conv2d(1, 1, 4, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.append(nn.Linear(1, 2))
    with torch.no_grad():
        for parameter, value in zip(network.parameters(), (1 / 16, -0.5, 1.0, 0.0), strict=True):
            parameter.fill_(value)
        network[-1].weight[0] = -1  # the first class is that of dark images
    model = Toy(network, ("dark", "bright"), 1)
    images = noise(4, 64) // 4
    corners = [(0, 0), (0, 44), (44, 12), (20, 20)]
    for image, (top, left) in zip(images, corners, strict=True):
        image[top : top + 16, left : left + 16] = 255
    cam = GradCam(model, images[0])
    assert cam.layer == "1"
    for picture, (top, left) in zip(as_pixels(cam(images, np.ones(4, int))), corners, strict=True):
        part = picture[2 * top : 2 * top + 32, 2 * left : 2 * left + 32]
        assert part.sum(dtype=int) > 0.8 * picture.sum(dtype=int)  # of a sixteenth of the image
        assert part.max() == 255
    assert not as_pixels(cam(images, np.zeros(4, int))).any()


def test_of_a_transformer_it_is_the_last_layer_whose_patches_reach_the_class_token():
    torch.manual_seed(0)
    network = VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=16, num_classes=3).eval()
    nn.init.normal_(network.heads.head.weight)
    images = noise(2, 32)
    cam = GradCam(Toy(network), images[0])
    assert cam.layer == "encoder.layers.encoder_layer_1.ln_1"
    assert cam(images, np.array([0, 1])).shape == (2, 4, 4)


def test_a_last_layer_of_a_single_cell_is_passed_over_also_where_channels_come_last():
    torch.manual_seed(0)
    network = SwinTransformer([4, 4], 8, [1, 1], [1, 1], [2, 2], num_classes=3).eval()
    cam = GradCam(Toy(network), noise(1, 8)[0])
    assert cam.layer.startswith("features.1.")
    assert cam(noise(1, 8), np.array([0])).shape == (1, 2, 2)
    convolutions = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.Conv2d(4, 5, 2), nn.Flatten(), nn.Linear(5, 3))
    assert GradCam(Toy(convolutions), noise(1, 8)[0]).layer == "0"


def test_a_network_without_a_map_is_refused():
    with pytest.raises(UserError, match="decides by no layer that gives a map .* such as resnet18"):
        GradCam(Toy(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 3))), noise(1, 8)[0])


def test_looking_changes_neither_the_network_nor_whether_derivatives_are_kept():
    torch.manual_seed(0)
    model, images = Classifier("densenet121", ["a", "b"], 64).eval(), noise(1, 64)
    with torch.no_grad():
        before = model.scores(images)
        GradCam(model, images[0])(images, np.array([0]))
        assert not torch.is_grad_enabled()
        assert torch.equal(model.scores(images), before)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("resolution", [None, 32])
def test_the_map_of_a_probe_adds_up_to_its_logit_on_the_image_that_it_predicts_of(run_job, records, resolution):
    folder = Path(run_job("train_classifier", records, **PROBE, resolution=resolution)["folder"])
    model, rows = loaded(folder), read_predictions(folder)
    images = [model.load(row.path) for row in rows]
    logits = np.array([row.logits for row in rows])
    classes = logits.argmax(1)
    linear = model.linear
    constant = linear.intercept - linear.coefficients @ (linear.mean / linear.std)
    cam = GradCam(model, images[0])
    assert cam.layer == "top"
    sums = cam(images, classes).sum((1, 2))
    assert np.allclose(sums, logits.max(1) - constant[classes], atol=1e-4)


def test_a_classifier_whose_features_are_probed_has_maps_too(run_job, records):
    run_job("train_classifier", records, run_key="clf", **QUICK)
    model = loaded(Path(run_job("train_classifier", records, **PROBE, extractor="clf")["folder"]))
    images = [model.load(r.path) for r in records[:2]]
    maps = GradCam(model, images[0])(images, np.array([0, 1]))
    assert maps.shape[1] > 1
    assert maps.any()


def test_a_probe_on_features_that_lie_nowhere_is_refused_before_anything_is_done(run_job, records, tmp_path):
    run_job("train_classifier", records, **PROBE, extractor="radiomics")
    values = dict(heatmaps=True, run_key="applied")
    with pytest.raises(UserError, match="no heat maps of a probe on 'radiomics'.* such as efficientnet_lite0"):
        run_job("apply_classifier", records, classifier="probe", **values)
    alone = shutil.copy(tmp_path / "trial/runs/probe/classifier.safetensors", tmp_path / "probe.safetensors")
    with pytest.raises(UserError, match="decides by no layer that gives a map"):
        run_job("apply_classifier", records, classifier=str(alone), **values)
    assert not (tmp_path / "trial/runs/applied").exists()


def test_each_image_gets_a_map_of_its_predicted_class(run_job, masked):
    trained = run_job("train_classifier", masked, **PROBE)
    result = run_job("apply_classifier", masked, classifier="probe", heatmaps=True)
    folder, model = Path(result["folder"]), loaded(Path(trained["folder"]))
    predicted, rows = read_predictions(folder), read_rows(folder / "attention.jsonl")
    cam = GradCam(model, model.load(masked[0].path))
    for record, prediction, row in zip(masked, predicted, rows, strict=True):
        assert row["path"] == record.path
        assert row["label"] == prediction.label
        expected = as_pixels(cam([model.load(record.path)], np.array([model.classes.index(row["label"])])))[0]
        with Image.open(folder / row["heatmap"]) as picture:
            assert (picture.mode, picture.size) == ("L", (SIDE, SIDE))
            assert np.abs(np.asarray(picture, int) - expected).max() <= 1  # batches round otherwise
    assert result["heatmap_layer"] == "top"
    assert result["empty_heatmaps"] == sum(row["empty"] for row in rows)
    with Image.open(folder / "heatmaps.png") as picture:
        assert picture.width > picture.height > 100
        assert "Comment" not in picture.text, "scans alone"
    (real,) = result["attention"]
    assert (real["variant"], real["n"]) == ("real", 4)  # of six that are evaluated
    assert real["covered"] == 0.25


def test_what_maps_have_on_burnt_in_marks_is_told_where_there_are_any(run_job, masked, with_marks):
    run_job("train_classifier", with_marks, **PROBE)
    result = run_job("apply_classifier", with_marks, classifier="probe", heatmaps=True)
    rows = read_rows(Path(result["folder"]) / "attention.jsonl")
    assert [row["marked"] is None for row in rows] == [True] + [False] * (len(rows) - 1)
    held_out = [row for row, record in zip(rows, with_marks, strict=True) if "val" in record.tags][1:]
    (real,) = result["attention_to_marks"]
    assert (real["variant"], real["n"]) == ("real", 5)  # of six that are evaluated
    assert real["on_marks"] == pytest.approx(np.mean([row["on_marks"] for row in held_out]))
    assert real["low"] <= real["on_marks"] <= real["high"]
    assert real["on_others"] == pytest.approx(real["on_marks"], abs=0.01)  # since all marks are at one place
    told = "\n".join(summarise("apply_classifier", result))
    assert "attention to marks\n  variant" in told
    run_job("train_classifier", masked, **dict(PROBE, run_key="unmarked"))
    plain = run_job("apply_classifier", masked, classifier="unmarked", heatmaps=True)
    assert "attention_to_marks" not in plain
    assert "on marks" in told and "on marks" not in "\n".join(summarise("apply_classifier", plain))


def test_a_single_map_that_was_deleted_is_missed_and_drawn_again(run_job, records):
    run_job("train_classifier", records, run_key="clf", **QUICK)
    values = dict(classifier="clf", heatmaps=True, run_key="applied")
    run = Run(Path(run_job("apply_classifier", records, **values)["folder"]))
    assert run.missing == []
    path = run.folder / "heatmaps/000003.png"
    before = np.asarray(Image.open(path), int)
    path.unlink()
    assert run.missing == [path]
    run_job("apply_classifier", records, **values)
    assert np.abs(np.asarray(Image.open(path), int) - before).max() <= 1  # batches round otherwise
    assert run.missing == []


def test_nothing_is_drawn_where_it_was_not_asked_for_and_what_was_deleted_is_drawn_again(run_job, records):
    run_job("train_classifier", records, run_key="clf", **QUICK)
    plain = run_job("apply_classifier", records, classifier="clf")
    assert not any((Path(plain["folder"]) / name).exists() for name in FILES)
    assert "attention" not in plain
    values = dict(classifier="clf", heatmaps=True, run_key="applied")
    folder = Path(run_job("apply_classifier", records, **values)["folder"])
    before = {path.name: path.read_bytes() for path in (folder / "heatmaps").iterdir()}
    assert len(before) == len(records)
    for name in FILES[1:]:
        (folder / name).unlink()
    for path in list((folder / "heatmaps").iterdir())[:3]:
        path.unlink()
    run_job("apply_classifier", records, **values)
    assert all((folder / name).exists() for name in FILES)
    assert {path.name: path.read_bytes() for path in (folder / "heatmaps").iterdir()} == before
