"""What was saved is read back: all four kinds give what was trained, and what does not, or changes nothing, is told."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from busaug_core.base.defaults import MINI
from busaug_core.base.licence import licence_of
from busaug_core.base.loading import load_pipeline
from busaug_core.errors import UserError
from busaug_core.jobs.device import autocast_to
from busaug_core.jobs.events import Notice
from busaug_core.jobs.run import Run
from busaug_core.registry import job
from busaug_core.train import lora, outlook
from busaug_core.train.batch import Batches
from busaug_core.train.config import Lora

SMALL = dict(steps=2, batch_size=2, resolution=64, precision="fp32", membership=False)
MORE = {
    "train_lora": dict(rank=2, alpha=8, layers="wide", learning_rate=0.05),
    "train_textual_inversion": dict(vectors=2, learning_rate=0.5),
    "finetune_unet": dict(learning_rate=1e-2),
    "train_controlnet": dict(learning_rate=0.05),
}


def code_of(card):
    return card.split("```python\n")[1].split("```")[0]


@pytest.mark.parametrize("name", list(MORE))
def test_what_was_saved_gives_what_was_trained_and_its_card_makes_an_image(
    name, run_job, masked, base, tmp_path, monkeypatch
):
    result = run_job(name, masked, base_model=base, run_key="one", **SMALL, **MORE[name])
    assert not any("no image will show" in remark for remark in result["remarks"])
    assert result["read_back"]["change"] > 0.01 > 100 * result["read_back"]["difference"]
    folder = Path(result["folder"])
    card = (folder / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["base_model"] == Path(base).name and front["license"] == "other"
    images = ", ".join(f"{label} {n}" for label, n in result["images"].items())
    for words in ("Not for clinical use", "OpenRAIL-M", images, "(train 9, val 6)"):
        assert words in card
    assert '"learning_rate": ' + str(MORE[name]["learning_rate"]) in card
    told = "domain_guidance of 1.3 ± 0.6, normal ± 1.2," in code_of(card)
    assert told == (name == "finetune_unet")
    for key in Run(folder).environment["base_weights"].values():
        assert key in card
    monkeypatch.chdir(folder)
    Image.fromarray(np.zeros((64, 64), np.uint8)).save("mask.png")
    made = {}
    exec(code_of(card).replace("num_inference_steps=10", "num_inference_steps=1"), made)
    assert made["image"].size == (64, 64)


def test_a_card_stacks_all_that_a_training_stood_on(run_job, records, base, tmp_path, monkeypatch):
    run_job("finetune_unet", records, base_model=base, run_key="ft", **SMALL)
    run_job("train_lora", records, base_model="ft", run_key="lora", **SMALL, rank=2, layers="cross_attention")
    run_job("train_textual_inversion", records, base_model="ft", lora="lora", run_key="token", **SMALL)
    code = code_of((tmp_path / "trial/runs/token/README.md").read_text())
    places = ["../ft/unet", "../lora", "learned_embeds.safetensors", "<ultrasound> image of a benign"]
    assert [code.index(place) for place in places] == sorted(code.index(place) for place in places)
    monkeypatch.chdir(tmp_path / "trial/runs/token")
    exec(code.replace("num_inference_steps=10", "num_inference_steps=1"), {})


def test_a_file_that_does_not_give_what_was_trained_is_an_error(run_job, records, base, tmp_path, monkeypatch):
    plain = lora.LoraMethod.save

    def halve(self, folder):
        plain(self, folder)
        layers = load_file(folder / self.product)
        save_file({name: tensor / 2 for name, tensor in layers.items()}, folder / self.product)

    monkeypatch.setattr(lora.LoraMethod, "save", halve)
    values = dict(base_model=base, **SMALL, **MORE["train_lora"])
    with pytest.raises(UserError, match="put on the base again, does not give what was trained"):
        run_job("train_lora", records, run_key="one", **values)
    assert Run(tmp_path / "trial/runs/one").state == "failed"


def test_what_changes_nothing_is_remarked_and_half_precision_is_no_error(run_job, records, base):
    values = dict(base_model=base, **SMALL, **{**MORE["train_lora"], "layers": "attention"})
    result = run_job("train_lora", records, **{**values, "learning_rate": 1e-9})
    (remark,) = result["remarks"]
    assert "which no image will show" in remark
    assert remark in (Path(result["folder"]) / "README.md").read_text()
    half = run_job("train_lora", records, **{**values, "learning_rate": 0.01, "precision": "bf16"})
    assert half["remarks"] == [] and half["read_back"]["change"] > 0.01


def test_licences_are_those_of_the_base():
    assert licence_of(MINI)[0] == "apache-2.0"
    assert licence_of("stable-diffusion-v1-5/stable-diffusion-v1-5")[0] == "creativeml-openrail-m"
    assert licence_of("someone/some-base")[0] == "other"


def test_what_a_training_takes_is_told_before_its_first_step_and_its_time_after_a_few(
    records, base, tmp_path, monkeypatch
):
    now = iter(range(0, 1000, 60))
    monkeypatch.setattr(outlook, "time", SimpleNamespace(monotonic=lambda: next(now)))
    values = dict(base_model=base, rank=2, layers="attention", **{**SMALL, "steps": 6})
    events = list(job("train_lora").run(values, records, "trial", tmp_path))
    result = events[-1].result
    told = [(i, e.message) for i, e in enumerate(events) if isinstance(e, Notice)]
    losses = [i for i, e in enumerate(events) if getattr(e, "values", None) and "loss" in e.values]
    (first, plan), (second, time) = told
    assert first < losses[0] and losses[3] < second < losses[4]
    assert plan.startswith(f"{result['trained_parameters']:,} numbers are trained, ")
    assert "in 6 steps of 2 images. Estimated memory of its tensors: " in plan
    assert time == "At the pace of the first steps the 2 that are left take 2 minutes."


def test_the_memory_of_a_step_is_that_of_its_batch_whatever_the_arithmetic(base):
    pipe = load_pipeline(base, torch.device("cpu"), torch.float32)
    method = lora.LoraMethod(pipe, 2, "attention")
    for arithmetic in (torch.float32, torch.bfloat16):
        found = {}
        for size in (1, 2, 6):
            config = Lora(base_model=base, batch_size=size, resolution=64).resolve()
            method.batches = Batches(pipe, torch.zeros(1, 2, 8, 16, 16), [["ultrasound image"]], config)
            found[size] = outlook.estimate_memory(method, arithmetic)
        results = {size: parts["intermediate results"] for size, parts in found.items()}
        with autocast_to(torch.device("cpu"), arithmetic):
            saved = outlook._saved_for_backward(method, 6, arithmetic, {*storages(method)})
        assert results[6] == pytest.approx(saved, rel=0.02)
    weights = sum(p.nbytes for part in (pipe.unet, pipe.vae, pipe.text_encoder) for p in part.parameters())
    assert found[6]["weights"] == pytest.approx(weights, rel=0.01)
    trained = sum(p.numel() for p in method.parameters().values())
    assert found[6]["gradients and optimizer"] == 4 * (2 + method.workers) * trained


def storages(method):
    parts = (method.pipe.unet, method.pipe.vae, method.pipe.text_encoder)
    return [t.untyped_storage().data_ptr() for part in parts for t in (*part.parameters(), *part.buffers())]
