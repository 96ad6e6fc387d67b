"""ControlNet on lesion masks: what it sees, that it begins as nothing, and that diffusers understands it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline
from pictures import same_picture
from PIL import Image
from safetensors.torch import load_file

from busaug_core.base.components import CONTROLNET
from busaug_core.base.loading import load_pipeline
from busaug_core.errors import UserError
from busaug_core.images import load_gray
from busaug_core.jobs.events import Notice
from busaug_core.jobs.run import Run
from busaug_core.registry import job
from busaug_core.train import batch as draws
from busaug_core.train import controlnet as module

CPU = torch.device("cpu")
SMALL = dict(steps=3, batch_size=4, resolution=64, precision="fp32", membership=False)
MADE = dict(counts={"benign": 2}, steps=4, batch_size=2, resolution=64, precision="fp32")


@pytest.fixture
def seen(monkeypatch):
    """What the network is shown at each step: the draw and the masks."""
    shown, is_step = [], []
    plain, module_as_condition = module.ControlNetMethod.predict, module.as_condition
    draw = draws.Batches.draw

    def predict(self, drawn):
        if is_step:
            shown.append([self, drawn, None])
        return plain(self, drawn)

    def as_condition(controlnet, masks):
        if is_step:
            shown[-1][2] = masks.clone()
            is_step.clear()
        return module_as_condition(controlnet, masks)

    monkeypatch.setattr(draws.Batches, "draw", lambda self, step: is_step.append(step) or draw(self, step))
    monkeypatch.setattr(module.ControlNetMethod, "predict", predict)
    monkeypatch.setattr(module, "as_condition", as_condition)
    return shown


@pytest.fixture
def strong(base, tmp_path):
    """A ControlNet of diffusers' own making, whose zero convolutions are not zero."""
    pipe = load_pipeline(base, CPU, torch.float32)
    torch.manual_seed(3)
    controlnet = ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=(16, 32, 96))
    for part in (controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block):
        for parameter in part.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
    torch.nn.init.normal_(controlnet.controlnet_cond_embedding.conv_out.weight, std=0.2)
    controlnet.save_pretrained(tmp_path / "strong")
    return tmp_path / "strong"


def images(tmp_path, key):
    return {(r.variant, r.synthesis.index): r for r in Run(tmp_path / f"trial/runs/{key}").products}


def test_it_alone_is_trained_and_reduces_masks_as_the_autoencoder_images(run_job, masked, base):
    result = run_job("train_controlnet", masked, base_model=base, **SMALL)
    controlnet = ControlNetModel.from_pretrained(result["weights"])
    assert list(controlnet.config.conditioning_embedding_out_channels) == [16, 32, 96]
    assert all(p.abs().sum() > 0 for p in controlnet.controlnet_mid_block.parameters())
    assert result["images"] == {"benign": 4, "malignant": 3, "normal": 2}


def test_before_it_has_learned_it_changes_nothing(run_job, masked, base, tmp_path):
    pipe = load_pipeline(base, CPU, torch.float32)
    method = module.ControlNetMethod(pipe, 0.0)
    method.save(tmp_path / "run")
    run_job("train_lora", masked, base_model=base, rank=2, run_key="lora", **SMALL)
    values = dict(base_model=base, lora="lora", controlnet=str(tmp_path / "run"), run_key="made", **MADE)
    run_job("generate", masked, variants=["sd", "sd_mask"], **values)
    made = images(tmp_path, "made")
    for i in range(2):
        assert same_picture(load_gray(made["sd", i].path, 64), load_gray(made["sd_mask", i].path, 64))
    assert made["sd_mask", 0].lesions and not made["sd", 0].lesions


def test_a_mask_is_mirrored_with_its_image(run_job, masked, base, seen):
    run_job("train_controlnet", masked, base_model=base, **{**SMALL, "steps": 6})
    mirrored = set()
    for method, batch, masks in seen:
        for place, flip, mask in zip(batch.chosen, batch.mirrored.tolist(), masks, strict=True):
            own = method.batches.masks[place]
            assert torch.equal(mask, own.flip(-1) if flip else own)
            mirrored.add((flip, bool(own.any())))
    assert mirrored == {(True, True), (False, True), (True, False), (False, False)}


