"""Extractors by name."""

import pytest
import torch

from busaug_core.errors import UserError
from busaug_core.features.extractors import make_extractor

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "dino",
            "no extractor 'dino'; there are efficientnet_lite0, inception, .*clip, .*runs of this dataset: none",
        ),
        ("torchvision:resnet99", "torchvision has no classifier 'resnet99'"),
        ("inception:/nowhere.pth", "no file /nowhere.pth"),
    ],
)
def test_an_unknown_extractor_is_refused_with_what_there_is(name, message, run):
    with pytest.raises(UserError, match=message):
        make_extractor(name, run, CPU)


def test_only_inception_has_a_legacy_preprocessing(run):
    with pytest.raises(UserError, match="'dinov2' has none"):
        make_extractor("dinov2", run, CPU, "legacy")
    with pytest.raises(UserError, match="no preprocessing 'clean'; there are canonical and legacy"):
        make_extractor("inception", run, CPU, "clean")
