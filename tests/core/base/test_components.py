"""A made-up adapter: what stands in this file is all that a new component, its training and its variant take."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from busaug_core.base.components import COMPONENTS, Attached, Component, register
from busaug_core.errors import UserError
from busaug_core.generate.recipes import RECIPES, Recipe
from busaug_core.images import load_gray, read_synthesis
from busaug_core.jobs.execute import Job
from busaug_core.jobs.lineage import Product
from busaug_core.jobs.roles import training_images
from busaug_core.jobs.run import Run
from busaug_core.measure.grids import variant_grid
from busaug_core.registry import JOBS
from busaug_core.registry import register as register_job
from busaug_core.train.config import DiffusionTraining
from busaug_core.train.denoising import Denoising
from busaug_core.train.training import prepare_base, train_denoising

SMALL = dict(resolution=64, precision="fp32")


class TrainShift(DiffusionTraining):
    """A shift of the prediction within the lesion's mask, one number a channel."""

    def resolve(self, runs=None):
        return self.fill(dict(steps=1, batch_size=8, learning_rate=0.4, resolution=64))


def train_shift(config, run):
    """Learns the shift on the training split."""
    records = training_images(run.records)
    method = ShiftMethod(prepare_base(config, run))
    return (yield from train_denoising(method, records, config, run, []))


class ShiftMethod(Denoising):
    message = "Learning the shift"
    product = "shift.safetensors"
    takes_mask = True

    def __init__(self, pipe):
        self.pipe, self.shift = pipe, torch.nn.Parameter(torch.zeros(4))

    def parameters(self):
        return {"shift": self.shift}

    def predict(self, batch):
        return super().predict(batch) + shift_within(batch.masks, self.shift)

    def save(self, folder):
        save_file({"shift": self.shift.detach()}, folder / self.product)


def shift_within(masks, shift):
    """40 times the shift within the masks, bool N×S×S, for latents of a quarter of their side."""
    small = torch.nn.functional.interpolate(masks.float()[:, None], scale_factor=0.25)
    return 40 * shift[:, None, None] * small


class Shift(Component):
    def attach(self, pipe, path):
        return AttachedShift(pipe.unet, load_file(path)["shift"])


class AttachedShift(Attached):
    """Shifts the prediction within the masks."""

    def __init__(self, unet, shift):
        self.shift, self.on, self.change = shift, False, None
        unet.conv_out.register_forward_hook(self.add)

    def switch(self, on):
        self.on = on

    def condition(self, masks):
        self.change = shift_within(torch.from_numpy(np.stack(masks)), self.shift)

    def add(self, _module, _args, output):
        return output + self.change.repeat(len(output) // len(self.change), 1, 1, 1) if self.on else output


SHIFT = Shift(
    field="shift",
    title="Shift",
    called="a shift",
    description="Shift of the shifted variants: a run, a file or a folder.",
    product=Product("shift.safetensors", job="train_shift"),
    takes_mask=True,
)


@pytest.fixture(scope="module")
def registered():
    register(SHIFT)
    register_job(Job("train_shift", TrainShift, train_shift))
    RECIPES["shifted"] = Recipe(frozenset({"shift"}), title="shifted", color="#123456")
    yield
    del COMPONENTS["shift"], JOBS["train_shift"], RECIPES["shifted"]


@pytest.fixture(scope="module")
def home(registered, masked, base, tmp_path_factory):
    """A home with a trained shift, and images with and without it."""
    home = tmp_path_factory.mktemp("home")
    for name, values in (
        ("train_shift", dict(run_key="shift", **SMALL)),
        ("generate", dict(run_key="made", shift="shift", variants=["base", "shifted"], counts={"benign": 2}, **SMALL)),
    ):
        for _ in JOBS[name].run(dict(base_model=base, **values), masked, "trial", home):
            pass
    return home


def test_it_is_trained_by_the_loop_and_named_in_the_config(home):
    run = Run(home / "trial/runs/shift")
    assert load_file(run.result["weights"])["shift"].abs().sum() > 0
    assert "shift" in JOBS["generate"].config_class().model_fields
    assert Run(home / "trial/runs/made").environment["lineage"] == {"shift": str(run.folder)}


def test_its_variant_needs_it(home, masked):
    with pytest.raises(UserError, match="variant 'shifted' needs a shift: set shift"):
        JOBS["generate"].run(dict(variants=["shifted"], counts={"benign": 1}), masked, "trial", home)


def test_it_is_switched_for_its_own_variant_alone_and_sees_the_masks(home):
    made = {r.variant: r for r in Run(home / "trial/runs/made").products if r.synthesis.index == 0}
    plain, shifted = (load_gray(made[v].path, 64).astype(float) for v in ("base", "shifted"))
    change = np.abs(plain - shifted)
    assert change[:28, :28].mean() > 2 * change[36:, 36:].mean()


def test_it_and_its_mask_are_recorded_in_sample_and_file(home, masked):
    run = Run(home / "trial/runs/made")
    made = {r.variant: r for r in run.products if r.synthesis.index == 0}
    assert made["base"].synthesis.components == {}
    assert made["base"].synthesis.mask_sample_id is None and not made["base"].lesions
    assert made["shifted"].synthesis.components == {"shift": "shift"}
    assert read_synthesis(made["shifted"].path)["shift"] == "shift"
    assert made["shifted"].synthesis.mask_sample_id in {r.id for r in masked if r.label == "benign"}
    assert made["shifted"].lesions[0].box == [0, 0, 32, 32]


def test_it_is_shown_under_its_title(home, tmp_path):
    variant_grid(Run(home / "trial/runs/made").products, tmp_path / "grid.png")
    assert (tmp_path / "grid.png").stat().st_size > 0


def test_one_that_has_seen_images_that_are_held_out_now_is_refused(home, masked, base):
    swapped = {"train": "val", "val": "train"}
    records = [replace(r, tags=[swapped.get(tag, tag) for tag in r.tags]) for r in masked]
    values = dict(base_model=base, shift="shift", variants=["shifted"], counts={"benign": 1}, run_key="x", **SMALL)
    with pytest.raises(UserError, match="'shift' was trained on .* held out now"):
        list(JOBS["generate"].run(values, records, "trial", home))
