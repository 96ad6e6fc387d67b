"""A run to measure in, pictures, and small networks."""

import numpy as np
import pytest
import torch
from PIL import Image

from busaug_core.jobs.run import Run


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "trial/runs/measure"
    folder.mkdir(parents=True)
    return Run(folder)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Files of several sizes, gray and coloured."""
    folder, rng, paths = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0), []
    for i, (height, width) in enumerate([(90, 120), (310, 400), (310, 400), (299, 299)]):
        coarse = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
        picture = coarse.resize((width, height), Image.Resampling.BICUBIC)
        paths.append(str(folder / f"{i}.png"))
        (picture.convert("L") if i % 2 else picture).save(paths[-1])
    return paths


@pytest.fixture(scope="session")
def transformers_folder(tmp_path_factory):
    """Small networks of the real classes with random weights: `dinov2`, `clip` (vision alone), `clip-both`."""
    import transformers as t

    folder = tmp_path_factory.mktemp("transformers")
    torch.manual_seed(0)
    small = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, patch_size=28)
    vision = dict(**small, intermediate_size=64, projection_dim=24, image_size=112)
    text = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=50)
    t.Dinov2Model(t.Dinov2Config(**small, image_size=518)).save_pretrained(folder / "dinov2-tiny")
    t.CLIPVisionModelWithProjection(t.CLIPVisionConfig(**vision)).save_pretrained(folder / "clip")
    both = t.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    t.CLIPModel(both).save_pretrained(folder / "clip-both")
    return folder
