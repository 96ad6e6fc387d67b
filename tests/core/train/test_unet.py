"""The whole UNet: what is trained, what is kept, and where it may stand."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from pictures import same_picture
from safetensors.torch import load_file

from busaug_core.base.components import UNET
from busaug_core.base.defaults import DEFAULTS, defaults_of
from busaug_core.base.loading import load_pipeline
from busaug_core.errors import UserError
from busaug_core.images import load_gray
from busaug_core.jobs.run import Run
from busaug_core.train import unet as module

CPU = torch.device("cpu")
SMALL = dict(steps=3, batch_size=2, resolution=64, precision="fp32", membership=False)
MADE = dict(counts={"benign": 2}, steps=3, batch_size=2, resolution=64, precision="fp32")
FILE = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def tuned(run_job, records, base):
    """The result of a training of the whole UNet at a rate that moves it far."""
    return run_job("finetune_unet", records, base_model=base, run_key="ft", **SMALL, learning_rate=1e-2)


def pixels(tmp_path, key):
    """The images of a run by variant and index."""
    made = Run(tmp_path / f"trial/runs/{key}").products
    return {(r.variant, r.synthesis.index): load_gray(r.path, 64) for r in made}


def test_every_weight_moves_and_diffusers_loads_them(tuned, base):
    unet = UNet2DConditionModel.from_pretrained(tuned["weights"])
    before = load_pipeline(base, CPU, torch.float32).unet.state_dict()
    assert unet.config.cross_attention_dim == 128
    assert unet.state_dict().keys() == before.keys()
    same = [name for name, tensor in unet.state_dict().items() if torch.equal(tensor, before[name])]
    assert not same


def test_what_is_kept_is_the_moving_average(run_job, records, base, monkeypatch):
    kept, plain = [], module.UnetMethod.after_step

    def after_step(self):
        plain(self)
        kept.append({name: p.detach().clone() for name, p in self.parameters().items()})

    monkeypatch.setattr(module.UnetMethod, "after_step", after_step)
    result = run_job("finetune_unet", records, base_model=base, ema_decay=0.15, **SMALL)
    name = "conv_in.weight"
    average = load_pipeline(base, CPU, torch.float32).unet.state_dict()[name]
    for decay, weights in zip((2 / 11, 3 / 12, 4 / 13), kept, strict=True):
        decay = min(0.15, decay)
        average = decay * average + (1 - decay) * weights[name]
    assert torch.allclose(load_file(Path(result["weights"]) / FILE)[name], average, atol=1e-6)


def test_a_base_model_may_be_a_run_and_gives_the_images_of_that_unet(tuned, run_job, records, base, tmp_path):
    run_job(
        "generate",
        records,
        base_model=base,
        unet="ft",
        variants=["ft", "base"],
        run_key="as_unet",
        domain_guidance=1,
        **MADE,
    )
    run_job("generate", records, base_model="ft", variants=["base"], run_key="as_base", **MADE)
    one, other = pixels(tmp_path, "as_unet"), pixels(tmp_path, "as_base")
    for i in range(2):
        assert same_picture(one["ft", i], other["base", i])
        assert not same_picture(one["ft", i], one["base", i])
    run = Run(tmp_path / "trial/runs/as_base")
    assert Path(run.environment["lineage"]["base_model"]) == tmp_path / "trial/runs/ft"
    assert {r.synthesis.components["unet"] for r in Run(tmp_path / "trial/runs/as_unet").products if r.variant == "ft"}
    hashes = run.environment["base_weights"]
    assert hashes[f"unet/{FILE}"] != Run(tmp_path / "trial/runs/as_unet").environment["base_weights"][f"unet/{FILE}"]


def test_it_may_be_tuned_again_and_carry_a_lora(tuned, run_job, records, tmp_path):
    again = run_job("finetune_unet", records, base_model="ft", run_key="again", **SMALL)
    assert again["weights"] != tuned["weights"]
    run_job("train_lora", records, base_model="again", rank=2, run_key="lora", **SMALL)
    run_job("generate", records, base_model="again", lora="lora", variants=["sd"], run_key="made", **MADE)
    assert {r.synthesis.base_model for r in Run(tmp_path / "trial/runs/made").products} == {"again"}


def test_the_variants_of_a_lora_and_a_tuned_unet_do_not_touch_one_another(tuned, run_job, records, base, tmp_path):
    run_job("train_lora", records, base_model=base, rank=2, run_key="lora", **SMALL, learning_rate=0.1)
    values = dict(base_model=base, lora="lora", unet="ft", **{**MADE, "batch_size": 1})
    run_job("generate", records, variants=["sd", "ft", "base"], run_key="all", **values)
    run_job("generate", records, variants=["ft", "sd"], run_key="turned", **values)
    every, turned = pixels(tmp_path, "all"), pixels(tmp_path, "turned")
    assert all(same_picture(every[slug, i], turned[slug, i]) for slug in ("sd", "ft") for i in range(2))
    assert not same_picture(every["sd", 0], every["ft", 0])


def test_the_defaults_are_those_of_the_base_it_grew_from(tuned, tmp_path):
    own = DEFAULTS["mini"]
    even = replace(own, tuned_sampling=replace(own.tuned_sampling, spacing=1))
    assert defaults_of("ft", tmp_path / "trial/runs") == even, "its base's scheduler may have no steps but its own"
    assert defaults_of(str(tmp_path / "trial/runs/ft")) == even


def _other_width(folder):
    config = json.loads((folder / "config.json").read_text())
    UNet2DConditionModel.from_config({**config, "cross_attention_dim": 64}).save_pretrained(folder)


def _other_heads(folder):
    config = json.loads((folder / "config.json").read_text())
    config["attention_head_dim"] = 4
    (folder / "config.json").write_text(json.dumps(config))


def _no_unet(folder):
    (folder / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL"}))


def _no_config(folder):
    (folder / "config.json").unlink()


def _cut(folder):
    (folder / FILE).write_bytes((folder / FILE).read_bytes()[:1000])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_other_width, "was made for another base model .cross_attention_dim 64 where this base has 128"),
        (_other_heads, "was made for another base model .attention_head_dim 4 "),
        (_no_unet, "holds a AutoencoderKL, no UNet2DConditionModel|holds an AutoencoderKL"),
        (_no_config, "seems to be a UNet, and there is no config.json|no config.json"),
        (_cut, "cut|broken|damaged|is no "),
    ],
)
def test_what_is_no_unet_of_this_base_is_told(tuned, base, tmp_path, spoil, told):
    folder = tmp_path / "unet"
    shutil.copytree(tuned["weights"], folder)
    spoil(folder)
    with pytest.raises(UserError, match=told):
        UNET.attach(load_pipeline(base, CPU, torch.float32), folder / FILE)


def test_a_file_that_its_folder_is_not_read_by_is_refused(tuned, base, tmp_path):
    folder = tmp_path / "unet"
    shutil.copytree(tuned["weights"], folder)
    shutil.copy(folder / FILE, folder / "step_500.safetensors")
    with pytest.raises(UserError, match="step_500.safetensors is not what is read of its folder"):
        UNET.attach(load_pipeline(base, CPU, torch.float32), folder / "step_500.safetensors")


def test_the_weights_that_are_tuned_are_not_rounded(run_job, records, base):
    result = run_job(
        "finetune_unet", records, base_model=base, **{**SMALL, "precision": "bf16", "learning_rate": 1e-12}
    )
    before, after = load_pipeline(base, CPU, torch.float32).unet.state_dict(), load_file(Path(result["weights"]) / FILE)
    assert all(torch.allclose(before[name], tensor, atol=1e-6, rtol=1e-6) for name, tensor in after.items())
