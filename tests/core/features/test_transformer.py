"""DINOv2 and CLIP."""

import shutil

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from torchvision.transforms.functional import normalize

from busaug_core.errors import MissingWeights, UserError
from busaug_core.features.extractors import make_extractor
from busaug_core.images import load_gray

CPU = torch.device("cpu")


def test_dinov2_is_the_class_token_and_clip_the_projected_image(run, transformers_folder, pictures):
    from transformers import CLIPVisionModelWithProjection, Dinov2Model

    dinov2 = make_extractor(f"dinov2:{transformers_folder}/dinov2-tiny", run, CPU)
    clip = make_extractor(f"clip:{transformers_folder}/clip", run, CPU)
    both = make_extractor(f"clip:{transformers_folder}/clip-both", run, CPU)
    assert [e.name for e in (dinov2, clip, both)] == ["dinov2_tiny", "clip", "clip_both"]
    assert [e.metric for e in (dinov2, clip, both)] == ["FD (dinov2_tiny)", "FD (clip)", "FD (clip_both)"]
    assert [e.resolution for e in (dinov2, clip, both)] == [224, 112, 112]
    with torch.no_grad():
        network = Dinov2Model.from_pretrained(transformers_folder / "dinov2-tiny").eval()
        gray = np.stack([load_gray(path, 224) for path in pictures]) / np.float32(255)
        colour = torch.from_numpy(gray)[:, None].expand(-1, 3, -1, -1)
        expected = network(normalize(colour, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))).pooler_output.numpy()
        assert np.allclose(dinov2([dinov2.load(path) for path in pictures]), expected, atol=1e-5)
        for extractor, folder in ((clip, "clip"), (both, "clip-both")):
            network = CLIPVisionModelWithProjection.from_pretrained(transformers_folder / folder).eval()
            gray = np.stack([load_gray(path, 112) for path in pictures]) / np.float32(255)
            colour = torch.from_numpy(gray)[:, None].expand(-1, 3, -1, -1)
            own = normalize(colour, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
            expected = network(own).image_embeds.numpy()
            assert np.allclose(extractor([extractor.load(path) for path in pictures]), expected, atol=1e-5)


def test_a_folder_of_another_network_or_of_pickles_is_refused(run, transformers_folder, tmp_path):
    with pytest.raises(UserError, match="holds no Dinov2Model"):
        make_extractor(f"dinov2:{transformers_folder}/clip", run, CPU)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(MissingWeights, match="holds no model.safetensors; pickles are not read"):
        make_extractor(f"clip:{tmp_path}", run, CPU)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_broken_file_of_a_folder_is_named(run, transformers_folder, tmp_path, name):
    folder = shutil.copytree(transformers_folder / "clip", tmp_path / "clip")
    (folder / name).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match=f"{name} cannot be read as .* it seems to be a git-LFS pointer"):
        make_extractor(f"clip:{folder}", run, CPU)


@pytest.mark.parametrize("name", ["dinov2", "clip:openai/clip-vit-base-patch32"])
def test_hub_weights_that_are_not_here_are_missing_and_it_is_said_what_to_do(run, name, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingWeights, match=f"name its folder as in '{name.partition(':')[0]}:/path', or unset HF"):
        make_extractor(name, run, CPU)
