"""Stable Diffusion 1.5's architecture at full size, with random weights, through every diffusion job."""

import resource
import time

import pytest
import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from busaug_core.pretrain.text import build_tokenizer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stable_diffusion(tmp_path_factory):
    """A diffusers folder with the published configuration of v1-5; its tokenizer is a small one of the same class."""
    folder = tmp_path_factory.mktemp("base") / "stable-diffusion"
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    with torch.device("cpu"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
        vae = AutoencoderKL(
            down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4,
            block_out_channels=[128, 256, 512, 512],
            layers_per_block=2,
            sample_size=512,
        )
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=49408,
                hidden_size=768,
                intermediate_size=3072,
                num_hidden_layers=12,
                num_attention_heads=12,
                projection_dim=768,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    assert sum(p.numel() for p in unet.parameters()) == 859_520_964
    assert sum(p.numel() for p in vae.parameters()) == 83_653_863
    assert sum(p.numel() for p in text_encoder.parameters()) == 123_060_480
    scheduler = PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, skip_prk_steps=True
    )
    pipe = StableDiffusionPipeline(
        vae, text_encoder, tokenizer, unet, scheduler, None, None, requires_safety_checker=False
    )
    pipe.to(dtype=torch.bfloat16).save_pretrained(folder)
    return str(folder)


def test_one_lora_step_one_token_step_and_a_two_step_hybrid_generation(run_job, records, stable_diffusion, capsys):
    few = [r for r in records if r.path.endswith(("(3).png", "(4).png"))]
    training = dict(base_model=stable_diffusion, steps=1, batch_size=1)
    report = []

    def timed(name, **values):
        start = time.perf_counter()
        result = run_job(name, few, **values)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        report.append(f"{name}: {time.perf_counter() - start:.0f} s, peak {peak:.1f} GB")
        return result

    lora = timed("train_lora", run_key="lora", **training)
    assert lora["trained_parameters"] == 797_184, "rank 4 on all attention projections"
    token = timed("train_textual_inversion", run_key="token", lora="lora", images_per_class=1, **training)
    assert token["norm"] == pytest.approx(token["vocabulary_norm"], rel=1e-3)
    made = timed(
        "generate",
        base_model=stable_diffusion,
        lora="lora",
        token="token",
        variants=["sd", "sd_ti_img2img"],
        counts={"benign": 1},
        steps=2,
        strength=0.5,
        run_key="images",
    )
    assert made["images"] == 2
    with capsys.disabled():
        print("\n" + "\n".join(report))