def test_condition_dropout_empties_masks_and_caption_dropout_prompts(run_job, masked, base, seen, monkeypatch):
    captions = []
    plain = module.ControlNetMethod.captions

    def record(self, drawn):
        found = plain(self, drawn)
        captions.extend(found if drawn.chances.max() < 1 else [])  # those at fixed noise are never dropped
        return found

    monkeypatch.setattr(module.ControlNetMethod, "captions", record)
    run_job("train_controlnet", masked, base_model=base, condition_dropout=0.999, **SMALL)
    assert not any(masks.any() for _, _, masks in seen)
    assert all(captions)
    seen.clear()
    captions.clear()
    run_job("train_controlnet", masked, base_model=base, caption_dropout=0.999, **SMALL)
    assert any(masks.any() for _, _, masks in seen)
    assert not any(captions)


def test_images_without_a_mask_are_left_out_where_their_class_has_some(masked, base, tmp_path):
    members = [r for r in masked if r.label == "benign" and "train" in r.tags]
    bare = [replace(r, lesions=[]) if r in members[:2] else r for r in masked]
    events = list(job("train_controlnet").run(dict(base_model=base, **SMALL), bare, "trial", tmp_path))
    assert any("2 images are left out, without a mask" in remark for remark in events[-1].result["remarks"])
    assert events[-1].result["images"] == {"benign": 2, "malignant": 3, "normal": 2}


def test_without_any_mask_it_is_refused_before_the_work(masked, base, tmp_path):
    bare = [replace(r, lesions=[]) for r in masked]
    with pytest.raises(UserError, match="None of the training images has a lesion's mask"):
        next(job("train_controlnet").run(dict(base_model=base, **SMALL), bare, "trial", tmp_path))


def test_a_lora_and_a_tuned_unet_are_not_both_its_base(masked, base, tmp_path):
    values = dict(base_model=base, lora="lora", unet="ft", **SMALL)
    with pytest.raises(UserError, match="set lora or unet, not both"):
        job("train_controlnet").run(values, masked, "trial", tmp_path)


def test_it_is_trained_on_the_base_as_it_is_tuned(run_job, masked, base, seen):
    run_job("train_lora", masked, base_model=base, rank=2, run_key="lora", **SMALL, learning_rate=0.1)
    run_job("finetune_unet", masked, base_model=base, run_key="ft", **SMALL, learning_rate=1e-2)
    plain = load_pipeline(base, CPU, torch.float32).unet.state_dict()["mid_block.resnets.0.conv1.weight"]
    met = []
    for values in (dict(lora="lora"), dict(unet="ft"), {}):
        run_job("train_controlnet", masked, base_model=base, **values, **SMALL)
        unet = seen[-1][0].pipe.unet
        assert not any(p.requires_grad for p in unet.parameters())
        met.append(unet.state_dict()["mid_block.resnets.0.conv1.weight"].clone())
    assert torch.equal(met[2], plain)
    assert not torch.equal(met[0], plain) and not torch.equal(met[1], plain) and not torch.equal(met[0], met[1])


def test_diffusers_own_makes_the_same_image_here_and_there(strong, run_job, masked, base, tmp_path):
    run_job("finetune_unet", masked, base_model=base, run_key="ft", **SMALL)
    values = dict(
        base_model=base,
        unet="ft",
        controlnet=str(strong),
        variants=["ft", "ft_mask"],
        guidance_scale=2.0,
        guidance_end=1.0,
    )
    run_job("generate", masked, run_key="made", **values, **MADE)
    made = images(tmp_path, "made")
    plain = load_pipeline(base, CPU, torch.float32)
    unet = load_file(tmp_path / "trial/runs/ft/unet/diffusion_pytorch_model.safetensors")
    plain.unet.load_state_dict(unet)
    controlnet = ControlNetModel.from_pretrained(strong)
    pipe = StableDiffusionControlNetPipeline(**plain.components, controlnet=controlnet, requires_safety_checker=False)
    for i in range(2):
        record = made["ft_mask", i]
        mask = Image.fromarray(record.lesion_mask().astype(np.uint8) * 255).convert("RGB")
        there = pipe(
            record.synthesis.prompt,
            image=mask,
            height=64,
            width=64,
            num_inference_steps=MADE["steps"],
            guidance_scale=2.0,
            generator=torch.Generator().manual_seed(record.synthesis.seed),
        ).images[0]
        here = load_gray(record.path, 64).astype(int)
        assert np.abs(np.asarray(there.convert("L")).astype(int) - here).max() <= 2
        assert np.abs(load_gray(made["ft", i].path, 64).astype(int) - here).mean() > 1


