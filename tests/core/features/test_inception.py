"""Inception: pytorch-fid's own features and pixels, and where its weights come from."""

from urllib.error import URLError

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from torchvision.transforms.functional import to_tensor

from busaug_core.errors import MissingWeights, UserError
from busaug_core.features.extractors import make_extractor
from busaug_core.features.inception import INCEPTION_FILE
from busaug_core.images import load_gray
from busaug_core.jobs.runs import run_of
from busaug_core.measure.config import FEATURES
from busaug_core.registry import job

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "width", "metric"),
    [
        ("inception", 2048, "FD (Inception, other weights)"),
        ("inception-64", 64, "FD (Inception, other weights) (64 features)"),
        ("inception-192", 192, "FD (Inception, other weights) (192 features)"),
        ("inception-768", 768, "FD (Inception, other weights) (768 features)"),
    ],
)
def test_legacy_features_equal_pytorch_fids_from_the_file_on(
    name, width, metric, run, inception_home, pictures, monkeypatch
):
    from pytorch_fid.fid_score import get_activations
    from pytorch_fid.inception import InceptionV3

    monkeypatch.setenv("TORCH_HOME", str(inception_home))
    network = InceptionV3([InceptionV3.BLOCK_INDEX_BY_DIM[width]])
    theirs = get_activations(pictures, network, batch_size=1, dims=width, num_workers=0)
    extractor = make_extractor(name, run, CPU, "legacy")
    ours = extractor([extractor.load(path) for path in pictures])
    assert ours.shape == (4, width) and ours.dtype == np.float32
    assert np.allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())
    assert (extractor.name, extractor.metric) == (f"{name.replace('-', '_')}_legacy", metric)


def test_legacy_pixels_equal_pytorch_fids_and_the_canonical_ones_are_gray_and_antialiased(
    run, inception_home, pictures, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(inception_home))
    legacy = make_extractor("inception-64", run, CPU, "legacy")
    canonical = make_extractor(f"inception-64:{inception_home}/hub/checkpoints/{INCEPTION_FILE}", run, CPU)
    for path in pictures:
        batch = to_tensor(Image.open(path).convert("RGB"))[None]
        theirs = torch.nn.functional.interpolate(batch, size=(299, 299), mode="bilinear", align_corners=False)
        assert torch.equal(legacy.prepare([legacy.load(path)]), theirs)
        gray = torch.from_numpy(load_gray(path, 299).copy()).float() / 255
        assert torch.equal(canonical.prepare([canonical.load(path)]), gray.expand(1, 3, -1, -1))
    assert canonical.preprocessing == "gray, upright, whole image to a square, Pillow bicubic with antialiasing, 299 px"
    assert legacy.preprocessing.startswith("pytorch-fid's") and legacy.weights == canonical.weights


def test_embeddings_by_pytorch_fids_preprocessing_are_kept_apart(records, inception_home, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(inception_home))
    for preprocessing, name in (("canonical", "inception_64"), ("legacy", "inception_64_legacy")):
        values = dict(extractor="inception-64", preprocessing=preprocessing, run_key=name)
        result = list(job("compute_embeddings").run(values, records[:2], "trial", tmp_path))[-1].result
        assert result["field"] == f"features_{name}"
    one, other = (np.load(run_of("trial", key, tmp_path).folder / FEATURES) for key in ("inception_64", name))
    assert one.shape == other.shape == (2, 64) and np.abs(one - other).max() > 1e-3


def test_inception_weights_are_downloaded_once_where_that_is_allowed(run, tmp_path, monkeypatch):
    from pytorch_fid import inception

    tried = []

    def fail(url, **_):
        tried.append(url)
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(inception, "load_state_dict_from_url", fail)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(MissingWeights, match=rf"HF_HUB_OFFLINE is set.*Put pytorch-fid's {INCEPTION_FILE} into"):
        make_extractor("inception", run, CPU)
    assert tried == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(MissingWeights, match="no network"):
        make_extractor("inception", run, CPU)
    assert tried == [inception.FID_WEIGHTS_URL]


def test_weights_of_another_network_or_no_weights_are_no_inception(run, tmp_path):
    torch.save({"layer": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="other layers than pytorch-fid's Inception"):
        make_extractor(f"inception:{tmp_path}/other.pth", run, CPU)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"Not found", "a text"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a git-LFS pointer"),
        (b"<!doctype html><html></html>", "an HTML page"),
        (b"", "an empty file"),
    ],
)
def test_a_file_that_holds_no_weights_is_named_with_what_it_is(run, tmp_path, name, content, kind):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} cannot be read as weights of .*Inception.* it seems to be {kind}"):
        make_extractor(f"inception:{tmp_path}/{name}", run, CPU)


def test_a_pickle_with_more_than_tensors_is_not_run_and_torchs_advice_to_do_so_is_not_passed_on(run, tmp_path):
    torch.save({"code": print}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="cannot be read as weights") as told:
        make_extractor(f"inception:{tmp_path}/weights.pth", run, CPU)
    assert "weights_only" not in str(told.value)
    torch.save([torch.zeros(3)], tmp_path / "weights.pth")
    with pytest.raises(UserError, match="holds something else than tensors by name"):
        make_extractor(f"inception:{tmp_path}/weights.pth", run, CPU)
