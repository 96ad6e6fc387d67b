"""Diffusion training: what is trained, that it learns, that it resumes exactly."""

import json
import os
import shutil
import signal
from itertools import islice
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.loaders.single_file_utils import SingleFileComponentError
from safetensors.torch import save_file
from saved import weights

from busaug_core.base.components import LORA, TOKEN
from busaug_core.base.loading import fingerprint, load_pipeline
from busaug_core.errors import MissingWeights, UserError
from busaug_core.jobs.events import Progress
from busaug_core.jobs.run import Run
from busaug_core.records import Record
from busaug_core.registry import job
from busaug_core.train import batch, denoising, training
from busaug_core.train.batch import draw_order
from busaug_core.train.config import Lora
from busaug_core.train.lora import LoraMethod

CPU = torch.device("cpu")
SMALL = dict(steps=4, batch_size=2, resolution=64, precision="fp32", membership=False)


def test_lora_changes_only_its_own_low_rank_weights(run_job, records, base, monkeypatch):
    pipes = []
    monkeypatch.setattr(training, "load_base", lambda _run, *given: pipes.append(load_pipeline(*given)) or pipes[0])
    result = run_job("train_lora", records, base_model=base, rank=3, **SMALL)
    before = load_pipeline(base, CPU, torch.float32).unet.state_dict()
    after = {n.replace(".base_layer", ""): t for n, t in pipes[0].unet.state_dict().items()}
    assert all(torch.equal(before[n], after[n]) for n in before)
    learned = weights(result)
    assert all(3 in (t.shape[0], t.shape[1]) for t in learned.values())
    assert any(t.abs().sum() > 0 for name, t in learned.items() if "lora_B" in name)
    assert result["trained_parameters"] == sum(t.numel() for t in learned.values())


@pytest.mark.parametrize(
    ("layers", "inside", "outside"),
    [
        ("attention", {"attn1.to_q", "attn2.to_out.0"}, {"conv1", "ff.net.2"}),
        ("cross_attention", {"attn2.to_q", "attn2.to_out.0"}, {"attn1.to_q", "conv1"}),
        ("wide", {"attn1.to_q", "conv1", "ff.net.2", "downsamplers.0.conv"}, set()),
    ],
)
def test_layers_says_what_is_adapted(base, layers, inside, outside):
    method = LoraMethod(load_pipeline(base, CPU, torch.float32), 2, layers)
    adapted = {name.split(".lora_")[0] for name in method.parameters()}
    for layer in inside:
        assert any(name.endswith(layer) for name in adapted), layer
    for layer in outside:
        assert not any(name.endswith(layer) for name in adapted), layer


def test_every_weight_of_a_saved_lora_is_loaded_again(run_job, records, base):
    result = run_job("train_lora", records, base_model=base, rank=2, layers="wide", **SMALL)
    pipe = load_pipeline(base, CPU, torch.float32)
    pipe.load_lora_weights(result["weights"], adapter_name="plain")
    loaded = {n.replace(".plain", ""): p for n, p in pipe.unet.named_parameters() if ".lora_" in n}
    saved = {n.removeprefix("unet."): t for n, t in weights(result).items()}
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[n], saved[n]) for n in saved)


def test_a_lora_of_another_base_is_refused(run_job, records, base, tmp_path):
    result = run_job("train_lora", records, base_model=base, rank=2, **SMALL)
    other = {n.replace("down_blocks.1", "down_blocks.9"): t for n, t in weights(result).items()}
    save_file(other, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="another one"):
        LORA.attach(load_pipeline(base, CPU, torch.float32), tmp_path / "other.safetensors")


def test_training_lowers_the_loss(run_job, records, base, tmp_path):
    values = {**SMALL, "base_model": base, "steps": 30, "batch_size": 4, "run_key": "lora"}
    losses = [
        e.values["loss"]
        for e in job("train_lora").run(values, records, "trial", tmp_path)
        if isinstance(e, Progress) and e.values
    ]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


@pytest.mark.parametrize(
    ("name", "more"),
    [
        (
            "train_lora",
            dict(dropout=0.5, alpha=8, schedule="cosine", warmup_steps=2, balance="oversample", text_encoder=True),
        ),
        (
            "train_textual_inversion",
            dict(noise_offset=0.1, accumulation=2, prompts={"benign": ["ultrasound, lump", "an ultrasound"]}),
        ),
        ("finetune_unet", dict(snr_gamma=5, lesion_weight=4, accumulation=2)),
        ("train_controlnet", dict(condition_dropout=0.3, caption_dropout=0.3)),
    ],
)
def test_a_stopped_training_ends_in_the_same_weights_as_an_unbroken_one(run_job, masked, base, tmp_path, name, more):
    records = masked
    values = dict(base_model=base, checkpoint_seconds=1e-9, **SMALL, **more)
    whole = run_job(name, records, run_key="whole", **values)
    events = job(name).run({**values, "run_key": "broken"}, records, "trial", tmp_path)
    training = (e for e in events if isinstance(e, Progress) and e.values)
    list(islice(training, 3))
    events.close()
    assert Run(tmp_path / "trial/runs/broken").state == "stopped"
    # Which spares memory and changes nothing, so that a run may be taken up with it.
    resumed = run_job(name, records, run_key="broken", gradient_checkpointing=True, **values)
    one, other = weights(whole), weights(resumed)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[k], other[k]) for k in one)