def test_one_that_reduces_masks_otherwise_is_refused(base, tmp_path):
    pipe = load_pipeline(base, CPU, torch.float32)
    ControlNetModel.from_unet(pipe.unet).save_pretrained(tmp_path / "eight")
    with pytest.raises(UserError, match="reduces a mask 8 times, and this base's autoencoder an image 4 times"):
        CONTROLNET.attach(pipe, tmp_path / "eight")


def test_a_network_of_another_kind_is_refused(base, tmp_path):
    pipe = load_pipeline(base, CPU, torch.float32)
    with pytest.raises(UserError, match="no ControlNetModel"):
        CONTROLNET.attach(pipe, Path(base) / "unet")
    with pytest.raises(UserError, match="no config.json of a ControlNetModel"):
        CONTROLNET.attach(pipe, tmp_path)


def test_classes_without_a_mask_are_told_in_training_and_in_generation(masked, base, tmp_path):
    bare = [replace(r, lesions=[] if r.label == "benign" else r.lesions) for r in masked]
    events = list(job("train_controlnet").run(dict(base_model=base, run_key="cn", **SMALL), bare, "trial", tmp_path))
    told = "No image of benign and normal has a mask; they are trained with the empty one"
    assert any(told in remark for remark in events[-1].result["remarks"])
    values = dict(base_model=base, controlnet="cn", variants=["base_mask"], **MADE)
    assert any(
        "No image of benign has a mask: base_mask makes them with" in t
        for t in notices(bare, tmp_path, "made", **values)
    )
    assert not any("has a mask" in text for text in notices(masked, tmp_path, "well", **values))


def notices(records, tmp_path, key, **values):
    events = job("generate").run(dict(MADE, run_key=key, **values), records, "trial", tmp_path)
    return [e.message for e in events if isinstance(e, Notice)]


def test_other_weights_than_it_was_trained_on_are_told_and_the_same_are_not(run_job, masked, base, tmp_path):
    small = dict(SMALL, steps=1)
    run_job("train_lora", masked, base_model=base, rank=2, run_key="lora", **small, learning_rate=0.1)
    run_job("finetune_unet", masked, base_model=base, run_key="ft", **small, learning_rate=1e-2)
    for key, values in dict(plain={}, on_lora=dict(lora="lora"), on_unet=dict(unet="ft")).items():
        run_job("train_controlnet", masked, run_key=key, base_model=base, **values, **small)
    run_job("train_controlnet", masked, run_key="on_base", base_model="ft", **small)
    alike = [
        dict(base_model=base, controlnet="plain", variants=["base_mask"]),
        dict(base_model=base, controlnet="on_lora", lora="lora", variants=["sd_mask", "sd"]),
        dict(base_model=base, controlnet="on_unet", unet="ft", variants=["ft_mask", "ft"]),
        dict(base_model=base, controlnet="on_base", unet="ft", variants=["ft_mask"]),
        dict(base_model="ft", controlnet="on_base", variants=["base_mask"]),
        dict(base_model="ft", controlnet="on_unet", variants=["base_mask"]),
        dict(base_model="ft", controlnet="on_unet", unet="ft", variants=["ft_mask"]),
    ]
    for i, values in enumerate(alike):
        assert not any("other weights" in text for text in notices(masked, tmp_path, f"alike_{i}", **values)), values
    other = [
        dict(base_model=base, controlnet="plain", unet="ft", variants=["ft_mask"]),
        dict(base_model=base, controlnet="plain", lora="lora", variants=["sd_mask"]),
        dict(base_model=base, controlnet="on_unet", variants=["base_mask"]),
        dict(base_model="ft", lora="lora", variants=["sd"]),
    ]
    for i, values in enumerate(other):
        assert any("was trained on other weights" in t for t in notices(masked, tmp_path, f"other_{i}", **values)), (
            values
        )
