"""Classifiers of torchvision."""

import numpy as np
import pytest
import torch
import torchvision
from torchvision.transforms.functional import normalize

from busaug_core.errors import MissingWeights
from busaug_core.features.extractors import make_extractor
from busaug_core.features.imagenet import headless

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("arch", "width"),
    [
        ("resnet18", 512),
        ("densenet121", 1024),
        ("efficientnet_b0", 1280),
        ("convnext_tiny", 768),
        ("squeezenet1_1", 512),
        ("mobilenet_v3_small", 1024),
        ("swin_t", 768),
        ("vit_b_32", 768),
    ],
)
def test_the_penultimate_layer_of_any_torchvision_classifier_is_found(arch, width):
    with torch.device("meta"):
        network = headless(torchvision.models.get_model(arch, weights=None).eval())
        assert network(torch.zeros(2, 3, 224, 224)).shape == (2, width)


def test_a_torchvision_classifier_takes_its_weights_from_the_torch_cache(run, pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MissingWeights, match="Put torchvision's file squeezenet1_1-b8a52dc0.pth into"):
        make_extractor("torchvision:squeezenet1_1", run, CPU)
    torch.manual_seed(0)
    network = torchvision.models.squeezenet1_1(weights=None).eval()
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    torch.save(network.state_dict(), tmp_path / "hub/checkpoints/squeezenet1_1-b8a52dc0.pth")
    extractor = make_extractor("torchvision:squeezenet1_1", run, CPU)
    assert (extractor.name, extractor.metric, extractor.resolution) == ("squeezenet1_1", "FD (squeezenet1_1)", 224)
    images = [extractor.load(path) for path in pictures]
    colour = torch.from_numpy(np.stack(images))[:, None].expand(-1, 3, -1, -1).float() / 255
    with torch.no_grad():
        maps = network.features(normalize(colour, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert np.allclose(extractor(images), maps.mean((2, 3)).numpy(), atol=1e-5)