def test_ctrl_c_within_a_step_loses_nothing(run_job, records, base, tmp_path, monkeypatch):
    values = dict(base_model=base, **SMALL)  # whose checkpoints lie a minute apart
    whole = run_job("train_lora", records, run_key="whole", **values)
    plain, steps = torch.optim.AdamW.step, []

    def interrupted(self, *given):
        steps.append(1)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(self, *given)

    monkeypatch.setattr(torch.optim.AdamW, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_job("train_lora", records, run_key="broken", **values)
    assert Run(tmp_path / "trial/runs/broken").state == "stopped"
    resumed = run_job("train_lora", records, run_key="broken", **values)
    assert len(steps) == SMALL["steps"]
    one, other = weights(whole), weights(resumed)
    assert all(torch.equal(one[k], other[k]) for k in one)


def test_each_epoch_shows_every_image_once_over_all_processes():
    config = Lora(batch_size=3, steps=1, seed=7)

    def shown(steps):
        return [i for step in steps for process in range(2) for i in draw_order([range(12)], config, step, process, 2)]

    drawn, again = shown(range(2)), shown(range(2, 4))
    assert sorted(drawn) == sorted(again) == list(range(12))
    assert drawn != again


def test_the_token_learns_its_vectors_alone_at_the_vocabularys_norm(run_job, records, base):
    result = run_job("train_textual_inversion", records, base_model=base, vectors=2, **SMALL)
    learned = weights(result)
    assert list(learned) == ["<ultrasound>"]
    assert learned["<ultrasound>"].shape == (2, 128)
    assert result["norm"] == pytest.approx(result["vocabulary_norm"], rel=1e-4)
    pipe = load_pipeline(base, CPU, torch.float32)
    before = pipe.text_encoder.get_input_embeddings().weight.clone()
    start = before[pipe.tokenizer.encode("ultrasound", add_special_tokens=False)[0]]
    assert not torch.allclose(learned["<ultrasound>"][0], start)
    TOKEN.attach(pipe, Path(result["weights"]))
    after = pipe.text_encoder.get_input_embeddings().weight
    assert torch.equal(after[: len(before)], before)
    ids = pipe.tokenizer.convert_tokens_to_ids(["<ultrasound>", "<ultrasound>_1"])
    assert torch.equal(after[ids], learned["<ultrasound>"])


def test_the_token_is_learned_on_a_class_balanced_draw_that_is_recorded(run_job, records, base, tmp_path):
    result = run_job("train_textual_inversion", records, base_model=base, run_key="token", **SMALL)
    assert result["images"] == {"benign": 2, "malignant": 2, "normal": 2}
    environment = json.loads((tmp_path / "trial/runs/token/environment.json").read_text())
    assert len(environment["drawn"]) == 6
    with pytest.raises(UserError, match="images_per_class is 3"):
        run_job("train_textual_inversion", records, base_model=base, images_per_class=3, **SMALL)


def test_validation_images_are_never_trained_on(run_job, records, base, monkeypatch):
    seen, encode = [], training.encode_images
    monkeypatch.setattr(
        training, "encode_images", lambda pipe, paths, *more: seen.extend(paths) or encode(pipe, paths, *more)
    )
    learned = {r.path for r in records if "train" in r.tags}
    result = run_job("train_lora", records, base_model=base, **SMALL)
    assert set(seen) == learned
    drawn, plain = [], batch.Batches.draw
    monkeypatch.setattr(batch.Batches, "draw", lambda self, step: drawn.append(d := plain(self, step)) or d)
    seen.clear()
    run_job(
        "train_lora", records, base_model=base, **{**SMALL, "steps": 5, "membership": True}
    )  # which compares with held-out images
    assert set(seen) > learned and seen[: len(learned)] == [r.path for r in records if r.path in learned]
    assert {place for d in drawn for place in d.chosen} == set(range(len(learned)))
    assert result["images"] == {"benign": 4, "malignant": 3, "normal": 2}
    with pytest.raises(UserError, match="tagged 'train'"):
        run_job("train_lora", [r for r in records if "val" in r.tags], base_model=base, **SMALL)


def test_pickles_and_missing_bases_are_refused_with_the_way_out(tmp_path, monkeypatch):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "model.ckpt")
    with pytest.raises(UserError, match="Convert it to safetensors"):
        load_pipeline(str(tmp_path / "model.ckpt"), CPU, torch.float32)
    with pytest.raises(MissingWeights, match="diffusers folder"):
        load_pipeline(str(tmp_path / "nothing-here"), CPU, torch.float32)
    save_file({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(8, 4, 3, 3)}, tmp_path / "one.safetensors")
    missing = SingleFileComponentError("Failed to load CLIPTextModel.")
    monkeypatch.setattr(StableDiffusionPipeline, "from_single_file", lambda *_, **__: (_ for _ in ()).throw(missing))
    with pytest.raises(MissingWeights, match="CLIPTextModel"):
        load_pipeline(str(tmp_path / "one.safetensors"), CPU, torch.float32)


