"""The network of a classifier."""

import pytest
import torch
import torchvision

from busaug_core.classify.config import WEIGHTS
from busaug_core.classify.model import Classifier, load_classifier


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
    assert torch.equal(load_classifier(tmp_path / WEIGHTS)(images), model(images))
