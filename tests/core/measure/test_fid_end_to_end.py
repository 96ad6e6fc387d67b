"""FID from image files on, beside pytorch-fid and torch-fidelity with the same (random) weights."""

import numpy as np
import pytest
import torch
import torch_fidelity
from PIL import Image
from pytorch_fid.fid_score import calculate_fid_given_paths
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from busaug_core.features.extractors import make_extractor
from busaug_core.features.inception import INCEPTION_FILE
from busaug_core.jobs.run import Run
from busaug_core.metrics.fid import frechet_distance
from busaug_core.simulate import simulate

N = 50


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two folders of simulated scans, the second brighter."""
    made = []
    for side, gain in (("real", 1.0), ("synthetic", 1.3)):
        folder = tmp_path_factory.mktemp(side)
        for i in range(N):
            gray = simulate(("benign", "malignant", "normal")[i % 3], 1000 * len(made) + i, 128).image
            Image.fromarray(np.clip(gray * gain, 0, 255).astype(np.uint8)).convert("RGB").save(folder / f"{i}.png")
        made.append(folder)
    return made


def prepared_as_by_torch_fidelity(images):
    """Its resize and its range: the network's own 2x − 1 turns x/256 into (x − 128)/128."""
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    return interpolate_bilinear_2d_like_tensorflow1x(batch, size=(299, 299), align_corners=False) / 256


@pytest.mark.slow
@pytest.mark.parametrize("width", [2048, 768])
def test_fid_equals_pytorch_fids_and_torch_fidelitys_end_to_end(folders, inception_home, tmp_path, monkeypatch, width):
    real, synthetic = map(str, folders)
    monkeypatch.setenv("TORCH_HOME", str(inception_home))
    name = "inception" if width == 2048 else f"inception-{width}"
    extractor = make_extractor(name, Run(tmp_path), torch.device("cpu"), "legacy")

    def fid(batch_size, order=1):
        sides = []
        for folder in folders:
            paths = sorted(folder.iterdir())[::order]
            batches = [paths[i : i + batch_size] for i in range(0, N, batch_size)]
            sides.append(np.concatenate([extractor([extractor.load(str(p)) for p in batch]) for batch in batches]))
        return frechet_distance(*sides)

    ours = fid(16)
    assert ours == pytest.approx(
        calculate_fid_given_paths([real, synthetic], 16, "cpu", width, num_workers=0), rel=1e-4
    )
    assert fid(7, order=-1) == pytest.approx(ours, rel=1e-4)
    monkeypatch.setattr(extractor, "prepare", prepared_as_by_torch_fidelity)
    found = torch_fidelity.calculate_metrics(
        input1=real,
        input2=synthetic,
        fid=True,
        cuda=False,
        verbose=False,
        cache=False,
        feature_layer_fid=str(width),
        feature_extractor_weights_path=str(inception_home / "hub/checkpoints" / INCEPTION_FILE),
    )
    assert fid(16) == pytest.approx(found["frechet_inception_distance"], rel=1e-4)