def test_the_fingerprint_is_of_the_weights_that_are_loaded(base, tmp_path, monkeypatch):
    folder = shutil.copytree(base, tmp_path / "models--some--base/snapshots/abc")
    (tmp_path / "models--some--base/refs").mkdir()
    (tmp_path / "models--some--base/refs/main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = fingerprint("some/base")
    assert found == fingerprint(base) == fingerprint(str(folder))
    assert {Path(name).parts[0] for name in found} == {"unet", "vae", "text_encoder"}
    for name in ("whole", "unet/diffusion_pytorch_model.fp16"):
        save_file({"x": torch.zeros(1)}, folder / f"{name}.safetensors")
    assert fingerprint(str(folder)) == found
    save_file({"x": torch.zeros(1)}, folder / "unet/diffusion_pytorch_model.safetensors")
    assert fingerprint("some/base") != found


def test_a_prompt_that_the_base_would_cut_is_refused(run_job, records, base):
    long = dict.fromkeys(("benign", "malignant", "normal"), "ultrasound " * 76)
    for name in ("train_lora", "train_textual_inversion"):
        with pytest.raises(UserError, match="78 tokens long, and this base reads 77"):
            run_job(name, records, base_model=base, prompts=long, **SMALL)


def test_a_class_without_a_prompt_is_named(run_job, records, base):
    trained = next(r for r in records if "train" in r.tags)
    odd = [*records, Record(trained.path, "cyst", tags=["train"])]
    with pytest.raises(UserError, match="No prompt for class 'cyst'"):
        run_job("train_lora", odd, base_model=base, **SMALL)


def test_half_precision_trains_and_generates_after_full_precision_in_one_process(run_job, records, base):
    small = dict(SMALL, steps=1, base_model=base)
    run_job("train_lora", records, **small)
    half = dict(small, precision="bf16")
    learned = weights(run_job("train_lora", records, run_key="lora", **half))
    assert all(t.dtype == torch.float32 and torch.isfinite(t).all() for t in learned.values())
    run_job("train_textual_inversion", records, run_key="token", lora="lora", **half)
    made = run_job(
        "generate",
        records,
        base_model=base,
        lora="lora",
        token="token",
        variants=["sd_ti_img2img"],
        steps=4,
        counts={"benign": 1},
        resolution=64,
        precision="bf16",
    )
    assert made["images"] == 1


def test_a_loss_that_is_not_finite_ends_the_training_with_advice(run_job, records, base, monkeypatch):
    monkeypatch.setattr(denoising.Denoising, "loss", lambda *_: torch.tensor(float("nan"), requires_grad=True))
    with pytest.raises(UserError, match="lower learning_rate"):
        run_job("train_lora", records, base_model=base, **SMALL)


def test_a_lora_keeps_the_scale_that_its_file_names(run_job, records, base, tmp_path):
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    pipe = load_pipeline(base, CPU, torch.float32)
    config = LoraConfig(r=4, lora_alpha=16, target_modules=["to_q"])
    pipe.unet.add_adapter(config)
    for name, parameter in pipe.unet.named_parameters():
        if ".lora_B" in name:
            torch.nn.init.normal_(parameter)
    StableDiffusionPipeline.save_lora_weights(
        tmp_path,
        unet_lora_layers=get_peft_model_state_dict(pipe.unet),
        unet_lora_adapter_metadata=config.to_dict(),
    )
    other = load_pipeline(base, CPU, torch.float32)
    LORA.attach(other, tmp_path / "pytorch_lora_weights.safetensors").switch(True)
    layer = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    there, here = pipe.unet.get_submodule(layer), other.unet.get_submodule(layer)
    update = there.lora_B["default"].weight @ there.lora_A["default"].weight
    assert torch.allclose(here.weight, there.base_layer.weight + 4 * update, atol=1e-5)
