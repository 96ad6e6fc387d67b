"""The decoder alone: what moves and what does not, what it learns, and which images come out of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from pictures import same_picture
from safetensors.torch import load_file

from busaug_core.base import on_cpu
from busaug_core.base.loading import load_pipeline
from busaug_core.errors import UserError
from busaug_core.images import load_gray
from busaug_core.jobs.device import has_bfloat16_units
from busaug_core.jobs.events import Progress
from busaug_core.jobs.run import Run
from busaug_core.registry import job
from busaug_core.train.decoder import fidelity

SMALL = dict(steps=3, batch_size=2, resolution=64)
FILE = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def tuned(run_job, records, base):
    """The result of a training of the decoder at a rate that moves it far."""
    return run_job("finetune_decoder", records, base_model=base, run_key="dec", **SMALL, learning_rate=1e-2)


def pixels(tmp_path, key):
    """The images of a run by variant."""
    return {r.variant: load_gray(r.path, 64) for r in Run(tmp_path / f"trial/runs/{key}").products}


def test_the_decoder_moves_the_encoder_does_not_and_diffusers_loads_both(tuned, base):
    vae = AutoencoderKL.from_pretrained(tuned["weights"])
    before = load_pipeline(base, torch.device("cpu"), torch.float32).vae.state_dict()
    moved = {name for name, tensor in vae.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {name for name in before if name.startswith(("decoder.", "post_quant_conv."))}
    assert tuned["trained_parameters"] == sum(before[name].numel() for name in moved)
    assert tuned["read_back"]["change"] > 1 > 0.01 > tuned["read_back"]["difference"]


def test_its_norms_are_the_fast_ones_where_it_learns_in_bfloat16(run_job, records, base, monkeypatch):
    fast, backward = [], on_cpu.ChannelsLastGroupNorm.backward
    monkeypatch.setattr(on_cpu.ChannelsLastGroupNorm, "backward", lambda *a: fast.append(1) or backward(*a))
    run_job("finetune_decoder", records, base_model=base, **{**SMALL, "steps": 1})
    assert bool(fast) == has_bfloat16_units()


def test_it_learns_to_give_back_what_went_in_whatever_its_classes_are_called(run_job, records):
    called = [replace(r, label={"benign": "BI-RADS 3"}.get(r.label, r.label)) for r in records]
    result = run_job("finetune_decoder", called, steps=40, batch_size=4, resolution=64, learning_rate=2e-3)
    before, after = (result["reconstruction"][side] for side in ("before", "after"))
    assert after["psnr"] > before["psnr"] and abs(after["fine_power"] - 1) < 0.2
    assert result["reconstruction"]["of"] == "6 held-out images"
    card = (Path(result["weights"]).parent / "README.md").read_text()
    assert f"- 6 held-out images out of the autoencoder: PSNR {before['psnr']:.1f} dB before" in card
    assert 0 <= result["membership"]["low"] <= result["membership"]["value"] <= result["membership"]["high"] <= 1


def test_all_variants_but_the_bases_come_out_of_it(tuned, run_job, records, base, tmp_path):
    small = dict(base_model=base, resolution=64, batch_size=2)
    run_job("train_lora", records, rank=2, steps=1, membership=False, run_key="lora", **small)
    made = dict(lora="lora", variants=["base", "sd", "sd_img2img"], counts={"benign": 1}, steps=4, **small)
    run_job("generate", records, run_key="plain", **made)
    run_job("generate", records, run_key="tuned", vae="dec", **made)
    plain, out_of_it = pixels(tmp_path, "plain"), pixels(tmp_path, "tuned")
    assert [same_picture(plain[slug], out_of_it[slug]) for slug in made["variants"]] == [True, False, False]
    parts = {r.variant: r.synthesis.components for r in Run(tmp_path / "trial/runs/tuned").products}
    assert parts["sd"] == {"lora": "lora", "vae": "dec"} and parts["base"] == {}
    lineage = Run(tmp_path / "trial/runs/tuned").environment["lineage"]
    assert Path(lineage["vae"]) == tmp_path / "trial/runs/dec"


def test_it_fits_any_weights_of_its_autoencoder_and_says_nothing_of_others(tuned, records, base, tmp_path):
    values = dict(base_model=base, resolution=64, batch_size=2, run_key="lora", rank=2, steps=1, membership=False)
    list(job("train_lora").run(values, records, "trial", tmp_path))
    made = dict(lora="lora", vae="dec", variants=["sd"], counts={"benign": 1}, steps=2, run_key="made")
    events = list(job("generate").run(dict(made, base_model=base, resolution=64), records, "trial", tmp_path))
    assert not [e for e in events if "trained on other weights" in getattr(e, "message", "")]


def test_an_autoencoder_of_another_shape_is_refused(tuned, run_job, records, base):
    folder = Path(tuned["weights"])
    config = json.loads((folder / "config.json").read_text())
    AutoencoderKL.from_config({**config, "latent_channels": 8}).save_pretrained(folder)
    small = dict(base_model=base, resolution=64, batch_size=2)
    run_job("train_lora", records, rank=2, steps=1, membership=False, run_key="lora", **small)
    with pytest.raises(UserError, match="latent_channels"):
        run_job("generate", records, vae="dec", lora="lora", variants=["sd"], counts={"benign": 1}, **small)


def test_stopped_and_taken_up_again_it_ends_in_the_same_weights(run_job, records, base, tmp_path):
    values = dict(base_model=base, **{**SMALL, "steps": 6}, checkpoint_seconds=1e-6, membership=False)
    whole = run_job("finetune_decoder", records, run_key="whole", **values)
    events = job("finetune_decoder").run({**values, "run_key": "broken"}, records, "trial", tmp_path)
    for event in events:
        if isinstance(event, Progress) and event.total == 6 and event.done == 4:
            events.close()
    broken = run_job("finetune_decoder", records, run_key="broken", **values)
    one, other = (load_file(Path(result["weights"]) / FILE) for result in (whole, broken))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_fidelity_of_images_that_are_given_back_blurred_or_as_they_were():
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64)).astype(np.uint8)
    same = fidelity(images, images)
    blurred = fidelity(images, np.full_like(images, 128) // 2 + images // 4)
    assert same["psnr"] > 70 and same["fine_power"] == pytest.approx(1)
    assert blurred["psnr"] < 15 and blurred["fine_power"] == pytest.approx(1 / 16, rel=0.02)
