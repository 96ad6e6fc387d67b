"""Bases of another kind are told when they are loaded, and what a base may predict is what is trained."""

from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from foreign_base import linked, put

from busaug_core.base.loading import load_pipeline
from busaug_core.errors import UserError
from busaug_core.train.batch import Batches
from busaug_core.train.config import Lora

CPU = torch.device("cpu")
SCHEDULER = "scheduler/scheduler_config.json"


def load(place):
    return load_pipeline(str(place), CPU, torch.float32)


@pytest.fixture
def folder(base, tmp_path):
    return Path(linked(base, tmp_path / "base"))


def put_unet(folder, **changes):
    for path in (folder / "unet").iterdir():
        path.unlink()
    plain = dict(cross_attention_dim=128, block_out_channels=(16, 16), norm_num_groups=8, attention_head_dim=4)
    blocks = dict(down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"])
    blocks |= dict(up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"], layers_per_block=1)
    UNet2DConditionModel(**{**plain, **blocks, **changes}).save_pretrained(folder / "unet")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(in_channels=9), "a UNet of 9 input channels, not its autoencoder's 4, as bases for inpainting do"),
        (dict(in_channels=8), "8 input channels, .* as bases that edit or enlarge"),
        (dict(in_channels=3), "3 input channels, not its autoencoder's 4"),
        (dict(out_channels=8), "8 output channels, not its autoencoder's 4"),
        (dict(cross_attention_dim=64), "reads texts 64 wide, and a text encoder that is 128 wide"),
        (dict(class_embed_type="timestep"), "wants further inputs .class_embed_type: timestep"),
        (
            dict(addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=64),
            "wants further inputs .addition_embed_type: text_time",
        ),
    ],
)
def test_a_unet_that_takes_something_else_is_refused(folder, changes, message):
    put_unet(folder, **changes)
    with pytest.raises(UserError, match=message):
        load(folder)


@pytest.mark.parametrize(
    "pipeline",
    [
        "StableDiffusionXLPipeline",
        "StableDiffusionInpaintPipeline",
        "StableDiffusionControlNetPipeline",
        "FluxPipeline",
        "StableDiffusion3Pipeline",
        None,
    ],
)
def test_another_pipeline_is_refused_by_name(folder, pipeline):
    put(folder / "model_index.json", {"_class_name": pipeline})
    with pytest.raises(UserError, match=rf"is a base of another kind \({pipeline}\)"):
        load(folder)


@pytest.mark.parametrize(
    ("part", "network"),
    [
        ("vae", ["diffusers", "AutoencoderTiny"]),
        ("text_encoder", ["transformers", "T5EncoderModel"]),
        ("unet", ["diffusers", "FluxTransformer2DModel"]),
        ("scheduler", [None, None]),
    ],
)
def test_a_part_of_another_class_is_refused_by_name(folder, part, network):
    put(folder / "model_index.json", {part: network})
    with pytest.raises(UserError, match=f"model_index.json names {network[-1]} as its {part}"):
        load(folder)


@pytest.mark.parametrize(
    ("scheduler", "prediction", "message"),
    [
        ("DDPMScheduler", "flow_prediction", "predicts 'flow_prediction'; what can be trained predicts epsilon"),
        ("FlowMatchEulerDiscreteScheduler", "epsilon", "the scheduler FlowMatchEulerDiscreteScheduler, whose noise"),
        ("EDMEulerScheduler", "epsilon", "the scheduler EDMEulerScheduler, whose noise"),
        ("PNDMScheduler", "sample", "PNDMScheduler, which cannot make images of what it predicts .'sample'"),
        ("NoScheduler", "epsilon", "tokenizer or the scheduler of .* cannot be loaded"),
    ],
)
def test_a_scheduler_that_cannot_serve_is_refused(folder, scheduler, prediction, message):
    put(folder / "model_index.json", {"scheduler": ["diffusers", scheduler]})
    put(folder / SCHEDULER, {"prediction_type": prediction})
    with pytest.raises(UserError, match=message):
        load(folder)


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler", "LCMScheduler"])
def test_the_usual_schedulers_are_taken(folder, scheduler):
    put(folder / "model_index.json", {"scheduler": ["diffusers", scheduler]})
    assert type(load(folder).scheduler).__name__ == scheduler


def test_a_tokenizer_without_its_vocabulary_is_refused(folder):
    (folder / "tokenizer/tokenizer.json").unlink()
    with pytest.raises(UserError, match="a tokenizer without a vocabulary"):
        load(folder)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_target_is_what_the_scheduler_takes_for_the_clean_latents(folder, prediction):
    """Given the target as its prediction, a scheduler finds the latents that the noise was added to."""
    put(folder / SCHEDULER, {"prediction_type": prediction, "rescale_betas_zero_snr": False})
    pipe = load(folder)
    moments = torch.randn(3, 2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    batch = Batches(pipe, moments, [["ultrasound"]] * 3, Lora(batch_size=3).resolve()).draw(0)
    scheduler = DDPMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    for i, step in enumerate(batch.timesteps):
        found = scheduler.step(batch.target[i : i + 1], int(step), batch.noisy[i : i + 1]).pred_original_sample
        assert torch.allclose(found[0], batch.latents[i], atol=1e-2, rtol=1e-2)
