"""The network of a classifier."""

import numpy as np
import pytest
import torch
import torchvision
from quick import loaded
from safetensors.torch import save_file

from busaug_core.classify.config import WEIGHTS
from busaug_core.classify.model import Classifier, predict, refuse_network
from busaug_core.errors import MissingWeights, UserError


@pytest.mark.parametrize("arch", ["resnet18", "densenet121", "squeezenet1_1", "mobilenet_v3_small", "vit_b_32"])
def test_architectures_get_one_output_a_class_and_flat_features(arch):
    model = Classifier(arch, ["a", "b"], 64).eval()
    images = torch.randint(0, 256, (2, 64, 64), dtype=torch.uint8)
    assert model(images).shape == (2, 2)
    assert model.features(images).ndim == 2


@pytest.mark.parametrize("arch", ["googlenet", "inception_v3"])
def test_a_pretrained_network_is_the_same_when_it_is_loaded_again(arch, tmp_path, monkeypatch):
    put_imagenet(arch, tmp_path, monkeypatch)
    model = Classifier(arch, ["a", "b"], 96, pretrained=True).eval()
    model.save(tmp_path)
    images = torch.randint(0, 256, (2, 96, 96), dtype=torch.uint8)
    assert torch.equal(loaded(tmp_path)(images), model(images))


def put_imagenet(arch, tmp_path, monkeypatch, content=None):
    """Random weights, or bytes, as torchvision's file in a torch cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub/checkpoints" / torchvision.models.get_model_weights(arch).DEFAULT.url.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    options = dict(init_weights=False) if arch in ("googlenet", "inception_v3") else {}
    torch.manual_seed(0)
    if content is None:
        torch.save(torchvision.models.get_model(arch, weights=None, **options).state_dict(), path)
    else:
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "a git-LFS pointer"),
        (b"<html>404</html>", "an HTML page"),
        (b"", "an empty file"),
        (b"PK\x03\x04 and then nothing", "a zip archive that is cut short"),
    ],
)
def test_a_broken_file_of_imagenets_weights_is_named(tmp_path, monkeypatch, content, kind):
    put_imagenet("squeezenet1_1", tmp_path, monkeypatch, content)
    with pytest.raises(UserError, match=rf"squeezenet1_1-\w+.pth cannot be read as .*; it seems to be {kind}"):
        Classifier("squeezenet1_1", ["a", "b"], 64, pretrained=True)


def test_imagenets_weights_of_another_network_or_size_are_refused(tmp_path, monkeypatch):
    put_imagenet("squeezenet1_1", tmp_path, monkeypatch)
    path = next((tmp_path / "hub/checkpoints").iterdir())
    torch.save({"layer": torch.zeros(2)}, path)
    with pytest.raises(UserError, match="holds other layers than squeezenet1_1"):
        Classifier("squeezenet1_1", ["a", "b"], 64, pretrained=True)
    with pytest.raises(MissingWeights, match="ImageNet weights of resnet18 are not here .* Put torchvision's file"):
        Classifier("resnet18", ["a", "b"], 64, pretrained=True)


def test_what_is_no_classifier_is_told_with_what_it_is(tmp_path):
    path = tmp_path / WEIGHTS
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match="cannot be read as a classifier .* it seems to be a git-LFS pointer"):
        loaded(tmp_path)
    save_file({"unet.a.lora_A.weight": torch.zeros(2)}, path)
    with pytest.raises(UserError, match="is no classifier of train_classifier, .* it seems to be a LoRA"):
        loaded(tmp_path)
    for document in ('{"arch": "resnet18", "classes": ["a"], "resolution": 32}', "not JSON", '{"arch": "resnet18"}'):
        save_file({"x": torch.zeros(2)}, path, metadata={"busaug": document})
        with pytest.raises(UserError, match="cannot be read as a classifier"):
            loaded(tmp_path)


@pytest.mark.parametrize(
    ("arch", "resolution", "message"),
    [
        ("resnet19", 64, "no classifier 'resnet19'"),
        ("vit_b_16", 100, "vit_b_16 takes no images of 100 px .* its own is 224"),
        ("inception_v3", 64, "inception_v3 takes no images of 64 px .* its own is 299"),
        ("alexnet", 37, "alexnet takes no images of 37 px"),
    ],
)
def test_a_network_that_cannot_train_is_refused_without_making_its_weights(arch, resolution, message):
    state = torch.get_rng_state()
    with pytest.raises(UserError, match=message):
        refuse_network(arch, resolution)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("arch", ["resnet18", "regnet_x_400mf", "googlenet", "vit_b_32", "efficientnet_lite0"])
def test_a_network_that_can_train_is_not_refused(arch):
    refuse_network(arch, 96)


def test_outputs_that_are_not_finite_are_no_prediction():
    model = Classifier("squeezenet1_1", ["a", "b"], 32).eval()
    next(model.parameters()).data.fill_(float("nan"))
    with pytest.raises(UserError, match="outputs are not finite, so it was not trained well"):
        predict(model, np.zeros((1, 32, 32), np.uint8), 1, torch.device("cpu"))
