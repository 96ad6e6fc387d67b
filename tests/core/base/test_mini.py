"""The base model that is shipped: small, safe to load, and doing what its prompts say."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from scipy.ndimage import gaussian_filter

from busaug_core.base.defaults import MINI, MINI_FOLDER
from busaug_core.base.loading import load_pipeline
from busaug_core.images import load_gray
from busaug_core.jobs.events import Made
from busaug_core.registry import job

EACH = 8


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Gray images of each class, float N×128×128, and one refined through either handoff."""
    home = tmp_path_factory.mktemp("home")
    counts = {"benign": EACH, "malignant": EACH, "normal": EACH}
    found: dict[str, list[np.ndarray]] = {}
    for event in job("generate").run(
        dict(variants=["base"], counts=counts, precision="fp32", steps=10), [], "trial", home
    ):
        if isinstance(event, Made):
            found.setdefault(event.record.label, []).append(load_gray(event.record.path, 128))
    return {label: np.stack(members).astype(float) for label, members in found.items()}


def test_all_of_it_is_safetensors_in_half_precision_and_fits_20_mb():
    files = [p for p in MINI_FOLDER.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 20e6
    assert {p.suffix for p in files} <= {".json", ".safetensors", ".md"}
    for path in MINI_FOLDER.rglob("*.safetensors"):
        with safe_open(path, "pt") as file:
            names = file.keys()
            assert {file.get_tensor(name).dtype for name in names} <= {torch.float16, torch.int64}


def test_it_is_a_stable_diffusion_pipeline_at_128_pixels():
    index = json.loads((MINI_FOLDER / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionPipeline"
    pipe = load_pipeline(MINI, torch.device("cpu"), torch.float32)
    assert pipe.unet.config.sample_size * pipe.vae_scale_factor == 128


def test_the_card_says_what_it_was_trained_on_and_what_it_cannot_do():
    card = (MINI_FOLDER / "README.md").read_text()
    for words in ("None of its weights was trained on an image of a patient", "Not for clinical use", "cannot do"):
        assert words in card


def test_images_look_like_scans_and_not_like_noise(images):
    for label, members in images.items():
        assert 40 < members.mean() < 130, label
        assert members[:, :40].mean() > 1.3 * members[:, -40:].mean(), "tissue darkens with depth"
        neighbours = np.corrcoef(members[:, :, 1:].ravel(), members[:, :, :-1].ravel())[0, 1]
        assert neighbours > 0.8, label


def test_the_prompt_decides_the_class(images):
    """The darkest spot beside its depth's median: a lesion is dark, a malignant one with its shadow darker."""
    darkest = {}
    for label, members in images.items():
        smooth = gaussian_filter(members, (0, 3, 3))[:, 12:72]
        darkest[label] = (smooth / np.median(smooth, 2, keepdims=True))[:, :, 10:118].min((1, 2)).mean()
    assert darkest["malignant"] < 0.7 * darkest["benign"]
    assert darkest["benign"] < 0.8 * darkest["normal"]
